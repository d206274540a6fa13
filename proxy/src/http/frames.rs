//! Limits on HTTP/2 frames that cost a server more than the client, in front of the parser: pings, settings, priorities
//! and resets (rapid reset, CVE-2023-44487, and its kin). h2 itself bounds what is kept in memory, header blocks,
//! continuations and small data frames; this bounds how often.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What comes before the first frame (RFC 9113, 3.4).
const PREFACE: usize = 24;
const FRAME_HEADER: usize = 9;
const ACK: u8 = 1;

/// Kinds of frames: type, name, how many at once, how many a second.
///
/// - Resets: a proxy carries many clients on one connection, and all may give up at once.
/// - Pings: some gRPC clients measure the path by one for every burst of data.
const KINDS: [(u8, &str, f64, f64); 4] = [
    (2, "PRIORITY", 20_000.0, 1_000.0),
    (3, "RST_STREAM", 20_000.0, 1_000.0),
    (4, "SETTINGS", 100.0, 10.0),
    (6, "PING", 10_000.0, 5_000.0),
];

/// What a client sent too often, once it has.
pub type Flood = Arc<OnceLock<&'static str>>;

/// A connection whose control frames are counted.
pub struct FrameGuard<I> {
    io: I,
    counter: FrameCounter,
    flood: Flood,
}

/// Where in the stream of frames the bytes are, and what is left of each kind's budget.
#[derive(Debug)]
struct FrameCounter {
    /// Bytes of the preface or of the frame's payload that are still to come.
    skip: usize,
    header: [u8; FRAME_HEADER],
    header_len: usize,
    budgets: [f64; KINDS.len()],
    since: Option<Instant>,
}

impl<I> FrameGuard<I> {
    /// Guards a connection from its preface on; `flood` tells the server why it ended.
    pub fn new(io: I, flood: Flood) -> Self {
        Self { io, counter: FrameCounter::new(), flood }
    }
}

impl FrameCounter {
    fn new() -> Self {
        Self {
            skip: PREFACE,
            header: [0; FRAME_HEADER],
            header_len: 0,
            budgets: KINDS.map(|(_, _, burst, _)| burst),
            since: None,
        }
    }

    /// Follows bytes; says which kind of frame came too often.
    fn follow(&mut self, mut bytes: &[u8], now: impl Fn() -> Instant) -> Result<(), &'static str> {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let wanted = (FRAME_HEADER - self.header_len).min(bytes.len());
            self.header[self.header_len..self.header_len + wanted].copy_from_slice(&bytes[..wanted]);
            self.header_len += wanted;
            bytes = &bytes[wanted..];
            if self.header_len == FRAME_HEADER {
                self.header_len = 0;
                let [a, b, c, kind, flags, ..] = self.header;
                self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                if let Some(index) = KINDS.iter().position(|(known, ..)| *known == kind) {
                    let answer = matches!(KINDS[index].1, "PING" | "SETTINGS") && flags & ACK != 0;
                    if !answer {
                        self.spend(index, now())?;
                    }
                }
            }
        }
        Ok(())
    }

    fn spend(&mut self, index: usize, now: Instant) -> Result<(), &'static str> {
        let passed = now.duration_since(self.since.unwrap_or(now)).as_secs_f64();
        self.since = Some(now);
        for (budget, (_, _, burst, rate)) in self.budgets.iter_mut().zip(KINDS) {
            *budget = (*budget + passed * rate).min(burst);
        }
        let budget = &mut self.budgets[index];
        if *budget < 1.0 {
            return Err(KINDS[index].1);
        }
        *budget -= 1.0;
        Ok(())
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for FrameGuard<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let poll = Pin::new(&mut this.io).poll_read(cx, buf);
        if let Err(kind) = this.counter.follow(&buf.filled()[before..], Instant::now) {
            // Only the first counts; there is no second.
            let _ = this.flood.set(kind);
            buf.set_filled(before);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "too many control frames")));
        }
        poll
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for FrameGuard<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
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

#[cfg(test)]
mod tests;
