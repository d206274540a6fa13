//! The data plane: what a sidecar does with a connection, hop by hop.
//!
//! Traffic is served by single-threaded workers (see [`run`]), each with its own listeners, pools and balancers. A request
//! is one async function per hop; everything it needs is resolved into snapshots by the control thread beforehand.

mod accept;
pub mod access_log;
pub mod admin;
pub mod body;
pub mod config;
pub mod control;
mod dial;
pub mod drain;
pub mod error;
pub mod http;
pub mod identity;
pub mod inbound;
pub mod metered;
pub mod outbound;
mod relay;
pub mod rules;
pub mod run;
pub mod shared;
mod worker;

pub use error::Error;
pub use worker::{GatewayFactory, Sides};
