//! Streams of bytes on connections that are kept ([`mesh_net::Tunnel`]): what an endpoint's proxy takes in place of a
//! connection for each. A connection at rest is used again while it is quiet, for as long as an idle HTTP/1 connection would
//! be, and under the credentials that are in force.

use super::Terms;
use super::io::PeerIo;
use super::stack::Stack;
use crate::relay::ResetOnClose;
use mesh_net::Tunnel;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::SystemTime;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection, and what of it must be known when it is used again.
pub(super) struct Kept {
    pub(super) tunnel: Tunnel<PeerIo>,
    /// The end of the endpoint's certificate.
    expires: Option<SystemTime>,
}

impl Kept {
    pub(super) fn new(io: PeerIo) -> Self {
        let expires = io.expires();
        Self { tunnel: Tunnel::new(io), expires }
    }

    /// Whether it is open, and both sides are who they have shown to be.
    fn is_usable(&mut self, generation: u64) -> bool {
        self.tunnel.get_ref().generation() == Some(generation)
            && self.expires.is_none_or(|expires| expires > SystemTime::now())
            && self.tunnel.is_quiet()
    }
}

/// The connections at rest to one endpoint.
pub(super) struct Tunnels(Stack<Kept>);

impl Tunnels {
    pub(super) fn new(terms: &Terms) -> Self {
        Self(Stack::new(terms))
    }

    /// The one that was used last, if it can be used under credentials of this generation.
    pub(super) fn take(&self, generation: u64) -> Option<Kept> {
        self.0.take(|kept| kept.is_usable(generation))
    }

    /// Keeps one that is at rest.
    pub(super) fn keep(&self, kept: Kept) {
        self.0.put(kept);
    }

    /// Closes those that cannot be used any more; says whether any are left.
    pub(super) fn close_idle(&self, generation: u64) -> bool {
        self.0.close(|kept| kept.is_usable(generation))
    }

    /// Closes all.
    pub(super) fn clear(&self) {
        self.0.clear();
    }

    /// Closes all, and keeps none from now on.
    pub(super) fn retire(&self) {
        self.0.retire();
    }
}

/// What carries bytes to an endpoint.
pub enum BytesIo {
    /// A connection of its own.
    Own(PeerIo),
    /// A stream on a connection that is kept.
    Stream(Stream),
}

/// A stream; its connection goes back to the others when both ways of it have ended.
pub struct Stream {
    /// There until it is dropped.
    kept: Option<Kept>,
    home: Weak<Tunnels>,
}

impl Stream {
    /// A stream that was opened on `kept`.
    pub(super) fn new(kept: Kept, home: &Rc<Tunnels>) -> Self {
        Self { kept: Some(kept), home: Rc::downgrade(home) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let kept = self.kept.take().filter(|kept| kept.tunnel.is_at_rest());
        if let (Some(kept), Some(home)) = (kept, self.home.upgrade()) {
            home.keep(kept);
        }
    }
}

/// A stream that both can be read from and written to.
trait Both: AsyncRead + AsyncWrite + Unpin {}

impl<I: AsyncRead + AsyncWrite + Unpin> Both for I {}

impl BytesIo {
    fn io(&mut self) -> io::Result<Pin<&mut dyn Both>> {
        match self {
            Self::Own(io) => Ok(Pin::new(io)),
            Self::Stream(Stream { kept: Some(kept), .. }) => Ok(Pin::new(&mut kept.tunnel)),
            Self::Stream(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl ResetOnClose for BytesIo {
    fn reset_on_close(&self, resets: bool) {
        match self {
            Self::Own(io) => io.reset_on_close(resets),
            Self::Stream(stream) => stream.kept.iter().for_each(|kept| kept.tunnel.reset_on_close(resets)),
        }
    }
}

impl AsyncRead for BytesIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for BytesIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.io()?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_shutdown(cx)
    }
}
