//! What the identity service does: it certifies whoever asks for as long as certificates are wanted to last, and tells
//! proxies the trust bundle in force.

use super::Control;
use crate::Trust as Authorities;
use anyhow::Result;
use futures::stream::BoxStream;
use mesh_api::identity::identity_server::Identity as IdentityService;
use mesh_api::identity::{CertifyRequest, CertifyResponse};
use mesh_api::tonic::{self, Request, Response, Status, Streaming};
use mesh_api::trust::trust_server::Trust as TrustService;
use mesh_api::trust::{Bundle, Held};
use mesh_tls::{Authority, TrustBundle};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

/// How long certificates last, and how far clocks may differ.
const LIFETIME: (Duration, Duration) = (Duration::from_secs(12 * 3600), Duration::from_secs(20));
/// Bundles on their way to one proxy.
const AHEAD: usize = 1;

/// Who certifies, for how long, and what is believed.
pub(super) struct Identities {
    issuer: Mutex<Arc<Authority>>,
    lifetime: Mutex<(Duration, Duration)>,
    away: AtomicBool,
    bundle: watch::Sender<Bundle>,
    /// The bundle that each proxy said it holds, by the name of its pod.
    held: Mutex<HashMap<String, String>>,
}

impl Identities {
    pub(super) fn new(trust: &Authorities) -> Result<Self> {
        Ok(Self {
            issuer: Mutex::new(trust.issuer()),
            lifetime: Mutex::new(LIFETIME),
            away: AtomicBool::new(false),
            bundle: watch::Sender::new(bundle(trust.anchors())?),
            held: Mutex::default(),
        })
    }
}

fn bundle(pem: String) -> Result<Bundle> {
    let sha256 = TrustBundle::from_pem(&pem)?.sha256().to_owned();
    Ok(Bundle { pem, sha256 })
}

impl Control {
    /// Certificates issued from now on last this long, and as much longer and earlier as clocks may differ.
    pub fn set_lifetime(&self, lifetime: Duration, skew: Duration) {
        *self.state.identity.lifetime.lock() = (lifetime, skew);
    }

    /// Whether the identity service certifies nobody, while everything else is served.
    pub fn set_identity_away(&self, away: bool) {
        self.state.identity.away.store(away, Relaxed);
    }

    /// Certificates issued from now on are this authority's.
    pub fn set_issuer(&self, trust: &Authorities) {
        *self.state.identity.issuer.lock() = trust.issuer();
    }

    /// Tells proxies which anchors to believe from now on, PEM.
    ///
    /// # Errors
    /// When they cannot be parsed.
    pub fn set_anchors(&self, pem: String) -> Result<()> {
        self.state.identity.bundle.send_replace(bundle(pem)?);
        Ok(())
    }

    /// How many proxies hold the anchors in force, by their own word.
    pub fn hold_anchors(&self) -> usize {
        let wanted = self.state.identity.bundle.borrow().sha256.clone();
        self.state.identity.held.lock().values().filter(|held| **held == wanted).count()
    }
}

#[tonic::async_trait]
impl IdentityService for Control {
    async fn certify(&self, request: Request<CertifyRequest>) -> Result<Response<CertifyResponse>, Status> {
        let identities = &self.state.identity;
        if identities.away.load(Relaxed) {
            return Err(Status::unavailable("the identity service is away"));
        }
        let CertifyRequest { identity, certificate_signing_request, .. } = request.into_inner();
        let name = identity.parse().map_err(|_| Status::invalid_argument("identity"))?;
        let (issuer, (lifetime, skew)) = (Arc::clone(&identities.issuer.lock()), *identities.lifetime.lock());
        let leaf = issuer
            .sign_csr(&certificate_signing_request, &name, lifetime, skew)
            .map_err(|error| Status::failed_precondition(error.to_string()))?;
        self.times.0.lock().insert(identity, Instant::now());
        Ok(Response::new(CertifyResponse {
            leaf_certificate: leaf.leaf_der,
            intermediate_certificates: leaf.intermediates_der,
            valid_until: Some(leaf.not_after.into()),
        }))
    }
}

#[tonic::async_trait]
impl TrustService for Control {
    type WatchStream = BoxStream<'static, Result<Bundle, Status>>;

    async fn watch(&self, request: Request<Streaming<Held>>) -> Result<Response<Self::WatchStream>, Status> {
        let (tell, told) = mpsc::channel(AHEAD);
        tokio::spawn(self.clone().tell(request.into_inner(), tell));
        Ok(Response::new(Box::pin(ReceiverStream::new(told))))
    }
}

impl Control {
    /// Tells a proxy the bundle in force whenever that is not the one it holds, until the proxy goes.
    async fn tell(self, mut said: Streaming<Held>, tell: mpsc::Sender<Result<Bundle, Status>>) {
        let identities = &self.state.identity;
        let mut bundles = identities.bundle.subscribe();
        let mut holds = String::new();
        loop {
            tokio::select! {
                next = said.message() => match next {
                    Ok(Some(Held { instance, sha256, .. })) => {
                        holds.clone_from(&sha256);
                        identities.held.lock().insert(instance, sha256);
                    }
                    Ok(None) | Err(_) => return,
                },
                changed = bundles.changed() => if changed.is_err() { return },
            }
            let bundle = bundles.borrow_and_update().clone();
            let differs = !holds.is_empty() && bundle.sha256 != holds;
            if differs && tell.send(Ok(bundle)).await.is_err() {
                return;
            }
        }
    }
}
