//! Limits in time of one exchange: for all of it, for the response once the request was sent, and between frames.

use crate::body::Body;
use crate::error::Error;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Time limits of an exchange (the outbound API's `Timeouts`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the beginning of the request to the end of the response.
    pub request: Option<Duration>,
    /// From the end of the request to the end of the response.
    pub response: Option<Duration>,
    /// Without a frame in either direction.
    pub idle: Option<Duration>,
}

/// The clock of one exchange that has limits.
#[derive(Debug)]
pub struct Clock {
    limits: Timeouts,
    began: Instant,
    moved: Cell<Instant>,
    sent: Cell<Option<Instant>>,
    expired: Cell<bool>,
}

/// A response body that fails when a limit is passed.
#[derive(Debug)]
pub struct Limited {
    inner: Body,
    clock: Rc<Clock>,
    alarm: Pin<Box<Sleep>>,
}

impl Clock {
    /// A clock that starts now; `None` where there is nothing to measure.
    pub fn start(limits: Timeouts) -> Option<Rc<Self>> {
        let now = (limits != Timeouts::default()).then(Instant::now)?;
        let (moved, sent, expired) = (Cell::new(now), Cell::new(None), Cell::new(false));
        Some(Rc::new(Self { limits, began: now, moved, sent, expired }))
    }

    /// The request is sent, from its beginning: for the first time or again.
    pub fn restart(&self) {
        self.sent.set(None);
        self.moved.set(Instant::now());
    }

    /// A frame has passed.
    pub fn moved(&self) {
        if self.limits.idle.is_some() {
            self.moved.set(Instant::now());
        }
    }

    /// The last frame of the request has passed.
    pub fn sent(&self) {
        if self.limits.response.is_some() && self.sent.get().is_none() {
            self.sent.set(Some(Instant::now()));
        }
    }

    /// Whether a limit was passed.
    pub fn expired(&self) -> bool {
        self.expired.get()
    }

    /// A time before which no limit is passed. Limits only ever move away, so that waking up then, and asking again, is
    /// never too late.
    fn alarm(&self) -> Instant {
        let now = Instant::now();
        let at = |from: Instant, limit: Option<Duration>| limit.and_then(|limit| from.checked_add(limit));
        let times = [
            at(self.began, self.limits.request),
            at(self.sent.get().unwrap_or(now), self.limits.response),
            at(self.moved.get(), self.limits.idle),
        ];
        // A limit too far away to be told is none; looking again in a day does no harm.
        times.into_iter().flatten().min().unwrap_or(now + Duration::from_secs(86_400))
    }

    /// The limit that is passed, if one is.
    fn check(&self) -> Option<Error> {
        let now = Instant::now();
        let passed = |from: Instant, limit: Option<Duration>| {
            limit.filter(|limit| now.saturating_duration_since(from) >= *limit)
        };
        let request = || passed(self.began, self.limits.request).map(Error::RequestTimeout);
        let response = || passed(self.sent.get()?, self.limits.response).map(Error::ResponseTimeout);
        let idle = || passed(self.moved.get(), self.limits.idle).map(Error::IdleTimeout);
        let error = request().or_else(response).or_else(idle);
        self.expired.set(error.is_some());
        error
    }
}

/// Does `work` unless a limit of the exchange is passed first.
///
/// # Errors
/// Those of `work`, and the limit that was passed.
pub async fn within<T>(
    clock: Option<&Clock>,
    mut work: Pin<&mut impl Future<Output = Result<T, Error>>>,
) -> Result<T, Error> {
    let Some(clock) = clock else { return work.await };
    let mut alarm = pin!(sleep_until(clock.alarm()));
    loop {
        tokio::select! {
            biased;
            result = &mut work => return result,
            () = &mut alarm => {
                if let Some(error) = clock.check() {
                    return Err(error);
                }
                alarm.as_mut().reset(clock.alarm());
            }
        }
    }
}

impl Limited {
    /// Holds `inner` to the limits of `clock`.
    pub fn new(inner: Body, clock: Rc<Clock>) -> Self {
        let alarm = Box::pin(sleep_until(clock.alarm()));
        Self { inner, clock, alarm }
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            self.clock.moved();
            return Poll::Ready(frame);
        }
        loop {
            match self.alarm.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => match self.clock.check() {
                    Some(error) => {
                        // Lets go of the stream, so that the server learns of it.
                        self.inner = Body::Empty;
                        return Poll::Ready(Some(Err(error)));
                    }
                    None => self.alarm.as_mut().reset(self.clock.alarm()),
                },
            }
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests;
