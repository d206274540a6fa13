//! The cross-cluster gateway: what a proxy adds to be one. It takes direct connections that name a service of its own
//! cluster, and sends what they carry on by the proxy's outbound side.
//!
//! Whether a service may be reached from outside is the control plane's word (the outbound policy it gives to gateways);
//! who a client is, the inbound side has verified.

mod forwarded;
mod gateway;
mod name;
mod requests;

pub use gateway::factory;
