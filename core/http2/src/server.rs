//! The server's side of a connection.

use crate::body::{RecvBody, SendBody, poll_reset};
use crate::driver::Driver;
use crate::error::{Code, Error};
use crate::frame::{self, MAX_WINDOW};
use crate::head;
use crate::send::OUTPUT;
use crate::settings::Settings;
use crate::state::{Drain, PING_DRAIN, Shared, State, leave};
use crate::streams::Key;
use http::{HeaderMap, Request, Response, StatusCode};
use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection with a client.
pub struct Server<I>(Driver<I>);

/// A request, and how it is answered.
pub type Accepted = (Request<RecvBody>, Respond);

/// The handle by which a request is answered. Dropping it resets the stream.
pub struct Respond {
    state: Option<Shared>,
    key: Key,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Server<I> {
    /// A connection of which nothing was read.
    pub fn new(io: I, settings: Settings) -> Self {
        Self(Driver::new(io, true, settings))
    }

    /// Moves the connection, and gives the next request; `None` at its end. To be called until it is pending: only then
    /// all was written.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Accepted, Error>>> {
        loop {
            if let Some(taken) = self.take() {
                return Poll::Ready(Some(Ok(taken)));
            }
            let polled = ready!(self.0.poll(has_request, cx));
            match polled {
                Ok(()) if has_request(&self.0.state.borrow()) => {}
                Ok(()) => return Poll::Ready(None),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// [`Self::poll_accept`] as a future.
    pub async fn accept(&mut self) -> Option<Result<Accepted, Error>> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// The next request that came.
    fn take(&self) -> Option<Accepted> {
        let shared = &self.0.state;
        let mut state = shared.borrow_mut();
        while has_request(&state) {
            let (key, request) = state.accepted.pop_front()?;
            state.taken(key);
            if state.streams[key].error.is_some() {
                state.accepted_dead = state.accepted_dead.saturating_sub(1);
                state.forget(key);
                continue;
            }
            let body = RecvBody::new(shared.clone(), key);
            return Some((request.map(|()| body), Respond { state: Some(shared.clone()), key }));
        }
        None
    }

    /// Promises that the connection is polled before the task rests, so that handles need not wake it: for tasks that
    /// run the streams of a connection beside it.
    pub fn will_poll(&self) {
        self.0.state.borrow_mut().will_look();
    }

    /// Lets streams end, and takes no more (RFC 9113, 6.8). Those that are on their way are taken still.
    pub fn graceful_shutdown(&mut self) {
        let mut state = self.0.state.borrow_mut();
        if state.drain == Drain::No {
            state.drain = Drain::Announced;
            frame::put_go_away(MAX_WINDOW, Code::NO_ERROR, state.out.buffer());
            frame::put_ping(0, PING_DRAIN, state.out.buffer());
            state.touch();
        }
    }

    /// Streams that are open.
    pub fn streams(&self) -> usize {
        self.0.state.borrow().streams.count()
    }

    /// Bytes held in buffers and slots.
    pub fn memory(&self) -> usize {
        self.0.memory()
    }
}

/// Whether a request can be taken: not while the client does not read what it was answered.
fn has_request(state: &State) -> bool {
    !state.accepted.is_empty() && state.out.len() < 4 * OUTPUT
}

impl<I> fmt::Debug for Server<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

impl Respond {
    /// Sends an informational head.
    ///
    /// # Errors
    /// Why it cannot be sent.
    pub fn inform(&mut self, status: StatusCode, headers: HeaderMap) -> Result<(), Error> {
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::User("not an informational status"));
        }
        let mut response = Response::new(());
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        self.put(&response, false)
    }

    /// Sends the head of the response, and says whether that is all.
    ///
    /// # Errors
    /// Why it cannot be sent.
    pub fn respond(mut self, response: Response<()>, end: bool) -> Result<SendBody, Error> {
        if response.status().is_informational() {
            return Err(Error::User("not a final status"));
        }
        self.put(&response, end)?;
        let (key, state) = (self.key, self.state.take());
        if let Some(state) = state.as_ref().filter(|_| end) {
            let mut state = state.borrow_mut();
            let stream = &mut state.streams[key];
            (stream.end_told, stream.send_ended, stream.writer) = (true, true, false);
            state.settle(key);
        }
        Ok(SendBody::new(state.filter(|_| !end), key))
    }

    fn put(&self, response: &Response<()>, end: bool) -> Result<(), Error> {
        let mut state = self.state.as_ref().ok_or(Error::Closed)?.borrow_mut();
        let stream = &state.streams[self.key];
        if let Some(error) = &stream.error {
            return Err(error.clone());
        }
        let id = stream.id;
        state.put_block(id, end, |encoder, out| head::put_response(encoder, response, out));
        Ok(())
    }

    /// Resets the stream.
    pub fn reset(mut self, code: Code) {
        if let Some(state) = self.state.take() {
            let mut state = state.borrow_mut();
            state.reset(self.key, code);
            state.writer_gone(self.key);
        }
    }

    /// Waits until the stream is reset or its connection fails.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let Some(state) = &self.state else { return Poll::Pending };
        poll_reset(state, self.key, cx)
    }
}

impl Drop for Respond {
    fn drop(&mut self) {
        leave(&mut self.state, |state| state.writer_gone(self.key));
    }
}

impl fmt::Debug for Respond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Respond").field("key", &self.key).finish_non_exhaustive()
    }
}
