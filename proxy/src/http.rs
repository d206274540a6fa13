//! HTTP, one connection at a time.

pub mod orig_proto;
pub mod server;
pub mod upgrade;
