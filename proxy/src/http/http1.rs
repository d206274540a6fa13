//! HTTP/1 messages on a connection (RFC 9112): how they are written, and how they are read.

mod chunked;
mod connection;
mod decoder;
mod encoder;
mod fields;
mod outgoing;
pub mod request;
pub mod response;

pub use connection::Connection;
pub use decoder::{Decoder, Piece, frame};
pub use outgoing::Outgoing;

use std::io;

/// Why a message did not make it over a connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The connection ended before the message did.
    #[error("connection closed before the message was complete")]
    Incomplete,
    /// The message is not HTTP/1.
    #[error("malformed message: {0}")]
    Malformed(&'static str),
    /// The body that is to be sent failed.
    #[error("{0}")]
    Body(#[source] Box<crate::error::Error>),
}

#[cfg(test)]
mod tests;
