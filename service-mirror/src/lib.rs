//! The service mirror: imports the services that linked clusters export by label. One process serves all links of a
//! cluster, each with a Lease of its own, so that replicas share them. Observe → plan (pure) → apply.

pub mod federated;
pub mod filter;
pub mod model;
pub mod objects;
pub mod plan;
pub mod probe;
