//! Channels to the control plane: one HTTP/2 connection per service, made again whenever it is lost and wanted, that
//! generated gRPC clients send their requests through. Used by discovery and by the identity client.

mod connecting;
mod connection;
mod dns;
mod metrics;

pub use connection::Received;
pub use dns::{Dns, DnsError};

use crate::config::ControlAddr;
use connecting::Shared;
use connection::Unanswered;
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
use tokio::time::Instant;
use tonic::body::Body;

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
    /// What was to connect has ended without a connection, as it does with its runtime.
    #[error("control plane {service}: nobody connects to it any more")]
    Abandoned {
        /// The service's name and port.
        service: String,
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
    connection: Shared,
    metrics: ControlMetrics,
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
        Self(Arc::new(Inner { connection: Shared::new(target, tls, dns), metrics }))
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
                let connection = inner.connection.connection().await?;
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
        let authority =
            UriAuthority::try_from(self.connection.target().addr.to_string()).map_err(http::Error::from)?;
        let mut parts = uri.clone().into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(authority);
        Ok(Uri::from_parts(parts).map_err(http::Error::from)?)
    }
}

#[cfg(test)]
mod tests;
