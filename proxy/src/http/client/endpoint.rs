//! Connections to an endpoint: through [`Connector`], with what its health learns from that.

use super::io::{Connector, PeerIo, Settings};
use super::{Connect, Connections, Terms};
use crate::error::Error;
use crate::outbound::endpoint::{Health, Hint, Transport};
use crate::outbound::metrics::EndpointMetrics;
use mesh_balance::Admission;
use mesh_net::SessionProtocol;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;

/// HTTP/2 connections to one endpoint.
const MAX_HTTP2_CONNECTIONS: usize = 4;
/// Keep-alive where discovery sets none: a dead peer is found within this (interval, timeout).
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3));
/// Keep-alive of connections to gateways, whatever discovery sets above it: between clusters, packets vanish without a
/// word, and there are few such connections.
const GATEWAY_KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(2));

/// The connections of one worker to one endpoint.
pub type Pool = Connections<ToEndpoint>;

/// How an endpoint is connected to.
pub struct ToEndpoint {
    transport: Transport,
    health: Arc<Health>,
    connector: Connector,
    terms: Terms,
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
        Self::to(ToEndpoint { transport, health, connector: Connector::new(settings, metrics), terms })
    }

    /// How the endpoint is reached.
    pub(crate) fn transport(&self) -> &Transport {
        &self.to.transport
    }

    /// Opens a connection for bytes.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn open(&self) -> Result<PeerIo, Error> {
        self.to.connect(None, Some(Admission::Normal)).await
    }

    /// Tries to connect to an endpoint that failed, so that no request has to. Keeps the connection if `keep`. Says whether
    /// it worked.
    pub(crate) async fn warm(self: &Rc<Self>, keep: bool) -> bool {
        // It is a new connection in any case: one that is open already says nothing about those to come.
        let full = self.http2.borrow().len() >= self.to.terms().max_http2;
        if !keep || full {
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
        let Some(admission) = admission else { return result };
        let now = Instant::now();
        match &result {
            Ok(_) => {
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
        result
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
