//! Copying bytes both ways until both sides are done. Buffers begin small (most connections are quiet), and grow while
//! reads fill them; the largest is given back whenever the sender pauses.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Buffer sizes: quiet, busy, bulk.
const SIZES: [usize; 3] = [1 << 10, 16 << 10, 256 << 10];
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
    buf: Box<[u8]>,
    size: usize,
    start: usize,
    end: usize,
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
        Self {
            buf: buffer(0),
            size: 0,
            start: 0,
            end: 0,
            full_reads: 0,
            unflushed: false,
            state: State::Copying,
        }
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
                    self.buf = Box::default();
                }
                State::Done => return Poll::Ready(Ok(())),
            }
            while self.start < self.end {
                let piece = &self.buf[self.start..self.end];
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
            let mut read_buf = ReadBuf::new(&mut self.buf);
            match Pin::new(&mut *reader).poll_read(cx, &mut read_buf) {
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Failure::Read(error))),
                Poll::Ready(Ok(())) => {
                    (self.start, self.end) = (0, read_buf.filled().len());
                    if self.end == 0 {
                        self.state = State::Closing;
                    } else {
                        self.grow();
                    }
                }
                Poll::Pending => {
                    if self.unflushed {
                        ready!(Pin::new(&mut *writer).poll_flush(cx)).map_err(Failure::Write)?;
                        self.unflushed = false;
                    }
                    if self.size == SIZES.len() - 1 {
                        self.resize(self.size - 1);
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Grows after full reads; what was just read is kept.
    fn grow(&mut self) {
        if self.end < self.buf.len() {
            self.full_reads = 0;
            return;
        }
        self.full_reads += 1;
        if self.full_reads >= FULL_READS && self.size + 1 < SIZES.len() {
            let old = std::mem::take(&mut self.buf);
            self.resize(self.size + 1);
            self.buf[..self.end].copy_from_slice(&old[..self.end]);
        }
        self.full_reads %= FULL_READS;
    }

    fn resize(&mut self, size: usize) {
        self.size = size;
        self.buf = buffer(size);
        self.full_reads = 0;
    }
}

fn buffer(size: usize) -> Box<[u8]> {
    vec![0; SIZES[size]].into_boxed_slice()
}

#[cfg(test)]
mod tests;
