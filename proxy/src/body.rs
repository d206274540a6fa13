//! The one body type of the data plane: an enum, so that relaying a frame costs a branch and no allocation.

use crate::error::Error;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use mesh_http2::RecvBody;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A request or response body on its way through the proxy.
#[derive(Debug, Default)]
pub enum Body {
    /// No frames.
    #[default]
    Empty,
    /// One chunk made by the proxy itself.
    Full(Bytes),
    /// Trailers and nothing else.
    Trailers(Box<HeaderMap>),
    /// Frames from a stream of an HTTP/2 connection.
    Http2(RecvBody),
    /// Frames from an HTTP/1 connection.
    Frames(Box<dyn Frames>),
    /// Frames that someone accounts for.
    Observed(Box<Observed<dyn Observe>>),
    /// A copy of a body that may have to be sent again.
    Replay(Box<crate::http::replay::Copy>),
    /// Frames that must all come before a deadline.
    Limited(Box<crate::http::limit::Limited>),
}

/// How a body ended.
#[derive(Debug)]
pub enum End<'a> {
    /// All frames were read; the trailers, if there were any.
    Complete(Option<&'a HeaderMap>),
    /// Reading failed.
    Failed(&'a Error),
    /// The reader went away before the end.
    Dropped,
}

/// Someone who accounts for the frames of a body: metrics, load, deadlines.
pub trait Observe {
    /// A data frame of `len` bytes passed.
    fn data(&mut self, len: usize);
    /// The body ended; called once.
    fn end(&mut self, end: End<'_>);
}

/// A source of frames, as [`HttpBody`] has it.
pub trait Frames {
    /// The next frame.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>>;
    /// Whether nothing more comes.
    fn is_end_stream(&self) -> bool;
    /// How many bytes are left.
    fn size_hint(&self) -> SizeHint;
}

impl fmt::Debug for dyn Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames").finish_non_exhaustive()
    }
}

/// A body and its observer, in one piece of memory.
pub struct Observed<O: ?Sized + Observe> {
    inner: Body,
    ended: bool,
    observer: O,
}

impl Body {
    /// A body of these frames.
    pub fn frames(frames: impl Frames + 'static) -> Self {
        if frames.is_end_stream() { Self::Empty } else { Self::Frames(Box::new(frames)) }
    }

    /// A body of one chunk.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() { Self::Empty } else { Self::Full(bytes) }
    }

    /// Lets `observer` see every frame and the end. An already finished body ends at once.
    #[must_use]
    pub fn observed(self, mut observer: impl Observe + 'static) -> Self {
        if self.is_end_stream() {
            observer.end(End::Complete(None));
            return self;
        }
        Self::Observed(Box::new(Observed { inner: self, ended: false, observer }))
    }
}

impl From<RecvBody> for Body {
    fn from(body: RecvBody) -> Self {
        if body.is_end_stream() { Self::Empty } else { Self::Http2(body) }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Trailers(trailers) => {
                let trailers = std::mem::take(&mut **trailers);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Self::Http2(body) => {
                let frame = ready!(body.poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(|error| Error::Body(error.into()))))
            }
            Self::Frames(frames) => frames.poll_frame(cx),
            Self::Observed(observed) => observed.poll_frame(cx),
            Self::Replay(copy) => copy.poll_frame(cx),
            Self::Limited(limited) => limited.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(_) | Self::Trailers(_) => false,
            Self::Http2(body) => body.is_end_stream(),
            Self::Frames(frames) => frames.is_end_stream(),
            Self::Observed(observed) => observed.inner.is_end_stream(),
            Self::Replay(copy) => copy.is_end_stream(),
            Self::Limited(limited) => limited.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Trailers(_) => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Http2(body) => body.size_hint(),
            Self::Frames(frames) => frames.size_hint(),
            Self::Observed(observed) => observed.inner.size_hint(),
            Self::Replay(copy) => copy.size_hint(),
            Self::Limited(limited) => limited.size_hint(),
        }
    }
}

impl<O: ?Sized + Observe> Observed<O> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.observer.data(data.len());
                    // Without trailers nobody polls again once the length is reached.
                    if self.inner.is_end_stream() {
                        self.end(End::Complete(None));
                    }
                } else if let Some(trailers) = frame.trailers_ref() {
                    self.end(End::Complete(Some(trailers)));
                }
            }
            Some(Err(error)) => self.end(End::Failed(error)),
            None => self.end(End::Complete(None)),
        }
        Poll::Ready(frame)
    }

    fn end(&mut self, end: End<'_>) {
        if !self.ended {
            self.ended = true;
            self.observer.end(end);
        }
    }
}

impl<O: ?Sized + Observe> Drop for Observed<O> {
    fn drop(&mut self) {
        let end = if self.inner.is_end_stream() { End::Complete(None) } else { End::Dropped };
        self.end(end);
    }
}

impl<O: ?Sized + Observe> fmt::Debug for Observed<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
