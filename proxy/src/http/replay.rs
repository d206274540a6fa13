//! Request bodies that can be sent again: what was read is kept, up to a limit, until the request has its answer.

use crate::body::Body;
use crate::error::Error;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// The original of a body, from which copies are made one after the other.
#[derive(Debug)]
pub struct Replay(Rc<RefCell<State>>);

/// One copy; reads what earlier copies have read, then on from the original.
#[derive(Debug)]
pub struct Copy {
    state: Rc<RefCell<State>>,
    next: usize,
    trailers_read: bool,
}

#[derive(Debug)]
struct State {
    inner: Body,
    kept: Vec<Bytes>,
    size: usize,
    limit: usize,
    trailers: Option<HeaderMap>,
    complete: bool,
    /// More was read than is kept, or reading failed: no further copies.
    spent: bool,
}

impl Replay {
    /// Keeps up to `limit` bytes of `body`.
    pub fn new(body: Body, limit: usize) -> Self {
        let state = State {
            inner: body,
            kept: Vec::new(),
            size: 0,
            limit,
            trailers: None,
            complete: false,
            spent: false,
        };
        Self(Rc::new(RefCell::new(state)))
    }

    /// A copy from the beginning; the copies before it must not be read any more. `None` when too much was read.
    pub fn copy(&self) -> Option<Body> {
        let state = self.0.borrow();
        if state.spent {
            return None;
        }
        if state.inner.is_end_stream() && state.kept.is_empty() && state.trailers.is_none() {
            return Some(Body::Empty);
        }
        Some(Body::Replay(Box::new(Copy { state: Rc::clone(&self.0), next: 0, trailers_read: false })))
    }
}

impl Copy {
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let state = &mut *self.state.borrow_mut();
        if let Some(data) = state.kept.get(self.next) {
            self.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(data.clone()))));
        }
        if state.complete {
            let trailers = if self.trailers_read { None } else { state.trailers.clone() };
            self.trailers_read = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let frame = ready!(Pin::new(&mut state.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    state.keep(data);
                    self.next = state.kept.len();
                    state.complete |= state.inner.is_end_stream();
                } else if let Some(trailers) = frame.trailers_ref() {
                    state.trailers = Some(trailers.clone());
                    state.complete = true;
                    self.trailers_read = true;
                }
            }
            Some(Err(_)) => state.spent = true,
            None => state.complete = true,
        }
        Poll::Ready(frame)
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        let state = self.state.borrow();
        let done = state.complete || state.inner.is_end_stream();
        self.next >= state.kept.len() && done && (state.trailers.is_none() || self.trailers_read)
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        let state = self.state.borrow();
        let kept: usize = state.kept.iter().skip(self.next).map(Bytes::len).sum();
        let kept = kept as u64;
        if state.complete {
            return SizeHint::with_exact(kept);
        }
        let rest = state.inner.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + kept);
        }
        hint.set_lower(rest.lower() + kept);
        hint
    }
}

impl State {
    /// Keeps a piece, or lets everything go once there is too much: the one reader there is has read all of it.
    fn keep(&mut self, data: &Bytes) {
        if self.spent || self.size + data.len() > self.limit {
            self.spent = true;
            self.kept.clear();
        } else {
            self.size += data.len();
            self.kept.push(data.clone());
        }
    }
}

#[cfg(test)]
mod tests;
