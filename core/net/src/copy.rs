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
/// on. What one stream has sent before it broke is given to the other, which is not closed then.
///
/// # Errors
/// The first failure, and whose it was.
pub async fn copy_bidirectional<A, B>(first: &mut A, second: &mut B) -> Result<(), CopyError>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut forward, mut back) = (OneWay::new(), OneWay::new());
    // Who takes no more may have said something before.
    let mut refused = None;
    poll_fn(|cx| {
        let there = forward.poll(cx, first, second, refused.is_some());
        let there = settle(there, End::First, End::Second, &mut refused)?;
        let here = back.poll(cx, second, first, refused.is_some());
        let here = settle(here, End::Second, End::First, &mut refused)?;
        if there.is_ready() && here.is_ready() {
            return Poll::Ready(refused.take().map_or(Ok(()), Err));
        }
        Poll::Pending
    })
    .await
}

/// A failure to read belongs to the reader's stream, one to write to the writer's.
enum Failure {
    Read(io::Error),
    Write(io::Error),
}

/// Whether one way is over; one that is refused is.
fn settle(
    poll: Poll<Result<(), Failure>>,
    reader: End,
    writer: End,
    refused: &mut Option<CopyError>,
) -> Result<Poll<()>, CopyError> {
    match poll {
        Poll::Pending => Ok(Poll::Pending),
        Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
        Poll::Ready(Err(Failure::Read(source))) => {
            Err(refused.take().unwrap_or(CopyError { end: reader, source }))
        }
        Poll::Ready(Err(Failure::Write(source))) => {
            refused.get_or_insert(CopyError { end: writer, source });
            Ok(Poll::Ready(()))
        }
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

    /// `broken`: the other way was refused, so that this one does not end in order.
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        broken: bool,
    ) -> Poll<Result<(), Failure>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let result = ready!(self.poll_copy(cx, reader, writer, broken));
        self.state = State::Done;
        self.buf = Vec::new();
        Poll::Ready(result)
    }

    fn poll_copy<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        broken: bool,
    ) -> Poll<Result<(), Failure>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            match self.state {
                State::Copying => {}
                State::Closing if broken => return Pin::new(writer).poll_flush(cx).map_err(Failure::Write),
                State::Closing => return Pin::new(writer).poll_shutdown(cx).map_err(Failure::Write),
                State::Done => return Poll::Ready(Ok(())),
            }
            while self.start < self.buf.len() {
                let piece = &self.buf[self.start..];
                let n = ready!(Pin::new(&mut *writer).poll_write(cx, piece)).map_err(Failure::Write)?;
                if n == 0 {
                    return Poll::Ready(Err(Failure::Write(io::ErrorKind::WriteZero.into())));
                }
                self.start += n;
                self.unflushed = true;
            }
            self.empty();
            match poll_read_buf(Pin::new(&mut *reader), cx, &mut self.buf) {
                Poll::Ready(Err(error)) => {
                    // As far as it goes at once.
                    let _ = Pin::new(&mut *writer).poll_flush(cx);
                    return Poll::Ready(Err(Failure::Read(error)));
                }
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
