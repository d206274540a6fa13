//! Connections to an endpoint: through [`Connector`], with what its health learns from that.

use super::io::{self, Connector, PeerIo, Settings};
use super::tunnels::{BytesIo, Kept, Stream, Tunnels};
use super::{Connect, Connections, Terms};
use crate::error::Error;
use crate::outbound::endpoint::{Health, Hint, Transport};
use crate::outbound::metrics::EndpointMetrics;
use mesh_balance::Admission;
use mesh_net::{OpenError, Refusal, SessionProtocol, TransportHeader};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

/// HTTP/2 connections to one endpoint.
const MAX_HTTP2_CONNECTIONS: usize = 4;
/// Keep-alive where discovery sets none: a dead peer is found within this (interval, timeout).
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3));
/// Keep-alive of connections to gateways, whatever discovery sets above it: between clusters, packets vanish without a
/// word, and there are few such connections.
const GATEWAY_KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(2));

/// How long an endpoint that was just connected to may take to say whether a stream is opened: a gateway may have to wait for
/// discovery and for an endpoint of its own first.
const ANSWER: Duration = Duration::from_secs(15);

/// How much longer than a connection takes, at most, a stream on one that is kept: its other side connects further.
const REOPEN_ALLOWANCE: Duration = Duration::from_secs(2);

/// The connections of one worker to one endpoint.
pub type Pool = Connections<ToEndpoint>;

/// How an endpoint is connected to.
pub struct ToEndpoint {
    transport: Transport,
    health: Arc<Health>,
    connector: Connector,
    terms: Terms,
    tunnels: Rc<Tunnels>,
}

impl Pool {
    /// No connections yet.
    pub(crate) fn new(
        transport: Transport,
        health: Arc<Health>,
        settings: Rc<Settings>,
        metrics: Rc<EndpointMetrics>,
    ) -> Rc<Self> {
        let terms = terms(&transport, &settings);
        let connector = Connector::new(settings, metrics);
        let tunnels = Rc::new(Tunnels::new(&terms));
        Self::to(ToEndpoint { transport, health, connector, terms, tunnels })
    }

    /// How the endpoint is reached.
    pub(crate) fn transport(&self) -> &Transport {
        &self.to.transport
    }

    /// Opens a connection for bytes: a stream on a tunnel, where the endpoint's proxy takes one.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn open(&self) -> Result<BytesIo, Error> {
        self.open_as(Admission::Normal).await
    }

    /// As [`open`](Self::open); a trial is of a new connection.
    async fn open_as(&self, admission: Admission) -> Result<BytesIo, Error> {
        let Some(header) = io::header(&self.to.transport, None) else {
            return Ok(BytesIo::Own(self.to.connect(None, Some(admission)).await?));
        };
        let reopened = if admission == Admission::Normal { self.reopen(&header).await } else { None };
        let result = match reopened {
            Some(result) => result,
            None => self.open_first(&header).await,
        };
        self.to.judge(&result, admission);
        result
    }

    /// Opens a stream on a connection at rest; `None` where there is none that can be used. No byte is lost with those that
    /// turn out not to.
    async fn reopen(&self, header: &TransportHeader) -> Option<Result<BytesIo, Error>> {
        let to = &self.to;
        let settings = to.connector.settings();
        let generation = settings.tls.generation();
        loop {
            let mut kept = to.tunnels.take(generation)?;
            match timeout(settings.connect_timeout + REOPEN_ALLOWANCE, kept.tunnel.open(header)).await {
                Ok(Ok(())) => return Some(Ok(BytesIo::Stream(Stream::new(kept, &to.tunnels)))),
                Ok(Err(OpenError::Io(error))) => {
                    tracing::debug!(endpoint = %to.transport.dial, %error, "a tunnel was not open any more");
                }
                Ok(Err(OpenError::Refused { refusal, reason })) => {
                    to.tunnels.keep(kept);
                    return Some(Err(to.refused(refusal, reason)));
                }
                // The peer is slow, or gone without a word, and then the others lead nowhere either.
                Err(_) => {
                    to.tunnels.clear();
                    return None;
                }
            }
        }
    }

    /// Opens a stream on a new connection.
    async fn open_first(&self, header: &TransportHeader) -> Result<BytesIo, Error> {
        let to = &self.to;
        let addr = to.transport.dial;
        let io = to.connector.connect_for_bytes(&to.transport, header).await?;
        if !io.is_tunnel() {
            return Ok(BytesIo::Own(io));
        }
        let mut kept = Kept::new(io);
        let opened = timeout(ANSWER, kept.tunnel.open(header)).await;
        match opened.map_err(|_| Error::ConnectTimeout { addr, after: ANSWER })? {
            Ok(()) => Ok(BytesIo::Stream(Stream::new(kept, &to.tunnels))),
            Err(OpenError::Io(source)) => Err(Error::Connect { addr, source }),
            Err(OpenError::Refused { refusal, reason }) => {
                to.tunnels.keep(kept);
                Err(to.refused(refusal, reason))
            }
        }
    }

    /// The endpoint is gone, or is reached in another way: what still has a connection keeps it, and none is kept beyond.
    pub(crate) fn retire(&self) {
        self.idle.retire();
        self.to.tunnels.retire();
    }

    /// Tries to connect to an endpoint that failed, so that no request, and no connection for bytes, has to. Keeps the
    /// connection if it is for requests. Says whether it worked.
    pub(crate) async fn warm(&self, for_requests: bool) -> bool {
        if !for_requests {
            let Ok(mut io) = self.open_as(Admission::Trial).await else { return false };
            return io.flush().await.is_ok();
        }
        // It is a new connection in any case: one that is open already says nothing about those to come.
        if self.http2.borrow().len() >= self.to.terms().max_http2 {
            let Ok(mut io) = self.to.connect(None, Some(Admission::Trial)).await else { return false };
            return io.flush().await.is_ok();
        }
        if self.to.transport.hint == Hint::Http2 {
            return self.add_http2(Some(Admission::Trial)).await.is_ok();
        }
        match self.connect_http1(Admission::Trial).await {
            Ok(link) => {
                self.keep(link);
                true
            }
            Err(_) => false,
        }
    }
}

impl Connect for ToEndpoint {
    type Io = PeerIo;

    fn addr(&self) -> SocketAddr {
        self.transport.dial
    }

    fn terms(&self) -> &Terms {
        &self.terms
    }

    async fn connect(
        &self,
        session: Option<SessionProtocol>,
        admission: Option<Admission>,
    ) -> Result<PeerIo, Error> {
        // What is treated as bytes is not announced as anything else.
        let session = session.filter(|_| self.transport.hint != Hint::Opaque);
        let result = self.connector.connect(&self.transport, session).await;
        if let Some(admission) = admission {
            self.judge(&result, admission);
        }
        result
    }

    fn close_idle(&self) -> bool {
        self.tunnels.close_idle(self.connector.settings().tls.generation())
    }
}

impl ToEndpoint {
    /// What the endpoint's health learns from connecting to it.
    fn judge<T>(&self, result: &Result<T, Error>, admission: Admission) {
        let now = Instant::now();
        match result {
            // Who forbids something answers.
            Ok(_) | Err(Error::Forbidden(_)) => {
                self.health.connected(admission, now);
            }
            Err(error) if admission == Admission::Normal && error.is_shortage() => {
                tracing::debug!(endpoint = %self.transport.dial, %error, "not connected, by no fault of the endpoint");
            }
            Err(error) => {
                if self.health.not_connected(admission, now) {
                    tracing::info!(endpoint = %self.transport.dial, %error, "endpoint does not answer");
                }
            }
        }
    }

    /// The refusal of a stream, as an error of the connection that it stands for.
    fn refused(&self, refusal: Refusal, reason: String) -> Error {
        let addr = self.transport.dial;
        match refusal {
            Refusal::Unreachable => Error::Refused { addr, reason },
            Refusal::Forbidden => Error::Forbidden(format!("{addr}: {reason}").into()),
        }
    }
}

fn terms(transport: &Transport, settings: &Settings) -> Terms {
    let flow = transport.flow_control;
    let window = |said: Option<u32>, default| said.filter(|bytes| *bytes > 0).unwrap_or(default);
    Terms {
        idle_timeout: settings.pool_idle_timeout,
        max_idle: settings.max_idle_per_endpoint,
        stream_window: window(flow.map(|f| f.stream_window), settings.h2_stream_window),
        connection_window: window(flow.map(|f| f.connection_window), settings.h2_connection_window),
        adaptive_window: flow.is_some_and(|f| f.adaptive),
        keep_alive: keep_alive(transport),
        max_http2: MAX_HTTP2_CONNECTIONS,
    }
}

/// Interval and timeout of pings, and whether they are sent without streams too.
fn keep_alive(transport: &Transport) -> Option<(Duration, Duration, bool)> {
    let meshed = transport.tls.is_some();
    let default = meshed.then_some((KEEP_ALIVE.0, KEEP_ALIVE.1, true));
    let (interval, timeout, while_idle) = transport.keep_alive.or(default)?;
    if transport.authority.is_none() {
        return Some((interval, timeout, while_idle));
    }
    Some((interval.min(GATEWAY_KEEP_ALIVE.0), timeout.min(GATEWAY_KEEP_ALIVE.1), true))
}
