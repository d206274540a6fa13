//! The controllers of a sandbox cluster: Deployments, ReplicaSets, Jobs, endpoints and load-balancer addresses.
//!
//! Each is a pure planner (world and time in, writes out); [`driver`] watches, plans and writes.

mod deployment;
pub(crate) mod endpoints;
mod job;
pub(crate) mod load_balancer;
pub(crate) mod object;
mod plan;
mod pods;
mod replicaset;
#[cfg(test)]
mod testing;
pub(crate) mod world;
