//! Whole clusters on one Linux machine: real Kubernetes APIs, nodes, networks and DNS, without Docker.

mod controllers;
mod dns;
mod error;
mod services;

pub use error::Error;
