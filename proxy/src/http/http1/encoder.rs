//! The body of a message as it is written, and what waits to be written.

use super::{Error, fields};
use crate::body::Body;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::Body as _;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// Frames up to this size are copied, to go out with what is around them; larger ones are written from where they are.
const COPIED: usize = 8 * 1024;
/// No more is taken of a body when so much waits: eight frames as HTTP/2 usually has them, or two of ours.
const GATHERED: usize = 128 * 1024;
/// Pieces that are written at once. A larger frame is one, and so is what is copied before, between or after such.
const PIECES: usize = 20;

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

/// Bytes that wait to be written, in this order.
#[derive(Debug, Default)]
pub(super) struct Out {
    first: BytesMut,
    /// No piece of it is empty.
    then: VecDeque<Bytes>,
    last: BytesMut,
    /// Bytes of `then`.
    then_len: usize,
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
                out.copied().put_slice(format!("{:x}\r\n", data.len()).as_bytes());
                out.put(data);
                out.copied().put_slice(b"\r\n");
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
                out.copied().put_slice(b"0\r\n");
                put_fields(out.copied(), trailers.into_iter().flatten());
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

    /// Whether another frame may be put behind what was put since all had been written.
    pub(super) fn gathers_more(&self) -> bool {
        self.len() < GATHERED && self.then.len() + 4 <= PIECES
    }

    /// Whether another frame may be put though the connection has not taken yet what waits.
    pub(super) fn takes_more(&self) -> bool {
        self.then.is_empty() && self.len() < COPIED
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.first.len() + self.then_len + self.last.len()
    }

    /// Where small things are put.
    fn copied(&mut self) -> &mut BytesMut {
        if self.then.is_empty() { &mut self.first } else { &mut self.last }
    }

    fn put(&mut self, data: Bytes) {
        if data.len() <= COPIED {
            self.copied().extend_from_slice(&data);
            return;
        }
        if !self.last.is_empty() {
            let copied = self.last.split().freeze();
            self.push(copied);
        }
        self.push(data);
    }

    fn push(&mut self, piece: Bytes) {
        self.then_len += piece.len();
        self.then.push_back(piece);
    }

    /// Writes some of what waits: how much.
    pub(super) fn poll_write<I: AsyncWrite + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let then = self.then.iter().map(|piece| &piece[..]);
        let waiting = [&self.first[..]].into_iter().chain(then).chain([&self.last[..]]);
        let mut count = 0;
        for (slot, piece) in pieces.iter_mut().zip(waiting.filter(|piece| !piece.is_empty())) {
            *slot = IoSlice::new(piece);
            count += 1;
        }
        let io = Pin::new(io);
        let written = match &pieces[..count] {
            several @ [_, _, ..] if io.is_write_vectored() => ready!(io.poll_write_vectored(cx, several))?,
            pieces => ready!(io.poll_write(cx, pieces.first().map_or(&[], |piece| piece)))?,
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
        while let Some(piece) = self.then.front_mut() {
            let of_piece = written.min(piece.len());
            piece.advance(of_piece);
            written -= of_piece;
            self.then_len -= of_piece;
            if !piece.is_empty() {
                return;
            }
            // Lets go of what is written.
            self.then.pop_front();
        }
        self.last.advance(written);
        if self.first.is_empty() && !self.last.is_empty() {
            // What comes next goes to the front again.
            self.first = std::mem::take(&mut self.last);
        }
    }
}
