//! Strict framing of HTTP/1 requests, in front of the parser.
//!
//! Where two parsers may disagree about the end of a request, one of them can be made to take a part of it for a
//! request of its own (request smuggling). So whatever is ambiguous is refused here, with the reason, before any of it
//! reaches the parser: `head` says what a head may be, `chunked` what a chunked body may be. A read never goes beyond
//! the end of a request, so that pipelined requests are judged one after the other.
//!
//! A refused request is replaced by one of our own making, which the server answers with the refusal: thus the answer
//! keeps its place behind the answers to earlier requests.

mod chunked;
mod framing;
mod head;

use bytes::BytesMut;
use framing::{Framing, Step};
use http::StatusCode;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::io::poll_read_buf;

/// What stands in for a refused request; the answer to it is ours.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
/// How much of a refused client's bytes is read, and for how long, so that it sees the answer and not a reset.
const LINGER: (usize, Duration) = (256 * 1024, Duration::from_secs(1));
/// Room for a piece of a head that did not come at once.
const PIECE: usize = 4096;
/// The head did not come in time.
const LATE: Violation =
    Violation { status: StatusCode::REQUEST_TIMEOUT, reason: "the request head did not come in time" };

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What to answer with.
    pub status: StatusCode,
    /// What is wrong with the request.
    pub reason: &'static str,
}

/// Time limits of a connection that clients keep open.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the first byte of a head to its last.
    pub head: Duration,
    /// Between requests; a connection that is idle for longer is closed, at the latest after twice this time.
    pub idle: Option<Duration>,
}

/// What the guard and the server tell each other about a connection.
#[derive(Debug, Default)]
pub struct Watch {
    violation: OnceLock<Violation>,
    tunnel: AtomicBool,
}

/// A connection of which only well-framed requests can be read.
pub struct Guard<I> {
    io: I,
    framing: Framing,
    state: State,
    /// Judged and not read yet.
    passed: BytesMut,
    /// Not judged: a head that is not complete, or the beginning of the next request.
    held: BytesMut,
    limits: Limits,
    /// When the head at hand must be complete.
    late: Option<Pin<Box<Sleep>>>,
    idle: Option<Pin<Box<Sleep>>>,
    /// Whether a request was read since the idle timer was set.
    active: bool,
    watch: Arc<Watch>,
    linger: Option<(usize, Pin<Box<Sleep>>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Requests are judged.
    Open,
    /// A request was refused; this much of the stand-in was read.
    StandIn(usize),
    /// A request was refused in the middle of its body.
    Broken(Violation),
    /// The connection has left HTTP.
    Tunnel,
    /// Nothing more comes.
    Closed,
}

impl Violation {
    const fn bad(reason: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason }
    }

    fn broken(self) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, self.reason)
    }
}

impl Watch {
    /// Why the request at hand is refused.
    pub fn violation(&self) -> Option<Violation> {
        self.violation.get().copied()
    }

    /// Says that the connection leaves HTTP with the response at hand.
    pub fn leave_http(&self) {
        self.tunnel.store(true, Ordering::Relaxed);
    }
}

impl<I> Guard<I> {
    /// Guards `io`; `watch` is shared with the server.
    pub fn new(io: I, limits: Limits, watch: Arc<Watch>) -> Self {
        Self {
            io,
            framing: Framing::default(),
            state: State::Open,
            passed: BytesMut::new(),
            held: BytesMut::new(),
            limits,
            late: None,
            idle: None,
            active: true,
            watch,
            linger: None,
        }
    }

    /// What is guarded.
    pub fn get_ref(&self) -> &I {
        &self.io
    }

    /// Whether nothing was read that was not passed on.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.passed.is_empty()
    }

    fn refuse(&mut self, violation: Violation) {
        self.stop(violation, State::StandIn(0));
    }

    fn stop(&mut self, violation: Violation, state: State) {
        // There is no second one, for nothing is judged any more.
        let _ = self.watch.violation.set(violation);
        self.state = state;
        self.held = BytesMut::new();
    }

    /// What is held may be the beginning of a head: judges it. Says whether there is something to read now.
    fn judge_held(&mut self) -> bool {
        match self.framing.follow(&self.held) {
            Step::More => return false,
            Step::Pass(len) => {
                self.passed = self.held.split_to(len);
                if self.held.is_empty() {
                    // Lets go of the buffer once what was passed is read.
                    self.held = BytesMut::new();
                }
                self.active = true;
                self.late = None;
            }
            Step::Refuse(violation) => self.refuse(violation),
            Step::Break(violation) => self.stop(violation, State::Broken(violation)),
        }
        true
    }

    /// Judges what was just read into `buf` behind its first `before` bytes, and takes out what may not be passed on yet.
    fn judge_read(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let bytes = &buf.filled()[before..];
        let keep = match self.framing.follow(bytes) {
            Step::Pass(len) => {
                self.active = true;
                self.held.extend_from_slice(&bytes[len..]);
                len
            }
            Step::More => {
                self.held.extend_from_slice(bytes);
                0
            }
            Step::Refuse(violation) => {
                self.refuse(violation);
                0
            }
            Step::Break(violation) => {
                self.stop(violation, State::Broken(violation));
                0
            }
        };
        buf.set_filled(before + keep);
    }

    /// Nothing to read between requests: closes the connection if that lasts for too long.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(limit) = self.limits.idle.filter(|_| self.framing.is_between()) else {
            return Poll::Pending;
        };
        if self.idle.is_none() {
            self.active = false;
        }
        let timer = self.idle.get_or_insert_with(|| Box::pin(sleep(limit)));
        while timer.as_mut().poll(cx).is_ready() {
            if !std::mem::take(&mut self.active) {
                self.state = State::Closed;
                return Poll::Ready(Ok(()));
            }
            timer.as_mut().reset(Instant::now() + limit);
        }
        Poll::Pending
    }
}

impl<I: AsyncRead + Unpin> Guard<I> {
    fn poll_open(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        if !self.held.is_empty() {
            if self.judge_held() {
                return Poll::Ready(Ok(false));
            }
            return self.poll_rest_of_head(cx);
        }
        let before = buf.filled().len();
        match Pin::new(&mut self.io).poll_read(cx, buf)? {
            Poll::Pending => self.poll_idle(cx).map_ok(|()| true),
            // The end of the stream, or no room to read into.
            Poll::Ready(()) if buf.filled().len() == before => Poll::Ready(Ok(true)),
            Poll::Ready(()) => {
                self.judge_read(buf, before);
                Poll::Ready(Ok(buf.filled().len() > before))
            }
        }
    }

    fn poll_rest_of_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.held.reserve(PIECE);
        match poll_read_buf(Pin::new(&mut self.io), cx, &mut self.held)? {
            Poll::Pending => {
                let limit = self.limits.head;
                let timer = self.late.get_or_insert_with(|| Box::pin(sleep(limit)));
                ready!(timer.as_mut().poll(cx));
                self.refuse(LATE);
            }
            Poll::Ready(0) => {
                // The parser says what is wrong with half a head.
                self.passed = self.held.split();
                self.state = State::Closed;
            }
            Poll::Ready(_) => {}
        }
        Poll::Ready(Ok(false))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Guard<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.passed.is_empty() {
                let len = this.passed.len().min(buf.remaining());
                buf.put_slice(&this.passed.split_to(len));
                if this.passed.is_empty() {
                    this.passed = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            match this.state {
                State::Open if this.watch.tunnel.load(Ordering::Relaxed) => {
                    this.state = State::Tunnel;
                    this.passed = std::mem::take(&mut this.held);
                }
                State::Open => {
                    if ready!(this.poll_open(cx, buf))? {
                        return Poll::Ready(Ok(()));
                    }
                }
                State::StandIn(read) => {
                    let rest = &STAND_IN[read..];
                    let len = rest.len().min(buf.remaining());
                    buf.put_slice(&rest[..len]);
                    this.state = State::StandIn(read + len);
                    return Poll::Ready(Ok(()));
                }
                State::Broken(violation) => return Poll::Ready(Err(violation.broken())),
                State::Tunnel => return Pin::new(&mut this.io).poll_read(cx, buf),
                State::Closed => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Guard<I> {
    /// Reads what a refused client still sends, within limits: closing a socket with unread bytes resets the connection,
    /// and the client would not see the answer.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (left, deadline) = self.linger.get_or_insert_with(|| (LINGER.0, Box::pin(sleep(LINGER.1))));
        let mut scratch = [0; 4096];
        while *left > 0 && deadline.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => *left = left.saturating_sub(buf.filled().len()),
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<I> {
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
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
        }
        if self.watch.violation().is_some() {
            ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
