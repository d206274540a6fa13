//! One HTTP/1 connection to a server. It has no task of its own: the request is written and the response read by who
//! waits for it, and its body by who takes the body.

use super::{Connect, Connections};
use crate::body::Frames;
use crate::error::Error as ProxyError;
use crate::http::http1::response::{self, Head};
use crate::http::http1::{self, Connection, Decoder, Error, Outgoing};
use crate::http::interim;
use crate::http::upgrade::Upgraded;
use crate::relay::ResetOnClose;
use bytes::Bytes;
use http::Method;
use http_body::{Frame, SizeHint};
use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection to a server.
pub(super) struct Link<I> {
    connection: Connection<I>,
    /// Whether a request is still being written by a task of its own, as its response came before its end.
    writing: Rc<Cell<bool>>,
}

/// The body of a response.
pub(super) struct Receiving<C: Connect> {
    /// Until the end of the body.
    link: Option<Link<C::Io>>,
    decoder: Decoder,
    /// Whom a connection that stays open goes back to.
    back: Option<Rc<Connections<C>>>,
}

impl<I: AsyncRead + AsyncWrite + Unpin + 'static> Link<I> {
    pub(super) fn new(io: I) -> Self {
        Self { connection: Connection::new(io), writing: Rc::default() }
    }

    /// Whether it was not closed since the last response.
    pub(super) fn is_open(&self) -> bool {
        self.connection.is_quiet()
    }

    /// Sends a request and waits for the head of the response. What is not sent by then is sent by a task.
    ///
    /// # Errors
    /// Why there is no response; [`Outgoing::is_unsent`] says whether the request can go elsewhere.
    pub(super) async fn exchange(&self, request: &mut Outgoing, method: &Method) -> Result<Head, Error> {
        let mut failed = None;
        let mut head = poll_fn(|cx| self.poll_exchange(request, method, &mut failed, cx)).await?;
        head.keeps &= failed.is_none();
        if failed.is_none() && !request.is_sent() && !head.leaves_http {
            self.writing.set(true);
            let (connection, writing, mut rest) =
                (self.connection.clone(), Rc::clone(&self.writing), request.rest());
            tokio::task::spawn_local(async move {
                match poll_fn(|cx| connection.poll_send(&mut rest, cx)).await {
                    Ok(()) => writing.set(false),
                    Err(error) => tracing::debug!(%error, "the rest of a request was not sent"),
                }
            });
        }
        Ok(head)
    }

    fn poll_exchange(
        &self,
        request: &mut Outgoing,
        method: &Method,
        failed: &mut Option<Error>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Head, Error>> {
        if failed.is_none() && !request.is_sent() {
            match self.connection.poll_send(request, cx) {
                // A server that does not want the rest may have said why before it closed.
                Poll::Ready(Err(Error::Io(error))) if !request.is_unsent() => *failed = Some(error.into()),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        loop {
            if let Some(head) = self.connection.take(|read| response::parse(read, method, interim::tell))? {
                return Poll::Ready(Ok(head));
            }
            let error = match ready!(self.connection.poll_head(cx)) {
                Ok(0) => Error::Incomplete,
                Ok(_) => continue,
                Err(error) => Error::Io(error),
            };
            return Poll::Ready(Err(failed.take().unwrap_or(error)));
        }
    }

    /// Lets go of memory between requests.
    pub(super) fn rest(&self) {
        self.connection.rest();
    }

    /// Whether another request may follow.
    fn is_idle(&self) -> bool {
        self.connection.is_read_up() && !self.writing.get()
    }

    /// The connection as one that is no longer HTTP.
    pub(super) fn upgraded(self) -> Option<Upgraded>
    where
        I: ResetOnClose + Send,
    {
        self.connection.upgraded()
    }
}

impl<C: Connect> Receiving<C> {
    pub(super) fn new(link: Link<C::Io>, decoder: Decoder, back: Option<Rc<Connections<C>>>) -> Self {
        let mut body = Self { link: Some(link), decoder, back };
        if body.decoder.is_done() {
            body.ended();
        }
        body
    }

    /// Gives the connection back, or closes it.
    fn ended(&mut self) {
        let link = self.link.take().filter(Link::is_idle);
        if let (Some(link), Some(back)) = (link, self.back.take()) {
            back.keep(link);
        }
    }
}

impl<C: Connect> Frames for Receiving<C> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ProxyError>>> {
        let Some(link) = &self.link else { return Poll::Ready(None) };
        let piece = ready!(link.connection.poll_piece(&mut self.decoder, cx));
        match &piece {
            Ok(Some(_)) if !self.decoder.is_done() => {}
            Ok(Some(_)) => self.ended(),
            Ok(None) | Err(_) => self.link = None,
        }
        Poll::Ready(http1::frame(piece))
    }

    fn is_end_stream(&self) -> bool {
        self.link.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.decoder.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
