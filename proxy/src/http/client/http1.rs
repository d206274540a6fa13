//! One HTTP/1 connection to a server. It has no task of its own: the request is written and the response read by who
//! waits for it, and its body by who takes the body.

use super::{Connect, Connections};
use crate::body::Frames;
use crate::error::{Cause, Error as ProxyError};
use crate::http::http1::{self, Decoder, Error, Head, Outgoing, Piece};
use crate::http::upgrade::Upgraded;
use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use mesh_net::PrefixedIo;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

/// What is read at once: at first, and at most.
const READ: (usize, usize) = (4 * 1024, 256 * 1024);

/// A connection, with what was read of it.
pub(super) struct Connection<I> {
    link: Rc<Link<I>>,
    read: BytesMut,
    /// How much is read at once.
    next: usize,
}

struct Link<I> {
    io: RefCell<I>,
    /// Whether the request is still being written by a task of its own, as its response came before its end.
    writing: Cell<bool>,
}

/// The body of a response.
pub(super) struct Receiving<C: Connect> {
    /// Until the end of the body.
    connection: Option<Connection<C::Io>>,
    decoder: Decoder,
    /// Whom a connection that stays open goes back to.
    back: Option<Rc<Connections<C>>>,
}

impl<I: AsyncRead + AsyncWrite + Unpin + 'static> Connection<I> {
    pub(super) fn new(io: I) -> Self {
        let link = Link { io: RefCell::new(io), writing: Cell::new(false) };
        Self { link: Rc::new(link), read: BytesMut::new(), next: READ.0 }
    }

    /// Whether nothing has come, neither an end nor anything else, since the last response.
    pub(super) fn is_open(&self) -> bool {
        let mut byte = [0];
        let mut cx = Context::from_waker(Waker::noop());
        let mut io = self.link.io.borrow_mut();
        Pin::new(&mut *io).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
    }

    /// Sends a request and waits for the head of the response. What is not sent by then is sent by a task.
    ///
    /// # Errors
    /// Why there is no response; [`Outgoing::is_unsent`] says whether the request can go elsewhere.
    pub(super) async fn exchange(&mut self, outgoing: &mut Outgoing) -> Result<Head, Error> {
        let mut failed = None;
        let head = poll_fn(|cx| self.poll_exchange(outgoing, &mut failed, cx)).await?;
        if failed.is_none() && !outgoing.is_sent() && !head.leaves_http {
            self.link.writing.set(true);
            let (link, mut rest) = (Rc::clone(&self.link), outgoing.rest());
            tokio::task::spawn_local(async move {
                let sent = poll_fn(|cx| rest.poll_send(&mut *link.io.borrow_mut(), cx)).await;
                match sent {
                    Ok(()) => link.writing.set(false),
                    Err(error) => tracing::debug!(%error, "the rest of a request was not sent"),
                }
            });
        }
        Ok(Head { keeps: head.keeps && failed.is_none(), ..head })
    }

    fn poll_exchange(
        &mut self,
        outgoing: &mut Outgoing,
        failed: &mut Option<Error>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Head, Error>> {
        if failed.is_none() && !outgoing.is_sent() {
            let sent = outgoing.poll_send(&mut *self.link.io.borrow_mut(), cx);
            match sent {
                // A server that does not want the rest may have said why before it closed.
                Poll::Ready(Err(Error::Io(error))) if !outgoing.is_unsent() => *failed = Some(error.into()),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        loop {
            if let Some(head) = http1::parse(&mut self.read, outgoing.method())? {
                return Poll::Ready(Ok(head));
            }
            match ready!(self.poll_read(READ.0, cx)) {
                Ok(0) => return Poll::Ready(Err(failed.take().unwrap_or(Error::Incomplete))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(failed.take().unwrap_or(Error::Io(error)))),
            }
        }
    }

    fn poll_read(&mut self, room: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read.reserve(room);
        poll_read_buf(Pin::new(&mut *self.link.io.borrow_mut()), cx, &mut self.read)
    }

    /// Reads more of a body that has at least `wants` bytes left.
    fn poll_more(&mut self, wants: u64, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let wants = usize::try_from(wants).unwrap_or(usize::MAX);
        let room = self.next.max(wants.min(READ.1));
        let read = ready!(self.poll_read(room, cx))?;
        // A sender that fills what there is has more.
        self.next = if read >= self.next { (self.next * 2).min(READ.1) } else { self.next };
        Poll::Ready(Ok(read))
    }

    /// Whether another request may follow.
    fn is_idle(&self) -> bool {
        self.read.is_empty() && !self.link.writing.get()
    }

    /// Lets go of memory between requests.
    pub(super) fn rest(mut self) -> Self {
        (self.read, self.next) = (BytesMut::new(), READ.0);
        self
    }

    /// The connection as one that is no longer HTTP.
    pub(super) fn upgraded(self) -> Option<Upgraded>
    where
        I: Send,
    {
        let link = Rc::into_inner(self.link)?;
        Some(Upgraded::new(PrefixedIo::new(self.read.freeze(), link.io.into_inner())))
    }
}

impl<C: Connect> Receiving<C> {
    pub(super) fn new(
        connection: Connection<C::Io>,
        decoder: Decoder,
        back: Option<Rc<Connections<C>>>,
    ) -> Self {
        let mut body = Self { connection: Some(connection), decoder, back };
        if body.decoder.is_done() {
            body.ended();
        }
        body
    }

    /// Gives the connection back, or closes it.
    fn ended(&mut self) {
        let connection = self.connection.take().filter(Connection::is_idle);
        if let (Some(connection), Some(back)) = (connection, self.back.take()) {
            back.keep(connection);
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Piece>, Error>> {
        while let Some(connection) = &mut self.connection {
            if let Some(piece) = self.decoder.next(&mut connection.read)? {
                if self.decoder.is_done() {
                    self.ended();
                }
                return Poll::Ready(Ok(Some(piece)));
            }
            if ready!(connection.poll_more(self.decoder.wants(), cx))? == 0 {
                let complete = self.decoder.ends_with_connection();
                self.connection = None;
                return Poll::Ready(if complete { Ok(None) } else { Err(Error::Incomplete) });
            }
        }
        Poll::Ready(Ok(None))
    }
}

impl<C: Connect> Frames for Receiving<C> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ProxyError>>> {
        let frame = match ready!(self.poll_piece(cx)) {
            Ok(Some(Piece::Data(data))) => Ok(Frame::data(data)),
            Ok(Some(Piece::Trailers(trailers))) => Ok(Frame::trailers(trailers)),
            Ok(Some(Piece::End) | None) => return Poll::Ready(None),
            Err(error) => {
                self.connection = None;
                Err(ProxyError::Body(Cause::Http1(error)))
            }
        };
        Poll::Ready(Some(frame))
    }

    fn is_end_stream(&self) -> bool {
        self.connection.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.decoder.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
