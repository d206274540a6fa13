//! What moves a connection: reads what there is, lets the streams know, and writes what they have to say, once a turn.

use crate::error::Error;
use crate::frame::{self, HEADER, Head, PREFACE, kind};
use crate::receive::Payload;
use crate::settings::Settings;
use crate::state::{PING_ALIVE, Shared, State, leave};
use crate::streams::LARGE;
use bytes::{Buf as _, BytesMut};
use std::cell::RefCell;
use std::future::Future as _;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::io::poll_read_buf;

/// What is read at once: at first, onto the stack, and at most.
const READ: (usize, usize) = (8 * 1024, 128 * 1024);
/// Data that is not copied keeps what was read with it: at most this many times its own length. The longest frame is more
/// than that of the largest buffer.
const KEEPS: usize = 10;
/// What is read before it is time to write, and for others to run.
const TURN: usize = 256 * 1024;

/// The driver of a connection.
pub(crate) struct Driver<I> {
    io: I,
    pub(crate) state: Shared,
    /// The beginning of a frame, or what is read in large pieces.
    read: BytesMut,
    /// Of that buffer, with what was taken from it already.
    capacity: usize,
    /// Of the next one.
    room: usize,
    /// What is still to come of a client's preface.
    preface: &'static [u8],
    /// What was read since the last write.
    taken: usize,
    unflushed: bool,
    /// Whether all is done but the end of the connection itself.
    shutting: bool,
    timer: Option<Pin<Box<Sleep>>>,
    /// When the peer was last seen to be there, where pings depend on it.
    heard: Option<Instant>,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Driver<I> {
    pub(crate) fn new(io: I, server: bool, settings: Settings) -> Self {
        let mut state = State::new(server, settings);
        state.out.vectored = io.is_write_vectored();
        Self {
            io,
            state: Rc::new(RefCell::new(state)),
            read: BytesMut::new(),
            capacity: 0,
            room: READ.0,
            preface: if server { PREFACE } else { &[] },
            taken: 0,
            unflushed: false,
            shutting: false,
            timer: None,
            heard: None,
        }
    }

    /// Bytes of buffers.
    pub(crate) fn memory(&self) -> usize {
        self.read.capacity() + self.state.borrow().memory()
    }

    /// Does all that can be done. Ready at the end of the connection, or when `stop` says so after something was read;
    /// nothing was written then, and the driver wants to be called again.
    pub(crate) fn poll(
        &mut self,
        stop: impl Fn(&State) -> bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        if self.shutting {
            return self.poll_shutdown(cx);
        }
        if self.state.borrow().error.is_some() {
            return Poll::Ready(Ok(()));
        }
        self.state.borrow_mut().looks(cx.waker());
        loop {
            if self.taken >= TURN {
                cx.waker().wake_by_ref();
                break;
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(0)) => {
                    self.end_of_input()?;
                    // What was answered is written still.
                    return self.poll_shutdown(cx);
                }
                Poll::Ready(Ok(len)) => self.taken += len,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.fail(error, cx))),
                Poll::Pending => break,
            }
            if stop(&self.state.borrow()) {
                return Poll::Ready(Ok(()));
            }
        }
        self.taken = 0;
        let alive = self.poll_keep_alive(cx);
        if let Err(error) = alive.and_then(|()| self.write(cx)) {
            return Poll::Ready(Err(self.fail(error, cx)));
        }
        if self.is_done() {
            return self.poll_shutdown(cx);
        }
        let mut state = self.state.borrow_mut();
        if stop(&state) {
            return Poll::Ready(Ok(()));
        }
        if state.streams.is_empty() {
            state.rest();
        }
        state.looked();
        Poll::Pending
    }

    /// Reads once, and takes the frames that are complete; zero is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Error>> {
        let len = if self.read.is_empty() {
            // What is small is taken where it was read, and no memory is held while nothing comes.
            self.read = BytesMut::new();
            let mut room = [const { MaybeUninit::uninit() }; READ.0];
            let mut buf = ReadBuf::uninit(&mut room);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
            let len = buf.filled().len();
            self.room = if len == READ.0 { self.room.max(2 * READ.0) } else { READ.0 };
            self.take(buf.filled())?;
            len
        } else {
            let wants = Head::parse(&self.read).map_or(0, |head| HEADER + head.len);
            let wants = wants.saturating_sub(self.read.len()).max(self.room / 2);
            if self.read.capacity() - self.read.len() < wants && !self.read.try_reclaim(wants) {
                self.capacity = self.read.len() + wants.max(self.room);
                let mut larger = BytesMut::with_capacity(self.capacity);
                larger.extend_from_slice(&self.read);
                self.read = larger;
            }
            let len = ready!(poll_read_buf(Pin::new(&mut self.io), cx, &mut self.read))?;
            if len >= self.room {
                // A sender that fills what there is has more.
                self.room = (self.room * 2).min(READ.1);
            }
            self.take_large()?;
            len
        };
        if self.state.borrow().settings.keep_alive.is_some() {
            self.heard = Some(Instant::now());
        }
        Poll::Ready(Ok(len))
    }

    /// Takes the frames in `bytes`, and keeps what is left.
    fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut bytes = &bytes[self.skip_preface(bytes)?..];
        let mut state = self.state.borrow_mut();
        while let Some((head, payload, rest)) = split(bytes)? {
            state.frame(head, Payload::Borrowed(payload))?;
            bytes = rest;
        }
        if !bytes.is_empty() {
            self.read.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Takes the frames that were read in a large piece.
    fn take_large(&mut self) -> Result<(), Error> {
        let read = std::mem::take(&mut self.read);
        let skipped = self.skip_preface(&read);
        self.read = read;
        self.read.advance(skipped?);
        let large = LARGE.max(self.capacity / KEEPS);
        let mut state = self.state.borrow_mut();
        while let Some((head, payload, _)) = split(&self.read)? {
            if head.kind == kind::DATA && head.len >= large {
                let mut frame = self.read.split_to(HEADER + head.len);
                frame.advance(HEADER);
                state.frame(head, Payload::Owned(frame.freeze()))?;
            } else {
                state.frame(head, Payload::Borrowed(payload))?;
                self.read.advance(HEADER + head.len);
            }
        }
        Ok(())
    }

    /// Takes what is left of the preface off these bytes: how many.
    fn skip_preface(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let (begun, left) = self.preface.split_at(self.preface.len().min(bytes.len()));
        if !bytes.starts_with(begun) {
            return Err(Error::protocol("no preface of HTTP/2"));
        }
        self.preface = left;
        Ok(begun.len())
    }

    /// Writes until nothing is left or the connection takes no more.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let mut state = self.state.borrow_mut();
        loop {
            state.open_waiting();
            state.fill();
            if state.out.len() == 0 {
                break;
            }
            self.unflushed = true;
            let polled = state.out.poll_write(&mut self.io, cx)?;
            if polled.is_pending() {
                break;
            }
        }
        if state.feed() {
            cx.waker().wake_by_ref();
        }
        if self.unflushed && Pin::new(&mut self.io).poll_flush(cx)?.is_ready() {
            self.unflushed = false;
        }
        Ok(())
    }

    /// Sends a ping where nothing was heard for long enough; fails where nothing was heard after it, be it the answer or
    /// something else. The ping or its answer may have to wait for a lot of data: a peer that goes on to take what it did
    /// not take at once counts as heard.
    fn poll_keep_alive(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let mut state = self.state.borrow_mut();
        let Some((interval, timeout, while_idle)) = state.settings.keep_alive else { return Ok(()) };
        if std::mem::take(&mut state.out.moved) {
            self.heard = Some(Instant::now());
        }
        let heard = *self.heard.get_or_insert_with(Instant::now);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(heard + interval)));
        while timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let next = if state.pinged {
                if now >= heard + timeout {
                    return Err(Error::KeepAlive);
                }
                heard + timeout
            } else if now < heard + interval {
                heard + interval
            } else if !while_idle && state.streams.count() == 0 {
                now + interval
            } else {
                frame::put_ping(0, PING_ALIVE, state.out.buffer());
                state.pinged = true;
                now + timeout
            };
            timer.as_mut().reset(next);
        }
        Ok(())
    }

    /// Whether the connection can end.
    fn is_done(&mut self) -> bool {
        let mut state = self.state.borrow_mut();
        if !state.is_ending() || state.streams.count() > 0 || !state.waiting.is_empty() || state.out.len() > 0
        {
            return false;
        }
        state.error.get_or_insert(Error::Closed);
        if !state.server {
            frame::put_go_away(0, crate::Code::NO_ERROR, state.out.buffer());
        }
        true
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.shutting = true;
        self.poll_keep_alive(cx)?;
        let mut state = self.state.borrow_mut();
        // The peer may be gone already; nothing is lost with it.
        let written = ready!(state.out.poll_write(&mut self.io, cx));
        if written.is_ok() {
            let _ = ready!(Pin::new(&mut self.io).poll_shutdown(cx));
        }
        Poll::Ready(Ok(()))
    }

    /// The peer has closed the connection.
    fn end_of_input(&mut self) -> Result<(), Error> {
        let mut state = self.state.borrow_mut();
        let error = match state.going {
            _ if state.streams.count() == 0 && state.waiting.is_empty() => Error::Closed,
            Some((_, code)) => Error::GoAway { code, remote: true, reason: "" },
            None => {
                io::Error::new(io::ErrorKind::UnexpectedEof, "connection closed with open streams").into()
            }
        };
        state.fail(&error);
        if matches!(error, Error::Closed) { Ok(()) } else { Err(error) }
    }

    /// Breaks everything off, and tells the peer if it listens.
    fn fail(&mut self, error: Error, cx: &mut Context<'_>) -> Error {
        let mut state = self.state.borrow_mut();
        state.fail(&error);
        if !error.is_io()
            && let Poll::Ready(Ok(())) = state.out.poll_write(&mut self.io, cx)
        {
            let _ = Pin::new(&mut self.io).poll_flush(cx);
            let _ = Pin::new(&mut self.io).poll_shutdown(cx);
        }
        error
    }
}

impl<I> Drop for Driver<I> {
    fn drop(&mut self) {
        leave(&mut Some(self.state.clone()), |state| state.fail(&Error::Closed));
    }
}

/// A frame's header and payload, and what follows.
type Split<'a> = (Head, &'a [u8], &'a [u8]);

/// The first frame of these bytes, and the rest; `None` where it is not complete.
fn split(bytes: &[u8]) -> Result<Option<Split<'_>>, Error> {
    let Some(head) = Head::parse(bytes) else { return Ok(None) };
    head.check()?;
    Ok(bytes[HEADER..].split_at_checked(head.len).map(|(payload, rest)| (head, payload, rest)))
}
