//! Channels to the control plane: one HTTP/2 connection per service, made again whenever it is lost, that generated
//! gRPC clients send their requests through. Used by discovery and by the identity client.

mod connection;
mod dns;
mod metrics;

pub use connection::Received;
pub use dns::{Dns, DnsError};

use crate::config::ControlAddr;
use connection::{Connection, Unanswered};
use http::uri::{Authority as UriAuthority, Scheme, Uri};
use http::{Request, Response};
use mesh_balance::Backoff;
use mesh_metrics::Registry;
use mesh_tls::MeshTls;
use metrics::ControlMetrics;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::body::Body;

/// Limit for one address: TCP and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Connections that a request is tried on while they turn out to take no more.
const ATTEMPTS: u32 = 3;
/// Between rounds over a service's addresses. Jittered, so that a returning control plane is not met by every proxy
/// at once.
pub const BACKOFF: Backoff =
    Backoff { min: Duration::from_millis(100), max: Duration::from_secs(5), jitter: 0.5 };

/// Why a request did not reach a control-plane service.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The name has no addresses.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// No address of the service could be connected to.
    #[error("control plane {service}: cannot connect to {addr}: {reason}")]
    Connect {
        /// The service's name and port.
        service: String,
        /// The address tried last.
        addr: SocketAddr,
        /// What failed.
        reason: String,
    },
    /// The connection broke.
    #[error("control plane: {0}")]
    Request(#[from] mesh_http2::Error),
    /// The service's name is not usable in a URI.
    #[error("control plane: {0}")]
    Uri(#[from] http::Error),
}

/// A channel to one control-plane service. Cheap to clone; clones share the connection.
///
/// A request waits until the service can be reached; callers bound the wait by timeouts of their own. Must be used on a
/// local tokio runtime, which then carries the connection.
#[derive(Clone)]
pub struct ControlChannel(Arc<Inner>);

struct Inner {
    target: ControlAddr,
    tls: MeshTls,
    dns: Arc<Dns>,
    metrics: ControlMetrics,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    failures: u32,
    not_before: Option<Instant>,
}

impl ControlChannel {
    /// A channel to `target`: by TLS with the name it must have, with our certificate once there is one; in plaintext
    /// where no name is given.
    pub fn new(target: ControlAddr, tls: MeshTls, dns: Arc<Dns>) -> Self {
        Self::metered(target, tls, dns, &Registry::new())
    }

    /// As [`ControlChannel::new`], counted in `registry`.
    pub fn metered(target: ControlAddr, tls: MeshTls, dns: Arc<Dns>, registry: &Registry) -> Self {
        let metrics = ControlMetrics::new(&target, registry);
        Self(Arc::new(Inner { target, tls, dns, metrics, state: Mutex::new(State::default()) }))
    }
}

impl tower::Service<Request<Body>> for ControlChannel {
    type Response = Response<Received>;
    type Error = ControlError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Received>, ControlError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ControlError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            *request.uri_mut() = inner.absolute(request.uri())?;
            let mut attempts = 0;
            loop {
                let connection = inner.connected().await;
                if attempts == 0 {
                    inner.metrics.requests.inc();
                }
                attempts += 1;
                let started = Instant::now();
                let answer = match connection.ask(request).await {
                    Ok(response) => Ok(response),
                    Err(Unanswered::Failed(error)) => Err(error),
                    // A connection that closes at once is not made again at once for ever.
                    Err(Unanswered::Unsent(_)) if attempts >= ATTEMPTS => Err(mesh_http2::Error::Closed),
                    Err(Unanswered::Unsent(unsent)) => {
                        request = *unsent;
                        continue;
                    }
                };
                inner.metrics.answered(&answer, started.elapsed());
                return Ok(answer?);
            }
        })
    }
}

impl Inner {
    fn absolute(&self, uri: &Uri) -> Result<Uri, ControlError> {
        let authority = UriAuthority::try_from(self.target.addr.to_string()).map_err(http::Error::from)?;
        let mut parts = uri.clone().into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(authority);
        Ok(Uri::from_parts(parts).map_err(http::Error::from)?)
    }

    /// The connection, made first if there is none. Callers wait behind the one that connects.
    async fn connected(&self) -> Connection {
        let mut state = self.state.lock().await;
        if let Some(connection) = state.connection.as_ref().filter(|connection| !connection.is_closed()) {
            return connection.clone();
        }
        state.connection = None;
        loop {
            if let Some(not_before) = state.not_before.take() {
                sleep_until(not_before).await;
            }
            match self.connect_any().await {
                Ok(connection) => {
                    tracing::debug!(service = %self.target.addr, "connected to the control plane");
                    state.failures = 0;
                    state.connection = Some(connection.clone());
                    return connection;
                }
                Err(error) => {
                    let delay = BACKOFF.delay(state.failures, rand::random());
                    tracing::warn!(service = %self.target.addr, %error, retry_in = ?delay, "control plane unreachable");
                    state.failures = state.failures.saturating_add(1);
                    state.not_before = Some(Instant::now() + delay);
                }
            }
        }
    }

    /// Tries the addresses of the service in the order its name gives them now.
    async fn connect_any(&self) -> Result<Connection, ControlError> {
        let mut last = None;
        for addr in self.dns.resolve(&self.target.addr).await? {
            let reason = match timeout(CONNECT_TIMEOUT, self.connect(addr)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(reason)) => reason,
                Err(_) => format!("timed out after {CONNECT_TIMEOUT:?}"),
            };
            last = Some(ControlError::Connect { service: self.target.addr.to_string(), addr, reason });
        }
        Err(last.unwrap_or_else(|| DnsError::empty(&self.target.addr.host).into()))
    }

    async fn connect(&self, addr: SocketAddr) -> Result<Connection, String> {
        let tcp = TcpStream::connect(addr).await.map_err(|e| e.to_string())?;
        tcp.set_nodelay(true).map_err(|e| e.to_string())?;
        match &self.target.identity {
            None => Ok(Connection::over(tcp)),
            Some(identity) => {
                let name = mesh_tls::server_name(identity.as_str()).map_err(|e| e.to_string())?;
                let connector = self.tls.control_connector();
                let tls = connector.connect(name, tcp).await.map_err(|e| format!("TLS: {e}"))?;
                Ok(Connection::over(tls))
            }
        }
    }
}

#[cfg(test)]
mod tests;
