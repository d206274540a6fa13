//! The handles of a stream's two sides.

use crate::error::{Code, Error};
use crate::state::{Shared, leave};
use crate::streams::{Key, Receiving, register};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// What comes on a stream. What was read of it is given back to the peer's window, so that a reader that waits makes the
/// peer wait.
pub struct RecvBody {
    /// Until the end.
    state: Option<Shared>,
    key: Key,
}

/// What goes out on a stream. Dropping it before the end resets the stream.
pub struct SendBody {
    state: Option<Shared>,
    key: Key,
}

impl RecvBody {
    pub(crate) fn new(state: Shared, key: Key) -> Self {
        Self { state: Some(state), key }
    }

    /// The next frame; none is empty.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(shared) = &self.state else { return Poll::Ready(None) };
        let mut state = shared.borrow_mut();
        let stream = &mut state.streams[self.key];
        if let Some(data) = stream.pop() {
            state.release(self.key, data.len());
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let last = match (stream.trailers_came.take(), stream.receiving) {
            (Some(trailers), _) => Some(Ok(Frame::trailers(*trailers))),
            (None, Receiving::Ended) => None,
            (None, Receiving::Failed) => Some(Err(stream.error.clone().unwrap_or(Error::Closed))),
            (None, Receiving::Open) => {
                register(&mut stream.data_waker, cx);
                return Poll::Pending;
            }
        };
        drop(state);
        self.end();
        Poll::Ready(last)
    }

    /// Whether nothing more comes. An end that came in a frame of its own is still to be read.
    pub fn is_end_stream(&self) -> bool {
        self.state.as_ref().is_none_or(|state| {
            let stream = &state.borrow().streams[self.key];
            stream.receiving == Receiving::Ended && stream.is_read_up() && !stream.ends_apart
        })
    }

    /// How many bytes are left.
    pub fn size_hint(&self) -> SizeHint {
        let Some(state) = &self.state else { return SizeHint::with_exact(0) };
        let stream = &state.borrow().streams[self.key];
        let here = stream.received.iter().map(Bytes::len).sum::<usize>() + stream.tail.len();
        let here = here as u64;
        match stream.expected {
            Some(left) => SizeHint::with_exact(here + left),
            None => {
                let mut hint = SizeHint::new();
                hint.set_lower(here);
                hint
            }
        }
    }

    fn end(&mut self) {
        leave(&mut self.state, |state| state.reader_gone(self.key));
    }
}

impl Drop for RecvBody {
    fn drop(&mut self) {
        self.end();
    }
}

impl http_body::Body for RecvBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Self::poll_frame(&mut self, cx)
    }

    fn is_end_stream(&self) -> bool {
        self.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.size_hint()
    }
}

impl fmt::Debug for RecvBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvBody").field("key", &self.key).finish_non_exhaustive()
    }
}

impl SendBody {
    /// The handle of a side that goes on, or of one that has ended.
    pub(crate) fn new(state: Option<Shared>, key: Key) -> Self {
        Self { state, key }
    }

    /// How much can be sent now, at least one byte. More is taken too, but whoever waits here before each piece of data
    /// holds no more of it than the peer takes.
    ///
    /// # Errors
    /// Why nothing can be sent.
    pub fn poll_capacity(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Error>> {
        let Some(state) = &self.state else { return Poll::Ready(Err(Error::User("data after the end"))) };
        let mut state = state.borrow_mut();
        let capacity = state.capacity(self.key);
        let stream = &mut state.streams[self.key];
        if let Some(error) = &stream.error {
            return Poll::Ready(Err(error.clone()));
        }
        if stream.send_ended {
            return Poll::Ready(Err(Error::User("data after the end")));
        }
        if capacity > 0 {
            return Poll::Ready(Ok(capacity));
        }
        register(&mut stream.capacity_waker, cx);
        Poll::Pending
    }

    /// Sends data, and says whether it is the last.
    ///
    /// # Errors
    /// Why it cannot be sent.
    pub fn send(&mut self, data: Bytes, end: bool) -> Result<(), Error> {
        let state = self.state.as_ref().ok_or(Error::User("data after the end"))?;
        state.borrow_mut().send_data(self.key, data, end)
    }

    /// Sends trailers, which are the end.
    ///
    /// # Errors
    /// Why they cannot be sent.
    pub fn trailers(&mut self, trailers: HeaderMap) -> Result<(), Error> {
        let state = self.state.as_ref().ok_or(Error::User("trailers after the end"))?;
        state.borrow_mut().send_trailers(self.key, trailers)
    }

    /// Resets the stream, both ways.
    pub fn reset(&mut self, code: Code) {
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

    /// Sends a body to its end, as far as it comes and the peer takes it. `held` is data that waits for capacity; it is
    /// to be `None` at first.
    ///
    /// # Errors
    /// Those of the stream, and those of the body, after which the stream is to be reset.
    pub fn poll_send_all<B>(
        &mut self,
        body: &mut B,
        held: &mut Option<Bytes>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError<B::Error>>>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        loop {
            if held.is_some() {
                ready!(self.poll_capacity(cx)).map_err(SendError::Stream)?;
            } else if let Poll::Ready(error) = self.poll_reset(cx) {
                return Poll::Ready(Err(SendError::Stream(error)));
            }
            if let Some(data) = held.take() {
                let end = body.is_end_stream();
                self.send(data, end).map_err(SendError::Stream)?;
                if end {
                    return Poll::Ready(Ok(()));
                }
            }
            let frame = ready!(Pin::new(&mut *body).poll_frame(cx)).transpose().map_err(SendError::Body)?;
            let Some(frame) = frame else {
                return Poll::Ready(self.send(Bytes::new(), true).map_err(SendError::Stream));
            };
            match frame.into_data() {
                Ok(data) => *held = Some(data).filter(|data| !data.is_empty()),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return Poll::Ready(self.trailers(trailers).map_err(SendError::Stream));
                }
            }
        }
    }
}

/// Why a body was not sent to its end.
#[derive(Debug, thiserror::Error)]
pub enum SendError<E> {
    /// The stream failed.
    #[error(transparent)]
    Stream(Error),
    /// The body failed.
    #[error("body: {0}")]
    Body(E),
}

/// Waits until a stream has failed.
pub(crate) fn poll_reset(state: &Shared, key: Key, cx: &mut Context<'_>) -> Poll<Error> {
    let stream = &mut state.borrow_mut().streams[key];
    if let Some(error) = &stream.error {
        return Poll::Ready(error.clone());
    }
    register(&mut stream.reset_waker, cx);
    Poll::Pending
}

impl Drop for SendBody {
    fn drop(&mut self) {
        leave(&mut self.state, |state| state.writer_gone(self.key));
    }
}

impl fmt::Debug for SendBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendBody").field("key", &self.key).finish_non_exhaustive()
    }
}
