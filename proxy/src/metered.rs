//! A stream whose bytes are counted.

use mesh_metrics::Counter;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Counts what is read from and written to a stream.
#[derive(Debug)]
pub struct Metered<I> {
    io: I,
    read: Counter,
    written: Counter,
}

impl<I> Metered<I> {
    /// Counts into `read` and `written`.
    pub fn new(io: I, read: Counter, written: Counter) -> Self {
        Self { io, read, written }
    }

    /// Counts into series of its own until [`Metered::attach`].
    pub fn detached(io: I) -> Self {
        Self::new(io, Counter::default(), Counter::default())
    }

    /// Counts into `read` and `written` from now on, and moves there what was counted so far.
    pub fn attach(&mut self, read: Counter, written: Counter) {
        read.add(self.read.value());
        written.add(self.written.value());
        (self.read, self.written) = (read, written);
    }

    /// The stream.
    pub fn get_ref(&self) -> &I {
        &self.io
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Metered<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.io).poll_read(cx, buf);
        self.read.add((buf.filled().len() - before) as u64);
        poll
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Metered<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.io).poll_write(cx, buf);
        self.count(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.count(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<I> Metered<I> {
    fn count(&self, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(n)) = &poll {
            self.written.add(*n as u64);
        }
        poll
    }
}
