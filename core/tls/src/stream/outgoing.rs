//! What is encrypted and not written to the socket yet.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// Why nothing was written into a piece of room.
pub(super) enum Refused {
    /// It takes so many bytes.
    Short(usize),
    /// It cannot be written at all.
    Failed,
}

thread_local! {
    /// The buffer that was given back last, for whoever writes next: room that was used once has not to be filled with
    /// zeros again.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Encrypted bytes. Their buffer is kept while more follows.
#[derive(Default)]
pub(super) struct Outgoing {
    buf: Vec<u8>,
    start: usize,
    end: usize,
}

impl Outgoing {
    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buf.capacity()
    }

    /// Appends what `write` writes into room of `guess` bytes; it is asked again with more where it says that it needs it.
    /// Says whether that worked.
    pub(super) fn append(
        &mut self,
        guess: usize,
        mut write: impl FnMut(&mut [u8]) -> Result<usize, Refused>,
    ) -> bool {
        if self.buf.is_empty() {
            self.buf = SPARE.take();
        }
        let mut size = guess;
        loop {
            let room = self.end + size;
            if self.buf.len() < room {
                self.buf.resize(room, 0);
            }
            match write(&mut self.buf[self.end..room]) {
                Ok(n) => {
                    self.end += n;
                    return true;
                }
                Err(Refused::Short(wanted)) if wanted > size => size = wanted,
                Err(_) => return false,
            }
        }
    }

    /// Writes all of it.
    pub(super) fn poll_drain<IO: AsyncWrite + Unpin>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.start < self.end {
            let n = ready!(Pin::new(&mut *io).poll_write(cx, &self.buf[self.start..self.end]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.start += n;
        }
        (self.start, self.end) = (0, 0);
        Poll::Ready(Ok(()))
    }

    /// Gives the buffer back, where nothing waits in it.
    pub(super) fn rest(&mut self) {
        if self.len() == 0 && !self.buf.is_empty() {
            SPARE.set(std::mem::take(&mut self.buf));
        }
    }
}
