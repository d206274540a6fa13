//! The body of a message as it is written, and what waits to be written.

use super::{Error, fields};
use crate::body::Body;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::Body as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// Frames up to this size are copied behind what waits, to go out with it; larger ones are written from where they are.
const COPIED: usize = 8 * 1024;

/// What says that the end is told by the chunked coding.
pub(super) const CHUNKED: HeaderValue = HeaderValue::from_static("chunked");

/// How the end of a body is said (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoder {
    /// Its length was said; this much is left.
    Exact(u64),
    /// By the chunked coding.
    Chunked,
    /// By the end of the connection.
    Close,
}

/// Bytes that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Out {
    first: BytesMut,
    /// What follows `first`.
    then: Bytes,
    /// Whether a chunk's end follows `then`.
    chunk_end: bool,
}

impl Encoder {
    /// Puts a frame behind what waits.
    ///
    /// # Errors
    /// When it is more than was announced.
    pub(super) fn data(&mut self, data: Bytes, out: &mut Out) -> Result<(), Error> {
        if data.is_empty() {
            return Ok(());
        }
        match self {
            Self::Exact(left) => {
                *left = left
                    .checked_sub(data.len() as u64)
                    .ok_or(Error::Malformed("the body is longer than its content-length"))?;
                out.put(data);
            }
            Self::Chunked => {
                let digits = format!("{:x}\r\n", data.len());
                out.first.put_slice(digits.as_bytes());
                out.put(data);
                out.end_chunk();
            }
            Self::Close => out.put(data),
        }
        Ok(())
    }

    /// Puts the end of the body behind what waits.
    ///
    /// # Errors
    /// When it is less than was announced.
    pub(super) fn end(&self, trailers: Option<&HeaderMap>, out: &mut Out) -> Result<(), Error> {
        match self {
            Self::Exact(0) | Self::Close => {}
            Self::Exact(_) => return Err(Error::Malformed("the body is shorter than its content-length")),
            Self::Chunked => {
                out.first.put_slice(b"0\r\n");
                put_fields(&mut out.first, trailers.into_iter().flatten());
            }
        }
        Ok(())
    }

    /// Whether all that was announced was put.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Exact(0))
    }
}

/// Writes fields, and the empty line that ends them.
pub(super) fn put_fields<'a>(
    out: &mut BytesMut,
    fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
) {
    for (name, value) in fields {
        out.reserve(name.as_str().len() + value.len() + 4);
        out.put_slice(name.as_str().as_bytes());
        out.put_slice(b": ");
        out.put_slice(value.as_bytes());
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
}

/// How the fields and the body tell where it ends, with the fields that say so; `None` where nothing is known before the
/// end. A body of no bytes is not mentioned unless `says_zero`.
pub(super) fn frame(headers: &mut HeaderMap, body: &Body, chunks: bool, says_zero: bool) -> Option<Encoder> {
    let chunked = fields::is_chunked(headers);
    if !chunks {
        headers.remove(header::TRANSFER_ENCODING);
    } else if let Some(chunked) = chunked {
        headers.remove(header::CONTENT_LENGTH);
        if !chunked {
            headers.append(header::TRANSFER_ENCODING, CHUNKED);
        }
        return Some(Encoder::Chunked);
    }
    if let Some(len) = fields::content_length(headers) {
        return Some(Encoder::Exact(len));
    }
    headers.remove(header::CONTENT_LENGTH);
    let len = body.size_hint().exact()?;
    if len > 0 || says_zero {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
    }
    Some(Encoder::Exact(len))
}

impl Out {
    pub(super) fn new(head: BytesMut) -> Self {
        Self { first: head, ..Self::default() }
    }

    /// Whether another frame may be put.
    pub(super) fn takes_more(&self) -> bool {
        self.then.is_empty() && self.first.len() < COPIED
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.then.is_empty() && !self.chunk_end
    }

    fn put(&mut self, data: Bytes) {
        if data.len() <= COPIED {
            self.first.extend_from_slice(&data);
        } else {
            self.then = data;
        }
    }

    fn end_chunk(&mut self) {
        if self.then.is_empty() {
            self.first.put_slice(b"\r\n");
        } else {
            self.chunk_end = true;
        }
    }

    /// Writes some of what waits: how much.
    pub(super) fn poll_write<I: AsyncWrite + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let end: &[u8] = if self.chunk_end { b"\r\n" } else { b"" };
        let io = Pin::new(io);
        let written = if self.then.is_empty() && end.is_empty() {
            ready!(io.poll_write(cx, &self.first))?
        } else {
            let parts = [IoSlice::new(&self.first), IoSlice::new(&self.then), IoSlice::new(end)];
            let skip = parts.iter().take_while(|part| part.is_empty()).count();
            if io.is_write_vectored() {
                ready!(io.poll_write_vectored(cx, &parts[skip..]))?
            } else {
                ready!(io.poll_write(cx, &parts[skip]))?
            }
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.advance(written);
        Poll::Ready(Ok(written))
    }

    fn advance(&mut self, mut written: usize) {
        let of_first = written.min(self.first.len());
        self.first.advance(of_first);
        written -= of_first;
        let of_then = written.min(self.then.len());
        self.then.advance(of_then);
        written -= of_then;
        if self.then.is_empty() {
            // Lets go of what is written.
            self.then = Bytes::new();
            if std::mem::take(&mut self.chunk_end) {
                self.first.extend_from_slice(&b"\r\n"[written..]);
            }
        }
    }
}
