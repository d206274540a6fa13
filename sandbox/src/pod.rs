//! What a kubelet does for one pod: network, volumes, containers in order, probes, hooks, restarts, status, end.
//!
//! [`lifecycle`] is the story from top to bottom; [`container`] that of one container; [`record`] what both leave behind
//! for the pod's status; the rest are the steps.

mod container;
mod context;
mod env;
mod fields;
mod hook;
mod image;
mod launch;
mod lifecycle;
mod probe;
mod record;
mod rights;
mod shared;
mod unsupported;
mod volumes;

pub(crate) use context::{Events, NodeContext, Note};
pub(crate) use fields::capacity;
pub(crate) use launch::beside;
pub(crate) use lifecycle::run;
pub(crate) use record::{Record, State};
pub(crate) use shared::{Latest, Pod};
