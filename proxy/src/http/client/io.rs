//! One connection to an endpoint: TCP, TLS where the endpoint has an identity, the transport header where it takes one.

use crate::dial::dial;
use crate::drain::Drain;
use crate::error::Error;
use crate::metered::Metered;
use crate::outbound::endpoint::Transport;
use crate::outbound::metrics::{EndpointMetrics, OpenConnection};
use crate::relay::ResetOnClose;
use mesh_net::{SessionProtocol, SocketOptions, TransportHeader};
use mesh_tls::{Alpn, MeshTls, Sessions, TlsStream};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// TLS may take longer than TCP: two round trips, signatures on both sides.
const TLS_ALLOWANCE: Duration = Duration::from_secs(2);

/// How long bytes to a gateway may stay unacknowledged: between clusters, packets vanish without a word.
const GATEWAY_USER_TIMEOUT: Duration = Duration::from_secs(10);

/// What all connections of a worker are made with.
pub(crate) struct Settings {
    /// Our credentials.
    pub(crate) tls: MeshTls,
    /// Connections that can give way to others.
    pub(crate) drain: Drain,
    /// Limit for TCP.
    pub(crate) connect_timeout: Duration,
    /// Socket options.
    pub(crate) sockets: SocketOptions,
    /// How long an idle HTTP/1 connection is kept.
    pub(crate) pool_idle_timeout: Duration,
    /// Idle HTTP/1 connections kept per endpoint.
    pub(crate) max_idle_per_endpoint: usize,
    /// HTTP/2 stream window, bytes.
    pub(crate) h2_stream_window: u32,
    /// HTTP/2 connection window, bytes.
    pub(crate) h2_connection_window: u32,
}

/// A connection to an endpoint, counted while it is open and by how it ends.
pub struct PeerIo {
    io: Io,
    open: OpenConnection,
}

enum Io {
    /// Plaintext.
    Plain(Metered<TcpStream>),
    /// Mutual TLS.
    Tls(Box<TlsStream<Metered<TcpStream>>>),
}

pub(super) struct Connector {
    settings: Rc<Settings>,
    metrics: Rc<EndpointMetrics>,
    sessions: Sessions,
    /// Those of connections that a tunnel was offered for.
    tunnel_sessions: Sessions,
}

impl PeerIo {
    fn new(io: Io, metrics: &EndpointMetrics) -> Self {
        Self { io, open: metrics.connected() }
    }

    fn tls(&self) -> Option<&TlsStream<Metered<TcpStream>>> {
        match &self.io {
            Io::Plain(_) => None,
            Io::Tls(io) => Some(io),
        }
    }

    /// Whether both sides agreed on a tunnel.
    pub(super) fn is_tunnel(&self) -> bool {
        self.tls().is_some_and(|io| io.negotiated() == Alpn::Tunnel)
    }

    /// The end of the peer's certificate, under TLS.
    pub(super) fn expires(&self) -> Option<SystemTime> {
        Some(self.tls()?.peer_info()?.not_after)
    }

    /// The generation of our credentials that the connection was made with, under TLS.
    pub(super) fn generation(&self) -> Option<u64> {
        Some(self.tls()?.generation())
    }

    /// Remembers how reading or writing failed.
    fn noting<T>(&mut self, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &poll {
            self.open.failed(error);
        }
        poll
    }
}

impl Connector {
    pub(super) fn new(settings: Rc<Settings>, metrics: Rc<EndpointMetrics>) -> Self {
        Self { settings, metrics, sessions: Sessions::default(), tunnel_sessions: Sessions::default() }
    }

    /// What connections are made with.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Connects; `session` is what the transport header says is inside.
    pub(super) async fn connect(
        &self,
        to: &Transport,
        session: Option<SessionProtocol>,
    ) -> Result<PeerIo, Error> {
        let alpn = if to.header.is_some() { Alpn::Transport } else { Alpn::None };
        let mut io = self.secured(to, alpn, &self.sessions).await?;
        if let Some(header) = header(to, session) {
            announce(&mut io, &header, to.dial).await?;
        }
        Ok(io)
    }

    /// Connects to where a transport header is taken, for bytes: a tunnel, to be opened, or else `header` has been sent.
    pub(super) async fn connect_for_bytes(
        &self,
        to: &Transport,
        header: &TransportHeader,
    ) -> Result<PeerIo, Error> {
        let mut io = self.secured(to, Alpn::Tunnel, &self.tunnel_sessions).await?;
        if !io.is_tunnel() {
            announce(&mut io, header, to.dial).await?;
        }
        Ok(io)
    }

    async fn secured(&self, to: &Transport, alpn: Alpn, sessions: &Sessions) -> Result<PeerIo, Error> {
        let addr = to.dial;
        let mut options = self.settings.sockets;
        if to.authority.is_some() {
            let patience = options.user_timeout.unwrap_or(GATEWAY_USER_TIMEOUT);
            options.user_timeout = Some(patience.min(GATEWAY_USER_TIMEOUT));
        }
        let tcp = dial(addr, &options, self.settings.connect_timeout, &self.settings.drain).await?;
        let io = Metered::new(tcp, self.metrics.read.clone(), self.metrics.written.clone());
        let Some((_, name)) = &to.tls else { return Ok(PeerIo::new(Io::Plain(io), &self.metrics)) };
        let failed = |reason: String| Error::Tls { addr, reason };
        let connector =
            self.settings.tls.connector_to(sessions, alpn).map_err(|error| failed(error.to_string()))?;
        let limit = self.settings.connect_timeout + TLS_ALLOWANCE;
        let io = timeout(limit, connector.connect(name.clone(), io))
            .await
            .map_err(|_| Error::ConnectTimeout { addr, after: limit })?
            .map_err(|error| failed(error.to_string()))?;
        Ok(PeerIo::new(Io::Tls(Box::new(io)), &self.metrics))
    }
}

/// What is said to an endpoint that is reached under TLS and takes a transport header.
pub(super) fn header(to: &Transport, session: Option<SessionProtocol>) -> Option<TransportHeader> {
    let (port, name) = to.header.as_ref().filter(|_| to.tls.is_some())?;
    Some(TransportHeader { port: *port, name: name.clone(), protocol: session })
}

/// Sends the header with the first bytes.
async fn announce(io: &mut PeerIo, header: &TransportHeader, addr: SocketAddr) -> Result<(), Error> {
    io.write_all(&header.encode()).await.map_err(|source| Error::Connect { addr, source })
}

impl ResetOnClose for PeerIo {
    fn reset_on_close(&self, resets: bool) {
        match &self.io {
            Io::Plain(io) => io.reset_on_close(resets),
            Io::Tls(io) => io.reset_on_close(resets),
        }
    }
}

impl AsyncRead for PeerIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let poll = match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_read(cx, buf),
        };
        self.noting(poll)
    }
}

impl AsyncWrite for PeerIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_write(cx, buf),
        };
        self.noting(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Io::Tls(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        };
        self.noting(poll)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(io) => io.is_write_vectored(),
            Io::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_flush(cx),
            Io::Tls(io) => Pin::new(io).poll_flush(cx),
        };
        self.noting(poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Io::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
