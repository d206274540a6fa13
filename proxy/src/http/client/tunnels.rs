//! Streams of bytes on connections that are kept ([`mesh_net::Tunnel`]): what an endpoint's proxy takes in place of a
//! connection for each. A connection at rest is used again while it is quiet, for as long as an idle HTTP/1 connection would
//! be, and under the credentials that are in force.

use super::endpoint::Pool;
use super::io::PeerIo;
use mesh_net::Tunnel;
use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};
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
#[derive(Default)]
pub(super) struct Tunnels {
    idle: RefCell<Vec<Idle>>,
    retired: Cell<bool>,
}

struct Idle {
    kept: Kept,
    since: Instant,
}

impl Idle {
    /// Whether it can be used, and was since `oldest`.
    fn is_usable(&mut self, oldest: Option<Instant>, generation: u64) -> bool {
        oldest.is_none_or(|oldest| self.since > oldest) && self.kept.is_usable(generation)
    }
}

impl Tunnels {
    /// The one that was used last.
    pub(super) fn take(&self, oldest: Option<Instant>, generation: u64) -> Option<Kept> {
        let mut idle = self.idle.borrow_mut();
        loop {
            let mut found = idle.pop()?;
            if found.is_usable(oldest, generation) {
                return Some(found.kept);
            }
        }
    }

    /// Keeps one that is at rest, unless there are `most`.
    pub(super) fn keep(&self, kept: Kept, most: usize) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < most && !self.retired.get() {
            idle.push(Idle { kept, since: Instant::now() });
        }
    }

    /// Closes those that cannot be used any more; says whether any are left.
    pub(super) fn close_idle(&self, oldest: Option<Instant>, generation: u64) -> bool {
        let mut idle = self.idle.borrow_mut();
        idle.retain_mut(|idle| idle.is_usable(oldest, generation));
        !idle.is_empty()
    }

    /// Closes all.
    pub(super) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }

    /// Closes all, and keeps none from now on.
    pub(super) fn retire(&self) {
        self.retired.set(true);
        self.clear();
    }
}

/// What carries bytes to an endpoint.
pub enum BytesIo {
    /// A connection of its own.
    Own(PeerIo),
    /// A stream on a connection that is kept.
    Stream(Stream),
}

/// A stream; its connection goes back to the pool when both ways of it have ended.
pub struct Stream {
    /// There until it is dropped.
    kept: Option<Kept>,
    pool: Weak<Pool>,
}

impl Stream {
    /// A stream that was opened on `kept`.
    pub(super) fn new(kept: Kept, pool: &Rc<Pool>) -> Self {
        Self { kept: Some(kept), pool: Rc::downgrade(pool) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let kept = self.kept.take().filter(|kept| kept.tunnel.is_at_rest());
        if let (Some(kept), Some(pool)) = (kept, self.pool.upgrade()) {
            pool.keep_tunnel(kept);
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
