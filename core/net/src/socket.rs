//! Listening, connecting, and the socket options every connection gets.

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Options of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Idle time before, and interval between, TCP keep-alive probes.
    pub keepalive: Option<Duration>,
    /// How long written data may stay unacknowledged before the connection fails (`TCP_USER_TIMEOUT`).
    pub user_timeout: Option<Duration>,
}

/// Listens on `addr`; several listeners of one process may share it (`SO_REUSEPORT`), the kernel spreads connections.
/// Accepted connections have the options of the listener, so that nothing is left to set for each.
///
/// `[::]` takes IPv4 too; where the host has no IPv6, `0.0.0.0` is used instead.
///
/// # Errors
/// What the kernel says. Must be called within a tokio runtime.
pub fn listen(addr: SocketAddr, backlog: u32, options: &SocketOptions) -> io::Result<TcpListener> {
    match bind(addr, backlog, options) {
        Err(error) if addr.ip().is_unspecified() && addr.is_ipv6() && lacks_ipv6(&error) => {
            bind((Ipv4Addr::UNSPECIFIED, addr.port()).into(), backlog, options)
        }
        result => result,
    }
}

fn bind(addr: SocketAddr, backlog: u32, options: &SocketOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    apply(&SockRef::from(&socket), options)?;
    socket.bind(&addr.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

fn lacks_ipv6(error: &io::Error) -> bool {
    // EAFNOSUPPORT: IPv6 is not compiled in; EADDRNOTAVAIL: it is disabled.
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::AddrNotAvailable)
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

/// Connects to `addr` with the options set before the handshake.
///
/// # Errors
/// What the kernel says; there is no time limit here.
pub async fn connect(addr: SocketAddr, options: &SocketOptions) -> io::Result<TcpStream> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    apply(&SockRef::from(&socket), options)?;
    socket.connect(addr).await
}

/// Whether nothing has come on `io` that was not read, not even its end. A byte that has is lost.
pub fn is_quiet<I: AsyncRead + Unpin>(io: &mut I) -> bool {
    let mut byte = [0];
    let mut cx = Context::from_waker(Waker::noop());
    Pin::new(io).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
}

/// Whether `stream` is reset when it is closed, rather than ended in order. With a reset goes what was written and has not
/// arrived.
pub fn reset_on_close(stream: &TcpStream, resets: bool) {
    // A socket always takes it.
    let _ = SockRef::from(stream).set_linger(resets.then_some(Duration::ZERO));
}

fn apply(socket: &SockRef<'_>, options: &SocketOptions) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    if let Some(idle) = options.keepalive {
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle).with_interval(idle))?;
    }
    if options.user_timeout.is_some() {
        socket.set_tcp_user_timeout(options.user_timeout)?;
    }
    Ok(())
}

/// The address with an IPv4-mapped IPv6 address turned into plain IPv4, as dual-stack listeners need.
pub fn normalize(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// Whether a connection to `target` would come back to a listener of ours on `port`: the target is that port on an address
/// the connection itself arrived at, on loopback, or on the wildcard.
pub fn is_own_address(target: SocketAddr, local: IpAddr, port: u16) -> bool {
    let ip = target.ip().to_canonical();
    target.port() == port && (ip == local.to_canonical() || ip.is_loopback() || ip.is_unspecified())
}

#[cfg(test)]
mod tests;
