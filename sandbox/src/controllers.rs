//! The controllers of a sandbox cluster: Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs,
//! endpoints and load-balancer addresses.
//!
//! Each is a pure planner (world and time in, writes out); `driver` watches, plans and writes.

mod daemonset;
mod deployment;
mod dirty;
mod driver;
pub(crate) mod endpoints;
mod events;
mod job;
pub(crate) mod load_balancer;
pub(crate) mod object;
mod plan;
mod pods;
mod replicaset;
mod revisions;
mod statefulset;
#[cfg(test)]
mod testing;
pub(crate) mod world;
mod writer;

use std::sync::Arc;

use serde_json::Value;

pub(crate) use driver::run;

/// What the packet rules and DNS are made from; published whenever it changes.
#[derive(Debug, Default, Clone)]
pub(crate) struct Exposed {
    /// All Services.
    pub(crate) services: Vec<Arc<Value>>,
    /// All EndpointSlices.
    pub(crate) slices: Vec<Arc<Value>>,
    /// Names of all namespaces.
    pub(crate) namespaces: Vec<String>,
}
