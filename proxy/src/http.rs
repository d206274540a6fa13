//! HTTP, one connection at a time.

pub mod client;
pub mod frames;
pub mod guard;
pub mod limit;
pub mod orig_proto;
pub mod replay;
pub mod server;
pub mod upgrade;

/// The largest HTTP/2 frame we take, bytes. With the least that the protocol knows (16 KiB) a body costs a write and two TLS
/// records for each 16 KiB; a frame of this size is still only 3 ms of 200 Mbit/s.
const MAX_FRAME: u32 = 64 << 10;
