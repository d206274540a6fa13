//! Where a redirected connection was going.

use crate::socket::normalize;
use socket2::SockRef;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;

/// The source of original destinations.
#[derive(Clone, Default)]
pub enum OriginalDst {
    /// The kernel's connection tracking, which redirect rules feed.
    #[default]
    Redirect,
    /// A function of (local, peer) address, where nothing redirects.
    Lookup(Arc<dyn Fn(SocketAddr, SocketAddr) -> SocketAddr + Send + Sync>),
}

impl OriginalDst {
    /// Always the same destination.
    pub fn fixed(addr: SocketAddr) -> Self {
        Self::Lookup(Arc::new(move |_, _| addr))
    }

    /// The original destination of `stream`, whose local address is `local`; that address when it was not redirected.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn of(&self, stream: &TcpStream, local: SocketAddr) -> io::Result<SocketAddr> {
        match self {
            Self::Redirect => Ok(redirected(stream, local).map_or(local, normalize)),
            Self::Lookup(lookup) => Ok(lookup(local, normalize(stream.peer_addr()?))),
        }
    }
}

/// An error means that the connection is not tracked, so not redirected.
fn redirected(stream: &TcpStream, local: SocketAddr) -> Option<SocketAddr> {
    let socket = SockRef::from(stream);
    let addr = if local.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    addr.ok()?.as_socket()
}

impl fmt::Debug for OriginalDst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redirect => "Redirect",
            Self::Lookup(_) => "Lookup",
        })
    }
}
