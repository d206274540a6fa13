//! What was read from the socket and not decrypted yet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// A first read: a flight of a handshake, or what small messages need.
const MIN_READ: usize = 4 << 10;
const MAX_READ: usize = 256 << 10;
/// By how much reads grow and shrink.
const STEP: usize = 4;
/// A record of TLS at its largest (RFC 8446, 5.2: 2^14 + 256 bytes, and the header).
const MAX_RECORD: usize = (16 << 10) + 256 + 5;

/// Encrypted bytes, in a buffer that is there only while it is used. Its size follows what reads bring.
pub(super) struct Incoming {
    buf: Vec<u8>,
    start: usize,
    size: usize,
}

impl Default for Incoming {
    fn default() -> Self {
        Self { buf: Vec::new(), start: 0, size: MIN_READ }
    }
}

impl Incoming {
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.buf.len()
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buf.capacity()
    }

    /// The bytes, from the first that was not discarded.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        &mut self.buf[self.start..]
    }

    pub(super) fn discard(&mut self, n: usize) {
        self.start += n;
    }

    /// Reads more; answers with how much. Without anything to read, an empty buffer is given back.
    pub(super) fn poll_fill<IO: AsyncRead + Unpin>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.start > 0 {
            self.buf.drain(..self.start);
            self.start = 0;
        }
        let wanted = self.size.max(if self.buf.is_empty() { 0 } else { MAX_RECORD });
        if self.buf.capacity() < wanted {
            self.buf.reserve_exact(wanted - self.buf.len());
        } else if self.buf.capacity() == self.buf.len() {
            // A message of the handshake in several records.
            self.buf.reserve(wanted);
        }
        let room = self.buf.capacity() - self.buf.len();
        let poll = poll_read_buf(Pin::new(io), cx, &mut self.buf);
        match &poll {
            Poll::Ready(Ok(n)) if *n == room => self.size = (self.size * STEP).min(MAX_READ),
            Poll::Ready(Ok(n)) if *n < self.size / STEP => self.size = (self.size / STEP).max(MIN_READ),
            Poll::Pending if self.buf.is_empty() => self.buf = Vec::new(),
            _ => {}
        }
        poll
    }
}
