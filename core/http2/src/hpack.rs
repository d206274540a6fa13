//! Header compression (RFC 7541). The tables hold what was parsed, not only its bytes: a field that is indexed was
//! validated once, and costs a copy of a handle.

mod decoder;
mod encoder;
mod field;
mod huffman;
mod statics;

pub use decoder::{DecodeError, Decoder};
pub use encoder::Encoder;
pub use field::{Field, Name, Protocol};

/// The size of a dynamic table, unless settings say otherwise.
pub const TABLE_SIZE: usize = 4096;
/// What an entry counts beside its bytes (RFC 7541, 4.1).
pub const OVERHEAD: usize = 32;

#[cfg(test)]
mod tests;
