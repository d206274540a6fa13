//! Whole clusters on one Linux machine: real Kubernetes APIs, nodes, networks and DNS, without Docker.
//!
//! `meshctl sandbox` calls [`up`], [`status`], [`shell`], [`down`]; tests break things through [`Sandbox`]. One supervisor
//! process holds everything, so that nothing is left when it ends, however it ends.

mod capture;
mod cluster;
mod container;
mod control;
mod controllers;
mod dns;
mod error;
mod faults;
mod handle;
mod kubeconfig;
mod network;
mod node;
mod pod;
mod preflight;
mod relay;
mod requests;
mod services;
mod state;
mod streaming;
mod supervisor;
mod up;
mod wan;

#[doc(hidden)]
pub use container::shim::main as shim;
pub use error::Error;
pub use handle::{Capture, Output, Sandbox};
pub use preflight::preflight;
pub use state::{STATE_DIR_ENV, StateDir};
pub use up::{
    ClusterStatus, FaultStatus, Status, UpOptions, down, kubeconfig_path, shell, status, supervise, up,
    up_in_foreground,
};
