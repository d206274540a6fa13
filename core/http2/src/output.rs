//! What waits to be written: small things side by side in one buffer, and large data between them, which is not copied
//! where the connection writes vectors.

use bytes::{Buf as _, Bytes};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// Data from this length on is not copied; it is as long as what TLS does not copy either.
const LARGE: usize = 8 * 1024;
/// What is kept of the buffer when all was written, and when the connection idles.
const KEPT: (usize, usize) = (16 * 1024, 256);
/// Written bytes at the beginning of the buffer, before the rest is moved there.
const WRITTEN: usize = 32 * 1024;
const SLICES: usize = 32;

/// The output of a connection.
#[derive(Debug, Default)]
pub(crate) struct Output {
    small: Vec<u8>,
    /// How much of `small` was written.
    written: usize,
    /// Large data, and where in `small` it belongs.
    large: VecDeque<(usize, Bytes)>,
    large_len: usize,
    /// Whether the connection writes vectors.
    pub(crate) vectored: bool,
    /// Answers to control frames that may not have been written.
    pub(crate) answers: usize,
    /// How many of them there were at a time before, and how many of the bytes of that time are left.
    earlier: (usize, usize),
    /// Whether the connection takes no more.
    stuck: bool,
    /// Whether it has taken something after that.
    pub(crate) moved: bool,
}

impl Output {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.small.len() - self.written + self.large_len
    }

    /// To append to.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.small
    }

    /// Bytes of buffers.
    pub(crate) fn memory(&self) -> usize {
        self.small.capacity() + self.large.capacity() * size_of::<(usize, Bytes)>()
    }

    /// Appends data.
    pub(crate) fn data(&mut self, data: Bytes) {
        if self.vectored && data.len() >= LARGE {
            self.large_len += data.len();
            self.large.push_back((self.small.len(), data));
        } else {
            self.small.extend_from_slice(&data);
        }
    }

    /// Lets go of memory while nothing happens.
    pub(crate) fn rest(&mut self) {
        if self.len() == 0 {
            self.small =
                if self.small.capacity() > KEPT.1 { Vec::new() } else { std::mem::take(&mut self.small) };
            self.large = VecDeque::new();
        }
    }

    /// Writes until all is written.
    pub(crate) fn poll_write<I: AsyncWrite + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.len() > 0 {
            let polled = if self.large.is_empty() {
                Pin::new(&mut *io).poll_write(cx, &self.small[self.written..])
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let count = self.slices(&mut slices);
                Pin::new(&mut *io).poll_write_vectored(cx, &slices[..count])
            };
            self.moved |= self.stuck && polled.is_ready();
            self.stuck = polled.is_pending();
            let written = ready!(polled)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let (mut from, mut count) = (self.written, 0);
        for (at, data) in self.large.iter().take(SLICES / 2 - 1) {
            if *at > from {
                slices[count] = IoSlice::new(&self.small[from..*at]);
                count += 1;
            }
            slices[count] = IoSlice::new(data);
            (from, count) = (*at, count + 1);
        }
        if self.large.len() < SLICES / 2 && self.small.len() > from {
            slices[count] = IoSlice::new(&self.small[from..]);
            count += 1;
        }
        count
    }

    fn advance(&mut self, mut written: usize) {
        let (answers, left) = self.earlier;
        self.earlier.1 = left.saturating_sub(written);
        while written > 0 {
            let end = self.large.front().map_or(self.small.len(), |(at, _)| *at);
            let small = written.min(end - self.written);
            self.written += small;
            written -= small;
            let Some((_, data)) = self.large.front_mut().filter(|_| written > 0) else { break };
            let large = written.min(data.len());
            data.advance(large);
            self.large_len -= large;
            written -= large;
            if data.is_empty() {
                self.large.pop_front();
            }
        }
        if self.earlier.1 == 0 {
            self.answers -= answers;
            self.earlier = (self.answers, self.len());
        }
        if self.len() == 0 {
            (self.written, self.answers, self.earlier) = (0, 0, (0, 0));
            self.small.clear();
            if self.small.capacity() > KEPT.0 {
                self.small = Vec::new();
            }
        } else if self.written >= WRITTEN {
            self.small.drain(..self.written);
            self.large.iter_mut().for_each(|(at, _)| *at -= self.written);
            self.written = 0;
        }
    }
}
