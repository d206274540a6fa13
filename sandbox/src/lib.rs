//! Whole clusters on one Linux machine: real Kubernetes APIs, nodes, networks and DNS, without Docker.

mod capture;
mod control;
mod controllers;
mod dns;
mod error;
mod faults;
mod kubeconfig;
#[allow(dead_code)]
mod network;
mod preflight;
mod relay;
mod services;
mod state;

pub use error::Error;
pub use preflight::preflight;
pub use state::{STATE_DIR_ENV, StateDir};
