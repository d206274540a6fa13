//! The service mirror: imports the services that linked clusters export by label. One process serves all links of a
//! cluster, each with a Lease of its own, so that replicas share them. Observe → plan (pure) → apply.
//!
//! [`run`] is what `controller service-mirror` calls; [`plan`] and [`federated`] are where decisions are made.

pub mod federated;
pub mod filter;
pub mod link;
mod local;
mod metrics;
pub mod model;
pub mod objects;
pub mod plan;
pub mod probe;
mod pulse;
pub mod reach;
mod remote;
mod run;
pub mod status;
mod store;
mod task;
mod writer;

pub use run::{Config, run};
