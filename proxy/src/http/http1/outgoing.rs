//! A message on its way out.

use super::Error;
use super::encoder::{Encoder, Out};
use crate::body::Body;
use bytes::BytesMut;
use http::{HeaderMap, HeaderName};
use http_body::Body as _;
use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// A message, written as far as the connection takes it. Until the first byte is taken it can go to another connection.
#[derive(Debug)]
pub struct Outgoing {
    out: Out,
    encoder: Encoder,
    /// What is left of the body; `None` once its end waits too.
    body: Option<Body>,
    /// How the body broke off, to be told when what came of it is written.
    broken: Option<Error>,
    /// Trailer fields that the head announces.
    announced: Vec<HeaderName>,
    unsent: bool,
    /// Whether the connection has taken something that may wait there.
    unflushed: bool,
}

impl Outgoing {
    pub(super) fn new(
        head: BytesMut,
        encoder: Encoder,
        body: Option<Body>,
        announced: Vec<HeaderName>,
    ) -> Self {
        Self { out: Out::new(head), encoder, body, broken: None, announced, unsent: true, unflushed: false }
    }

    /// Whether no connection has taken anything of it.
    pub fn is_unsent(&self) -> bool {
        self.unsent
    }

    /// What was not written yet, to be written by someone else.
    pub fn rest(&mut self) -> Self {
        Self {
            out: std::mem::take(&mut self.out),
            encoder: self.encoder,
            body: self.body.take(),
            broken: self.broken.take(),
            announced: std::mem::take(&mut self.announced),
            unsent: self.unsent,
            unflushed: self.unflushed,
        }
    }

    /// Whether all of it was written.
    pub fn is_sent(&self) -> bool {
        self.body.is_none() && self.broken.is_none() && self.out.is_empty()
    }

    /// Whether its end is told by the end of the connection.
    pub fn ends_with_connection(&self) -> bool {
        self.encoder == Encoder::Close
    }

    /// Writes until all is written and flushed.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Body`], or [`Error::Malformed`] where the body is not as long as was said.
    pub(super) fn poll_send<I: AsyncWrite + Unpin>(
        &mut self,
        io: &RefCell<I>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        loop {
            // What is at hand goes out with the head.
            let waits = match self.poll_body(cx) {
                Poll::Ready(Ok(())) => false,
                // Where there is little to be saved, or no time, it ends here.
                Poll::Ready(Err(error)) if (self.unsent && self.out.takes_more()) || is_late(&error) => {
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(Err(error)) => {
                    (self.body, self.broken) = (None, Some(error));
                    false
                }
                Poll::Pending => true,
            };
            // The body may read from this connection.
            let mut io = io.borrow_mut();
            let mut sent = ready!(self.poll_out(&mut *io, cx));
            if self.body.is_none() {
                if sent.is_ok() {
                    sent = ready!(Pin::new(&mut *io).poll_flush(cx));
                }
                // Of two failures the first is the reason.
                return Poll::Ready(self.broken.take().map_or(sent.map_err(Error::Io), Err));
            }
            sent?;
            if waits {
                // The peer sees what there is while the rest is on its way.
                if self.unflushed && Pin::new(&mut *io).poll_flush(cx)?.is_ready() {
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
        }
    }

    /// Writes all that waits.
    fn poll_out<I: AsyncWrite + Unpin>(&mut self, io: &mut I, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            ready!(self.out.poll_write(io, cx))?;
            (self.unsent, self.unflushed) = (false, true);
        }
        Poll::Ready(Ok(()))
    }

    /// Takes frames of the body until enough waits, or there are no more.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        // For a peer that is slow to take what waits, no more is held than must be.
        let gathers = self.out.is_empty() || self.unsent;
        while let Some(body) = &mut self.body
            && if gathers { self.out.gathers_more() } else { self.out.takes_more() }
        {
            let frame = if body.is_end_stream() { None } else { ready!(Pin::new(&mut *body).poll_frame(cx)) };
            match frame.transpose().map_err(|error| Error::Body(Box::new(error)))? {
                Some(frame) => match frame.into_data() {
                    Ok(data) => self.encoder.data(data, &mut self.out)?,
                    Err(frame) => {
                        let trailers = frame.into_trailers().ok().map(|fields| self.allowed(fields));
                        self.end(trailers.as_ref())?;
                    }
                },
                None => self.end(None)?,
            }
            if self.encoder.is_full() {
                self.body = None;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), Error> {
        self.body = None;
        self.encoder.end(trailers, &mut self.out)
    }

    /// The trailers that the head has announced.
    fn allowed(&self, fields: HeaderMap) -> HeaderMap {
        let mut allowed = HeaderMap::new();
        for name in &self.announced {
            for value in fields.get_all(name) {
                allowed.append(name.clone(), value.clone());
            }
        }
        allowed
    }
}

/// Whether nothing may be waited for any more.
fn is_late(error: &Error) -> bool {
    use crate::error::Error as Cause;
    matches!(
        error,
        Error::Body(cause)
            if matches!(**cause, Cause::RequestTimeout(_) | Cause::ResponseTimeout(_) | Cause::IdleTimeout(_))
    )
}
