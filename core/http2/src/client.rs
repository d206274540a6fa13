//! The client's side of a connection.

use crate::body::{RecvBody, SendBody};
use crate::driver::Driver;
use crate::error::Error;
use crate::head;
use crate::hpack::Protocol;
use crate::settings::Settings;
use crate::state::{Drain, Shared, leave};
use crate::streams::{Key, register};
use http::{Extensions, HeaderMap, Request, Response, StatusCode, Version};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection with a server: a future that moves it, and ends with it.
pub struct Connection<I>(Driver<I>);

/// A handle by which requests are sent. The connection ends when there is none, and no stream.
pub struct Sender(Shared);

/// A request that was not sent, and why.
#[derive(Debug)]
pub struct Unsent {
    /// As it was.
    pub request: Request<()>,
    /// Why.
    pub error: Error,
}

/// A response that is waited for. Dropping it resets the stream.
pub struct Pending {
    state: Option<Shared>,
    key: Key,
    /// Of the request, until there is a response.
    extensions: Extensions,
}

/// A head that came.
#[derive(Debug)]
pub enum Answer {
    /// Another one will come.
    Informational(Response<()>),
    /// The response.
    Final(Response<RecvBody>),
}

/// A connection of which nothing was read or written, and its first handle.
pub fn connect<I: AsyncRead + AsyncWrite + Unpin>(io: I, settings: Settings) -> (Sender, Connection<I>) {
    let driver = Driver::new(io, false, settings);
    driver.state.borrow_mut().senders = 1;
    (Sender(driver.state.clone()), Connection(driver))
}

impl<I: AsyncRead + AsyncWrite + Unpin> Connection<I> {
    /// Moves the connection until its end.
    ///
    /// # Errors
    /// Why it failed.
    pub fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll(|_| false, cx)
    }

    /// What the server may send on a stream, and on all, before it was read.
    pub fn windows(&self) -> (u32, u32) {
        let settings = self.0.state.borrow().settings;
        (settings.stream_window, settings.connection_window)
    }

    /// Bytes held in buffers and slots.
    pub fn memory(&self) -> usize {
        self.0.memory()
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Future for Connection<I> {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_drive(cx)
    }
}

impl<I> fmt::Debug for Connection<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Sender {
    /// Sends the head of a request, and says whether that is all of it. Where the server allows no more streams it waits.
    ///
    /// # Errors
    /// [`Unsent`], with the request.
    pub fn send(&self, mut request: Request<()>, end: bool) -> Result<(Pending, SendBody), Box<Unsent>> {
        let mut state = self.0.borrow_mut();
        let closed = state.is_closed().then_some(Error::Unprocessed(crate::Code::NO_ERROR));
        if let Some(error) = closed.or_else(|| head::check(&request).err()) {
            return Err(Box::new(Unsent { request, error }));
        }
        // Only ours goes along: whatever else there is may be anything.
        let mut extensions = std::mem::take(request.extensions_mut());
        if let Some(protocol) = extensions.remove::<Protocol>() {
            request.extensions_mut().insert(protocol);
        }
        let key = state.ask(request, end);
        let pending = Pending { state: Some(self.0.clone()), key, extensions };
        Ok((pending, SendBody::new((!end).then(|| self.0.clone()), key)))
    }

    /// Whether no request can be sent any more.
    pub fn is_closed(&self) -> bool {
        self.0.borrow().is_closed()
    }

    /// Streams that are open, and requests that wait for one.
    pub fn streams(&self) -> usize {
        let state = self.0.borrow();
        state.streams.count() + state.waiting.len()
    }

    /// Streams that the server allows.
    pub fn max_streams(&self) -> u32 {
        self.0.borrow().peer.max_streams
    }

    /// Whether the server takes `CONNECT` with a protocol (RFC 8441), as far as is known.
    pub fn connect_protocol(&self) -> bool {
        self.0.borrow().peer.connect_protocol
    }

    /// Ends the connection when all streams have ended; no more are begun.
    pub fn close(&self) {
        let mut state = self.0.borrow_mut();
        state.drain = Drain::Announced;
        state.touch();
    }
}

#[cfg(test)]
impl Sender {
    /// The next stream has this number.
    pub(crate) fn skip_to(&self, next: u32) {
        self.0.borrow_mut().next = next;
    }
}

impl Clone for Sender {
    fn clone(&self) -> Self {
        self.0.borrow_mut().senders += 1;
        Self(self.0.clone())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        leave(&mut Some(self.0.clone()), |state| {
            state.senders -= 1;
            if state.senders == 0 {
                state.touch();
            }
        });
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl Pending {
    /// The next head.
    ///
    /// # Errors
    /// Why there is no response.
    pub fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, Error>> {
        let Some(shared) = &self.state else { return Poll::Ready(Err(Error::Closed)) };
        let mut state = shared.borrow_mut();
        let stream = &mut state.streams[self.key];
        if !stream.informational.is_empty() {
            let response = response(stream.informational.remove(0), ());
            return Poll::Ready(Ok(Answer::Informational(response)));
        }
        if let Some(head) = stream.head.take() {
            drop(state);
            // From here on it is the body that holds the stream.
            let body = self.state.take().map(|state| RecvBody::new(state, self.key));
            let answer = body.map(|body| Answer::Final(response(head, body)));
            return Poll::Ready(answer.ok_or(Error::Closed));
        }
        if let Some(error) = &stream.error {
            return Poll::Ready(Err(error.clone()));
        }
        register(&mut stream.head_waker, cx);
        Poll::Pending
    }

    /// Whether the request has no stream yet, so that nothing of it was sent.
    pub fn is_waiting(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.borrow().streams[self.key].asked.is_some())
    }

    /// The request, where it has failed before it had a stream.
    pub fn take_unsent(&mut self) -> Option<Request<()>> {
        let state = self.state.as_ref()?;
        let mut state = state.borrow_mut();
        let stream = &mut state.streams[self.key];
        let mut request = stream.asked.take_if(|_| stream.error.is_some())?;
        let protocol = request.extensions_mut().remove::<Protocol>();
        *request.extensions_mut() = std::mem::take(&mut self.extensions);
        if let Some(protocol) = protocol {
            request.extensions_mut().insert(protocol);
        }
        Some(request)
    }
}

fn response<B>((status, headers): (StatusCode, HeaderMap), body: B) -> Response<B> {
    let mut response = Response::new(body);
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    *response.version_mut() = Version::HTTP_2;
    response
}

impl Future for Pending {
    type Output = Result<Response<RecvBody>, Error>;

    /// The response; what comes before it is left aside.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            if let Answer::Final(response) = ready!(self.poll_answer(cx))? {
                return Poll::Ready(Ok(response));
            }
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        leave(&mut self.state, |state| state.reader_gone(self.key));
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("key", &self.key).finish_non_exhaustive()
    }
}
