//! Copying bytes both ways until both sides are done. Buffers begin small (most connections are quiet), and grow while
//! reads fill them; while a sender pauses it has none, and after a pause it begins with no more than a middling one.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

/// Buffer sizes: quiet, busy, bulk.
const SIZES: [usize; 3] = [1 << 10, 16 << 10, 256 << 10];
/// The largest of them that a connection begins with after a pause.
const AFTER_PAUSE: usize = 1;
/// Full reads in a row before the buffer grows.
const FULL_READS: u8 = 2;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the first stream to the second.
    Forward,
    /// From the second stream to the first.
    Back,
}

/// Which stream failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The first stream.
    First,
    /// The second stream.
    Second,
}

/// Why copying stopped early.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct CopyError {
    /// The stream that failed.
    pub end: End,
    /// Why.
    pub source: io::Error,
}

/// Copies both ways; the end of one direction closes the write side of the other stream, and the other direction goes
/// on. `account` is told of every piece written.
///
/// # Errors
/// The first failure, and whose it was.
pub async fn copy_bidirectional<A, B>(
    first: &mut A,
    second: &mut B,
    mut account: impl FnMut(Direction, usize),
) -> Result<(), CopyError>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut forward = OneWay::new();
    let mut back = OneWay::new();
    poll_fn(|cx| {
        let there = forward.poll(cx, first, second, |n| account(Direction::Forward, n));
        let there = map(there, End::First, End::Second)?;
        let here = back.poll(cx, second, first, |n| account(Direction::Back, n));
        let here = map(here, End::Second, End::First)?;
        ready!(there);
        ready!(here);
        Poll::Ready(Ok(()))
    })
    .await
}

/// A failure to read belongs to the reader's stream, one to write to the writer's.
enum Failure {
    Read(io::Error),
    Write(io::Error),
}

fn map(poll: Poll<Result<(), Failure>>, reader: End, writer: End) -> Result<Poll<()>, CopyError> {
    match poll {
        Poll::Pending => Ok(Poll::Pending),
        Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
        Poll::Ready(Err(Failure::Read(source))) => Err(CopyError { end: reader, source }),
        Poll::Ready(Err(Failure::Write(source))) => Err(CopyError { end: writer, source }),
    }
}

struct OneWay {
    buf: Vec<u8>,
    /// The next buffer's, in [`SIZES`].
    size: usize,
    /// Bytes of `buf` that are written.
    start: usize,
    full_reads: u8,
    unflushed: bool,
    state: State,
}

#[derive(PartialEq)]
enum State {
    Copying,
    Closing,
    Done,
}

impl OneWay {
    fn new() -> Self {
        Self { buf: Vec::new(), size: 0, start: 0, full_reads: 0, unflushed: false, state: State::Copying }
    }

    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        mut account: impl FnMut(usize),
    ) -> Poll<Result<(), Failure>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            match self.state {
                State::Copying => {}
                State::Closing => {
                    ready!(Pin::new(&mut *writer).poll_shutdown(cx)).map_err(Failure::Write)?;
                    self.state = State::Done;
                    self.buf = Vec::new();
                }
                State::Done => return Poll::Ready(Ok(())),
            }
            while self.start < self.buf.len() {
                let piece = &self.buf[self.start..];
                let n = ready!(Pin::new(&mut *writer).poll_write(cx, piece)).map_err(Failure::Write)?;
                if n == 0 {
                    return Poll::Ready(Err(Failure::Write(io::ErrorKind::WriteZero.into())));
                }
                account(n);
                self.start += n;
                self.unflushed = true;
            }
            if self.state != State::Copying {
                continue;
            }
            self.empty();
            match poll_read_buf(Pin::new(&mut *reader), cx, &mut self.buf) {
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Failure::Read(error))),
                Poll::Ready(Ok(0)) => self.state = State::Closing,
                Poll::Ready(Ok(_)) => self.count_full_reads(),
                Poll::Pending => {
                    if self.unflushed {
                        ready!(Pin::new(&mut *writer).poll_flush(cx)).map_err(Failure::Write)?;
                        self.unflushed = false;
                    }
                    self.buf = Vec::new();
                    self.size = self.size.min(AFTER_PAUSE);
                    return Poll::Pending;
                }
            }
        }
    }

    /// Makes room: all that was read is written.
    fn empty(&mut self) {
        self.buf.clear();
        self.start = 0;
        if self.buf.capacity() < SIZES[self.size] {
            self.buf = Vec::with_capacity(SIZES[self.size]);
        }
    }

    /// After full reads, the next buffer is larger.
    fn count_full_reads(&mut self) {
        if self.buf.len() < self.buf.capacity() {
            self.full_reads = 0;
            return;
        }
        self.full_reads += 1;
        if self.full_reads >= FULL_READS {
            self.full_reads = 0;
            self.size = (self.size + 1).min(SIZES.len() - 1);
        }
    }
}

#[cfg(test)]
mod tests;
