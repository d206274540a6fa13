//! A connection, and what was read of it and belongs to nobody yet. Whoever takes part in an exchange has a handle.

use super::{Decoder, Error, Outgoing, Piece};
use crate::http::upgrade::Upgraded;
use crate::relay::ResetOnClose;
use bytes::{Buf as _, BytesMut};
use mesh_net::{PrefixedIo, is_quiet};
use std::cell::{Cell, RefCell};
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

/// What is read at once of a head.
const HEAD: usize = 4 * 1024;
/// What is read at once of a body: at first, and at most.
const BODY: (usize, usize) = (8 * 1024, 256 * 1024);

/// A handle of a connection.
pub struct Connection<I>(Rc<Inner<I>>);

struct Inner<I> {
    io: RefCell<I>,
    read: RefCell<BytesMut>,
    /// How much of a body is read at once.
    room: Cell<usize>,
    /// What goes before the next message that is sent.
    first: RefCell<BytesMut>,
}

impl<I> Clone for Connection<I> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Connection<I> {
    /// A connection of which nothing was read.
    pub fn new(io: I) -> Self {
        Self(Rc::new(Inner {
            io: RefCell::new(io),
            read: RefCell::default(),
            room: Cell::new(BODY.0),
            first: RefCell::default(),
        }))
    }

    /// Whether nothing has come, neither an end nor anything else, since the last message.
    pub fn is_quiet(&self) -> bool {
        is_quiet(&mut *self.0.io.borrow_mut())
    }

    /// Whether nothing was read that belongs to nobody.
    pub fn is_read_up(&self) -> bool {
        self.0.read.borrow().is_empty()
    }

    /// Looks at what is underneath.
    pub fn look<T>(&self, look: impl FnOnce(&I) -> T) -> T {
        look(&self.0.io.borrow())
    }

    /// Lets go of memory between messages.
    pub fn rest(&self) {
        *self.0.read.borrow_mut() = BytesMut::new();
        self.0.room.set(BODY.0);
    }

    /// Takes something out of what was read.
    pub fn take<T>(&self, take: impl FnOnce(&mut BytesMut) -> T) -> T {
        take(&mut self.0.read.borrow_mut())
    }

    /// Reads some of a head; zero is the end of the connection. Holds no memory while nothing comes.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn poll_head(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = [const { MaybeUninit::uninit() }; HEAD];
        let mut buf = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut *self.0.io.borrow_mut()).poll_read(cx, &mut buf))?;
        self.0.read.borrow_mut().extend_from_slice(buf.filled());
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// The next piece of a body; `None` at the end of the connection, where that is the end of the body.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Incomplete`], [`Error::Io`].
    pub fn poll_piece(&self, body: &mut Decoder, cx: &mut Context<'_>) -> Poll<Result<Option<Piece>, Error>> {
        loop {
            if let Some(piece) = body.next(&mut self.0.read.borrow_mut())? {
                return Poll::Ready(Ok(Some(piece)));
            }
            if ready!(self.poll_body(body.wants(), cx))? == 0 {
                let complete = body.ends_with_connection();
                return Poll::Ready(if complete { Ok(None) } else { Err(Error::Incomplete) });
            }
        }
    }

    /// Reads more of a body that has at least `wants` bytes left.
    fn poll_body(&self, wants: u64, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let wants = usize::try_from(wants).unwrap_or(usize::MAX).min(BODY.1);
        let (mut read, known) = (self.0.read.borrow_mut(), self.0.room.get());
        read.reserve(known.max(wants));
        let len = ready!(poll_read_buf(Pin::new(&mut *self.0.io.borrow_mut()), cx, &mut *read))?;
        if len >= known {
            // A sender that fills what there is has more.
            self.0.room.set((known * 2).min(BODY.1));
        }
        Poll::Ready(Ok(len))
    }

    /// Writes a message until all is written and flushed.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Body`], or [`Error::Malformed`] where the body is not as long as was said.
    pub fn poll_send(&self, message: &mut Outgoing, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.poll_first(cx))?;
        message.poll_send(&self.0.io, cx)
    }

    /// Puts something before the next message that is sent.
    pub fn put_first(&self, put: impl FnOnce(&mut BytesMut)) {
        put(&mut self.0.first.borrow_mut());
    }

    /// Writes what goes before the next message.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn poll_first(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut first = self.0.first.borrow_mut();
        if first.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let mut io = self.0.io.borrow_mut();
        while !first.is_empty() {
            match ready!(Pin::new(&mut *io).poll_write(cx, &first))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => first.advance(written),
            }
        }
        *first = BytesMut::new();
        Pin::new(&mut *io).poll_flush(cx)
    }

    /// Ends writing.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.io.borrow_mut()).poll_shutdown(cx)
    }

    /// The connection as one that is no longer HTTP; `None` while someone else has a handle.
    pub fn upgraded(self) -> Option<Upgraded>
    where
        I: ResetOnClose + Send + 'static,
    {
        let inner = Rc::into_inner(self.0)?;
        Some(Upgraded::new(PrefixedIo::new(inner.read.into_inner().freeze(), inner.io.into_inner())))
    }
}
