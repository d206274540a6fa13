//! The body of a message as it comes.

use super::Error;
use super::chunked::Chunked;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;

/// A piece of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Some of its bytes, at least one.
    Data(Bytes),
    /// What follows the bytes; nothing comes after it.
    Trailers(HeaderMap),
    /// Nothing more comes.
    End,
}

/// A piece that was read, or none, as bodies give it.
pub fn frame(piece: Result<Option<Piece>, Error>) -> Option<Result<Frame<Bytes>, crate::error::Error>> {
    match piece {
        Ok(Some(Piece::Data(data))) => Some(Ok(Frame::data(data))),
        Ok(Some(Piece::Trailers(trailers))) => Some(Ok(Frame::trailers(trailers))),
        Ok(Some(Piece::End) | None) => None,
        Err(error) => Some(Err(crate::error::Error::Body(error.into()))),
    }
}

/// Where a body ends (RFC 9112, 6.3).
#[derive(Debug)]
pub struct Decoder(Ends);

#[derive(Debug)]
enum Ends {
    /// After this many more bytes.
    Exact(u64),
    /// Where the coding says.
    Chunked(Chunked),
    /// With the connection.
    WithConnection,
}

impl Decoder {
    /// A body of this many bytes.
    pub fn exact(len: u64) -> Self {
        Self(Ends::Exact(len))
    }

    /// A chunked body.
    pub fn chunked() -> Self {
        Self(Ends::Chunked(Chunked::default()))
    }

    /// A body that ends with the connection.
    pub fn until_close() -> Self {
        Self(Ends::WithConnection)
    }

    /// Bytes that are left, where that is known.
    pub fn left(&self) -> Option<u64> {
        if let Ends::Exact(left) = self.0 { Some(left) } else { None }
    }

    /// Whether all was taken.
    pub fn is_done(&self) -> bool {
        matches!(self.0, Ends::Exact(0) | Ends::Chunked(Chunked::Done))
    }

    /// Whether the end of the connection is the end of the body.
    pub fn ends_with_connection(&self) -> bool {
        matches!(self.0, Ends::WithConnection)
    }

    /// Bytes that are still to come for sure.
    pub fn wants(&self) -> u64 {
        match &self.0 {
            Ends::Exact(left) => *left,
            Ends::Chunked(chunked) => chunked.wants(),
            Ends::WithConnection => 0,
        }
    }

    /// Takes the next piece out of what was read; `None` when more must be read.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn next(&mut self, read: &mut BytesMut) -> Result<Option<Piece>, Error> {
        let take = match &mut self.0 {
            Ends::Exact(0) => return Ok(Some(Piece::End)),
            Ends::Chunked(chunked) => return chunked.next(read),
            Ends::Exact(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                *left -= take as u64;
                take
            }
            Ends::WithConnection => read.len(),
        };
        Ok((take > 0).then(|| Piece::Data(read.split_to(take).freeze())))
    }
}
