//! Getting and renewing the certificate: key and request are made here, the token proves the pod, the identity service
//! signs. A failed renewal keeps the old certificate and tries again.

pub mod trust;

use crate::config::Identities;
use crate::control::ControlChannel;
use mesh_api::identity::identity_client::IdentityClient;
use mesh_api::identity::{CertifyRequest, CertifyResponse};
use mesh_api::tonic;
use mesh_balance::Backoff;
use mesh_metrics::{Counter, Gauge, Labels, Registry};
use mesh_tls::MeshTls;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// The share of a certificate's life after which it is renewed.
const REFRESH_AT: f64 = 0.7;
/// Limit for one request, so that a silent identity service does not block the next attempt.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Between attempts; jittered, so that a returning identity service is not met by every proxy at once.
const BACKOFF: Backoff =
    Backoff { min: Duration::from_millis(200), max: Duration::from_secs(10), jitter: 0.5 };

/// Why a certificate could not be had this time.
#[derive(Debug, thiserror::Error)]
pub enum CertifyError {
    /// The token cannot be read.
    #[error("service-account token {path}: {source}")]
    Token {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The identity service refused or could not be reached.
    #[error("identity service: {} ({:?})", .0.message(), .0.code())]
    Service(#[from] tonic::Status),
    /// The answer is not usable.
    #[error("identity service: the answer has no valid end of validity")]
    Validity,
    /// Key or certificate is not usable.
    #[error(transparent)]
    Tls(#[from] mesh_tls::Error),
}

/// Keeps the certificate of this proxy fresh.
pub struct Certifier {
    config: Identities,
    tls: MeshTls,
    client: IdentityClient<ControlChannel>,
    metrics: Metrics,
    certified: watch::Sender<bool>,
}

impl Certifier {
    /// Asks the identity service behind `channel`.
    pub fn new(config: Identities, tls: MeshTls, channel: ControlChannel, registry: &Registry) -> Self {
        let certified = watch::Sender::new(tls.is_ready());
        Self { config, tls, client: IdentityClient::new(channel), metrics: Metrics::new(registry), certified }
    }

    /// Becomes true with the first certificate.
    pub fn certified(&self) -> watch::Receiver<bool> {
        self.certified.subscribe()
    }

    /// Renews for ever.
    pub async fn run(mut self) {
        let mut failures = 0;
        loop {
            let delay = match self.certify().await {
                Ok(not_after) => {
                    failures = 0;
                    self.certified.send_replace(true);
                    self.metrics.renewed(not_after);
                    let delay = refresh_in(
                        SystemTime::now(),
                        not_after,
                        self.config.min_refresh,
                        self.config.max_refresh,
                    );
                    tracing::info!(identity = %self.tls.identity(), refresh_in = ?delay, "certified");
                    delay
                }
                Err(error) => {
                    let delay = BACKOFF.delay(failures, rand::random());
                    failures = failures.saturating_add(1);
                    if self.tls.is_ready() {
                        tracing::error!(%error, retry_in = ?delay, "certificate not renewed, keeping the old one");
                    } else {
                        tracing::warn!(%error, retry_in = ?delay, "no certificate yet");
                    }
                    delay
                }
            };
            tokio::time::sleep(delay).await;
        }
    }

    async fn certify(&mut self) -> Result<SystemTime, CertifyError> {
        let path = &self.config.token_file;
        let token = tokio::fs::read(path)
            .await
            .map_err(|source| CertifyError::Token { path: path.clone(), source })?;
        let key = self.tls.request()?;
        let mut request = tonic::Request::new(CertifyRequest {
            identity: self.config.local.to_string(),
            token: token.trim_ascii().to_vec(),
            certificate_signing_request: key.csr_der.clone(),
        });
        request.set_timeout(REQUEST_TIMEOUT);
        let response = tokio::time::timeout(REQUEST_TIMEOUT, self.client.certify(request))
            .await
            .map_err(|_| tonic::Status::deadline_exceeded("no answer in time"))??;
        let CertifyResponse { leaf_certificate, intermediate_certificates, valid_until } =
            response.into_inner();
        let not_after =
            valid_until.and_then(|t| SystemTime::try_from(t).ok()).ok_or(CertifyError::Validity)?;
        self.tls.set_leaf(key, leaf_certificate, intermediate_certificates, not_after)?;
        Ok(not_after)
    }
}

/// When to renew a certificate that is valid until `not_after`.
fn refresh_in(now: SystemTime, not_after: SystemTime, least: Duration, most: Duration) -> Duration {
    not_after.duration_since(now).unwrap_or_default().mul_f64(REFRESH_AT).clamp(least, most.max(least))
}

/// Under today's names and the ones dashboards still ask for.
struct Metrics {
    expiration: [Gauge; 2],
    refreshed: Gauge,
    refreshes: Counter,
    refresh_count: Gauge,
}

impl Metrics {
    fn new(registry: &Registry) -> Self {
        let none = Labels::new();
        let expiration = |name| {
            registry.gauge(name, "When the certificate expires, in seconds since the Unix epoch").get(&none)
        };
        Self {
            expiration: [
                expiration("control_identity_cert_expiration_timestamp_seconds"),
                expiration("identity_cert_expiration_timestamp_seconds"),
            ],
            refreshed: registry
                .gauge(
                    "control_identity_cert_refresh_timestamp_seconds",
                    "When the certificate was renewed, in seconds since the Unix epoch",
                )
                .get(&none),
            refreshes: registry
                .counter("control_identity_cert_refreshes", "How often the certificate was renewed")
                .get(&none),
            refresh_count: registry
                .gauge("identity_cert_refresh_count", "How often the certificate was renewed")
                .get(&none),
        }
    }

    fn renewed(&self, not_after: SystemTime) {
        for gauge in &self.expiration {
            gauge.set(unix_seconds(not_after));
        }
        self.refreshed.set(unix_seconds(SystemTime::now()));
        self.refreshes.inc();
        self.refresh_count.inc();
    }
}

fn unix_seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
