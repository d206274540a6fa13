//! HTTP, one connection at a time.

pub mod client;
pub mod guard;
pub mod http1;
pub mod interim;
pub mod limit;
pub mod orig_proto;
pub mod replay;
pub mod server;
pub mod upgrade;
