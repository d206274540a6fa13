//! Is a gateway address alive, and how far away is it? A probe is a TLS handshake with the gateway's identity on
//! the port that traffic takes, and `GET /ready` on the probe port.
//!
//! Probes start a period apart. A living address that failed one is asked again after a third of the period, so that an
//! address is known to be dead at the latest `period + failureThreshold × timeout` after it last answered: 9 s with the
//! settings that `meshctl multicluster link` writes (3 s, 3, 2 s), and 5 s if it refuses connections. Traffic does not
//! wait for that: proxies leave an address that fails them at once.

use crate::model::LinkConfig;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use mesh_tls::{TrustBundle, client_connector, server_name};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// How much a new round trip counts against the ones before.
const SMOOTHING: f64 = 0.2;

/// So many round trips are kept for quantiles: five minutes at a probe every three seconds.
const RECENT: usize = 100;

/// Why a probe failed; the words go into `Link.status`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// No connection.
    #[error("{addr} {reason}")]
    Connect {
        /// Where to.
        addr: SocketAddr,
        /// `refuses connections`, `does not answer`, …
        reason: String,
    },
    /// A connection, but not to a gateway we trust.
    #[error("{addr} does not prove to be {identity}: {reason}")]
    Trust {
        /// Where to.
        addr: SocketAddr,
        /// Who was expected.
        identity: String,
        /// What the verifier said.
        reason: String,
    },
    /// A gateway, but not ready.
    #[error("{addr}{path} answers {status}")]
    NotReady {
        /// Where to.
        addr: SocketAddr,
        /// What was asked for.
        path: String,
        /// What came back.
        status: String,
    },
}

/// What is known of one address.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProbeState {
    /// `None` before the first probe.
    pub alive: Option<bool>,
    /// Round trip, smoothed.
    pub rtt: Option<Duration>,
    /// Why the last probe failed.
    pub last_error: Option<ProbeError>,
    failures: u32,
    recent: VecDeque<Duration>,
}

impl ProbeState {
    /// Takes a probe's outcome. The first decides at once; a living address dies after `threshold` failures in a
    /// row, a dead one lives at the first success.
    pub fn note(&mut self, outcome: Result<Duration, ProbeError>, threshold: u32) {
        match outcome {
            Ok(rtt) => {
                self.failures = 0;
                self.alive = Some(true);
                self.last_error = None;
                self.recent.truncate(RECENT - 1);
                self.recent.push_front(rtt);
                self.rtt =
                    Some(self.rtt.map_or(rtt, |old| old.mul_f64(1.0 - SMOOTHING) + rtt.mul_f64(SMOOTHING)));
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                if self.alive != Some(true) || self.failures >= threshold {
                    self.alive = Some(false);
                }
                self.last_error = Some(error);
            }
        }
    }

    /// Whether the address counts as alive although its last probe failed.
    pub fn in_doubt(&self) -> bool {
        self.alive == Some(true) && self.failures > 0
    }

    /// The round trip that this share (0 to 1) of recent successful probes did not exceed.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let mut sorted: Vec<Duration> = self.recent.iter().copied().collect();
        sorted.sort_unstable();
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.max(1) - 1).copied()
    }

    /// Whether the last failure was one of trust rather than of reach.
    pub fn distrusted(&self) -> bool {
        matches!(self.last_error, Some(ProbeError::Trust { .. }))
    }
}

/// Probes one address once and answers with the time the readiness request took.
///
/// # Errors
/// [`ProbeError`].
pub async fn probe(
    ip: IpAddr,
    gateway_port: u16,
    link: &LinkConfig,
    bundle: &TrustBundle,
) -> Result<Duration, ProbeError> {
    let gateway = SocketAddr::new(ip, gateway_port);
    let ready = SocketAddr::new(ip, link.probe_port);
    let (trust, rtt) = tokio::join!(
        within(gateway, link.probe_timeout, handshake(gateway, link, bundle)),
        within(ready, link.probe_timeout, readiness(ready, &link.probe_path)),
    );
    trust?;
    rtt
}

async fn within<T>(
    addr: SocketAddr,
    timeout: Duration,
    probe: impl Future<Output = Result<T, ProbeError>>,
) -> Result<T, ProbeError> {
    let late = || ProbeError::Connect { addr, reason: format!("does not answer within {timeout:?}") };
    tokio::time::timeout(timeout, probe).await.map_err(|_| late())?
}

async fn connect(addr: SocketAddr) -> Result<TcpStream, ProbeError> {
    let reason = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::ConnectionRefused => "refuses connections".to_owned(),
        _ => format!("cannot be reached: {e}"),
    };
    TcpStream::connect(addr).await.map_err(|e| ProbeError::Connect { addr, reason: reason(e) })
}

/// The gateway proves its identity before it asks for ours, so a handshake without a certificate is enough.
async fn handshake(addr: SocketAddr, link: &LinkConfig, bundle: &TrustBundle) -> Result<(), ProbeError> {
    let distrust =
        |reason: String| ProbeError::Trust { addr, identity: link.gateway_identity.clone(), reason };
    let name = server_name(&link.gateway_identity).map_err(|e| distrust(e.to_string()))?;
    let connector = client_connector(bundle, None, &[]).map_err(|e| distrust(e.to_string()))?;
    let stream = connect(addr).await?;
    connector.connect(name, stream).await.map_err(|e| match e.kind() {
        std::io::ErrorKind::InvalidData => distrust(mesh_tls::handshake_refusal(&e)),
        _ => ProbeError::Connect { addr, reason: format!("closes the connection: {e}") },
    })?;
    Ok(())
}

async fn readiness(addr: SocketAddr, path: &str) -> Result<Duration, ProbeError> {
    let not_ready = |status: String| ProbeError::NotReady { addr, path: path.to_owned(), status };
    let stream = connect(addr).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| not_ready(e.to_string()))?;
    let request = Request::get(path).header(header::HOST, addr.to_string()).body(Empty::<Bytes>::new());
    let request = request.map_err(|e| not_ready(e.to_string()))?;
    // The connection is driven here, and dropped with this future: a probe leaves no task behind.
    let started = Instant::now();
    let mut exchange = std::pin::pin!(sender.send_request(request));
    let response = tokio::select! {
        response = &mut exchange => response,
        // The server may close right after its answer, which is then still to be taken.
        _ = connection => exchange.await,
    };
    let response = response.map_err(|e| not_ready(e.to_string()))?;
    match response.status() {
        StatusCode::OK => Ok(started.elapsed()),
        status => Err(not_ready(status.to_string())),
    }
}

#[cfg(test)]
mod tests;
