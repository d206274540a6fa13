//! Request bodies that can be sent again: what was read is kept, up to a limit, until the request has its answer.

use crate::body::Body;
use crate::error::Error;
use crate::http::limit::Clock;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use mesh_metrics::Histogram;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

/// The original of a body, from which copies are made one after the other.
#[derive(Debug)]
pub struct Replay(Option<Rc<RefCell<State>>>);

/// Memory for what is kept of all bodies of a proxy. Where it is used up, bodies pass through and cannot be sent again.
#[derive(Debug)]
pub struct Memory {
    used: AtomicUsize,
    most: usize,
}

/// What a body's frames are told to, and what it may keep.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// Bytes of this body.
    pub limit: usize,
    /// Bytes of all bodies.
    pub memory: Arc<Memory>,
    /// Learns when the body has ended.
    pub clock: Option<Rc<Clock>>,
    /// Learns the size of each data frame.
    pub frames: Option<Histogram>,
}

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
    keeping: Keeping,
    trailers: Option<HeaderMap>,
    complete: bool,
    /// More was read than is kept, or reading failed: no further copies.
    spent: bool,
}

impl Memory {
    /// Room for so many bytes.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), most })
    }

    /// Bytes kept now.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let used = self.used.fetch_add(bytes, Relaxed);
        if used.saturating_add(bytes) > self.most {
            self.used.fetch_sub(bytes, Relaxed);
            return false;
        }
        true
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Relaxed);
    }
}

impl Replay {
    /// Keeps what `keeping` allows of `body`; it is not asked where there is no body.
    pub fn new(body: Body, keeping: impl FnOnce() -> Keeping) -> Self {
        if body.is_end_stream() {
            return Self(None);
        }
        let keeping = keeping();
        let state = State {
            inner: body,
            kept: Vec::new(),
            size: 0,
            keeping,
            trailers: None,
            complete: false,
            spent: false,
        };
        Self(Some(Rc::new(RefCell::new(state))))
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a copy can be made of which no more than `limit` bytes were read.
    pub fn can_copy(&self, limit: usize) -> bool {
        self.0.as_ref().is_none_or(|state| {
            let state = state.borrow();
            !state.spent && state.size <= limit
        })
    }

    /// A copy from the beginning; the copies before it must not be read any more. `None` when too much was read.
    pub fn copy(&self) -> Option<Body> {
        let Some(state) = &self.0 else { return Some(Body::Empty) };
        if state.borrow().spent {
            return None;
        }
        Some(Body::Replay(Box::new(Copy { state: Rc::clone(state), next: 0, trailers_read: false })))
    }
}

/// A body of which one piece was read already.
pub fn resumed(first: Bytes, rest: Body, memory: &Arc<Memory>) -> Body {
    let keeping = Keeping { limit: 0, memory: Arc::clone(memory), clock: None, frames: None };
    let state = State {
        inner: rest,
        kept: vec![first],
        size: 0,
        keeping,
        trailers: None,
        complete: false,
        spent: false,
    };
    Body::Replay(Box::new(Copy { state: Rc::new(RefCell::new(state)), next: 0, trailers_read: false }))
}

impl Copy {
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = self.poll_next(cx);
        if let Poll::Ready(frame) = &frame {
            let state = self.state.borrow();
            if let Some(clock) = &state.keeping.clock {
                clock.moved();
                if frame.is_none() || self.is_end(&state) {
                    clock.sent();
                }
            }
        }
        frame
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
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
                    if let Some(frames) = &state.keeping.frames {
                        frames.observe(data.len() as f64);
                    }
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
        self.is_end(&self.state.borrow())
    }

    fn is_end(&self, state: &State) -> bool {
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
        if self.spent {
            return;
        }
        if self.size + data.len() > self.keeping.limit || !self.keeping.memory.take(data.len()) {
            self.spent = true;
            self.forget();
        } else {
            self.size += data.len();
            self.kept.push(data.clone());
        }
    }

    fn forget(&mut self) {
        self.kept.clear();
        self.keeping.memory.give_back(std::mem::take(&mut self.size));
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.forget();
    }
}

#[cfg(test)]
mod tests;
