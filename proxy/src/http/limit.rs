//! Response bodies with a deadline.

use crate::body::Body;
use crate::error::Error;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// A body that fails when it has not ended by a deadline.
#[derive(Debug)]
pub struct Limited {
    inner: Body,
    deadline: Pin<Box<Sleep>>,
    limit: Duration,
}

impl Limited {
    /// `limit` is what the deadline was made from, for the error.
    pub fn new(inner: Body, deadline: Instant, limit: Duration) -> Self {
        Self { inner, deadline: Box::pin(sleep_until(deadline)), limit }
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        match self.deadline.as_mut().poll(cx) {
            Poll::Ready(()) => {
                // Lets go of the stream, so that the server learns of it.
                self.inner = Body::Empty;
                Poll::Ready(Some(Err(Error::RequestTimeout(self.limit))))
            }
            Poll::Pending => Poll::Pending,
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
