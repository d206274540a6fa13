//! Streams of bytes on connections that are kept ([`mesh_net::Tunnel`]): what an endpoint's proxy takes in place of a
//! connection for each. A connection at rest is used again while it is quiet, for as long as an idle HTTP/1 connection would
//! be, and under the credentials that are in force.

use super::endpoint::Pool;
use super::io::PeerIo;
use mesh_net::Tunnel;
use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The connections at rest to one endpoint.
#[derive(Default)]
pub(super) struct Tunnels(RefCell<Vec<Idle>>);

struct Idle {
    tunnel: Tunnel<PeerIo>,
    since: Instant,
}

impl Idle {
    /// Whether it is open, was used since `oldest` and made with credentials of this generation.
    fn is_usable(&mut self, oldest: Option<Instant>, generation: u64) -> bool {
        oldest.is_none_or(|oldest| self.since > oldest)
            && self.tunnel.get_ref().generation() == Some(generation)
            && self.tunnel.is_quiet()
    }
}

impl Tunnels {
    /// The one that was used last.
    pub(super) fn take(&self, oldest: Option<Instant>, generation: u64) -> Option<Tunnel<PeerIo>> {
        let mut idle = self.0.borrow_mut();
        loop {
            let mut found = idle.pop()?;
            if found.is_usable(oldest, generation) {
                return Some(found.tunnel);
            }
        }
    }

    /// Keeps one that is at rest, unless there are `most`.
    pub(super) fn keep(&self, tunnel: Tunnel<PeerIo>, most: usize) {
        let mut idle = self.0.borrow_mut();
        if idle.len() < most {
            idle.push(Idle { tunnel, since: Instant::now() });
        }
    }

    /// Closes those that cannot be used any more; says whether any are left.
    pub(super) fn close_idle(&self, oldest: Option<Instant>, generation: u64) -> bool {
        let mut idle = self.0.borrow_mut();
        idle.retain_mut(|idle| idle.is_usable(oldest, generation));
        !idle.is_empty()
    }

    /// Closes all.
    pub(super) fn clear(&self) {
        self.0.borrow_mut().clear();
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
    tunnel: Option<Tunnel<PeerIo>>,
    pool: Weak<Pool>,
}

impl Stream {
    /// A stream that was opened on `tunnel`.
    pub(super) fn new(tunnel: Tunnel<PeerIo>, pool: &Rc<Pool>) -> Self {
        Self { tunnel: Some(tunnel), pool: Rc::downgrade(pool) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let tunnel = self.tunnel.take().filter(Tunnel::is_at_rest);
        if let (Some(tunnel), Some(pool)) = (tunnel, self.pool.upgrade()) {
            pool.keep_tunnel(tunnel);
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
            Self::Stream(Stream { tunnel: Some(tunnel), .. }) => Ok(Pin::new(tunnel)),
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
