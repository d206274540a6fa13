//! `Trust/Watch`: sends proxies the anchors in force while they run, and counts who holds them.

use futures::Stream;
use mesh_api::tonic::{Request, Response, Status, Streaming, async_trait};
use mesh_api::trust::trust_server::Trust;
use mesh_api::trust::{Bundle, Held};
use mesh_metrics::Registry;
use mesh_runtime::Shutdown;
use mesh_tls::TrustBundle;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;
use tracing::{debug, info};

/// The bundle that proxies should hold. Clones share it.
#[derive(Clone)]
pub(crate) struct Published {
    bundle: Arc<watch::Sender<Option<TrustBundle>>>,
    holders: Arc<Holders>,
}

/// What each open stream's proxy last said it holds.
#[derive(Default)]
struct Holders {
    next: AtomicU64,
    held: Mutex<HashMap<u64, String>>,
}

impl Published {
    pub(crate) fn new(metrics: &Registry) -> Self {
        let published = Self { bundle: Arc::new(watch::Sender::new(None)), holders: Arc::default() };
        for (name, current) in [("current", true), ("stale", false)] {
            let of = published.clone();
            let name = format!("identity_trust_bundle_holders_{name}");
            let help = "Proxies with an open stream that hold the bundle in force, or another";
            metrics.probe(&name, help, move || of.count(current) as f64);
        }
        published
    }

    /// Makes `bundle` the one in force. The caller has seen that the issuer in force verifies against it: proxies
    /// that took another would refuse each other.
    pub(crate) fn publish(&self, bundle: &TrustBundle) {
        self.bundle.send_if_modified(|held| {
            let differs = held.as_ref() != Some(bundle);
            if differs {
                info!(sha256 = bundle.sha256(), "trust anchors published");
                *held = Some(bundle.clone());
            }
            differs
        });
    }

    fn count(&self, current: bool) -> usize {
        let bundle = self.bundle.borrow();
        let sha256 = bundle.as_ref().map(TrustBundle::sha256);
        self.holders.held.lock().values().filter(|h| (Some(h.as_str()) == sha256) == current).count()
    }
}

/// One proxy's place among the holders.
struct Place {
    holders: Arc<Holders>,
    id: u64,
}

impl Place {
    fn take(holders: &Arc<Holders>) -> Self {
        Self { holders: Arc::clone(holders), id: holders.next.fetch_add(1, Ordering::Relaxed) }
    }

    fn holds(&self, sha256: &str) {
        self.holders.held.lock().insert(self.id, sha256.to_owned());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.holders.held.lock().remove(&self.id);
    }
}

pub(crate) struct Service {
    published: Published,
    shutdown: Shutdown,
}

impl Service {
    pub(crate) fn new(published: Published, shutdown: Shutdown) -> Self {
        Self { published, shutdown }
    }
}

struct Flow {
    said: Streaming<Held>,
    bundles: watch::Receiver<Option<TrustBundle>>,
    place: Place,
    shutdown: Shutdown,
    held: Option<String>,
    /// Not sent again when the proxy does not take it.
    sent: Option<String>,
}

impl Flow {
    /// The bundle in force, if the proxy neither holds it nor has been sent it.
    fn due(&mut self) -> Option<Bundle> {
        let held = self.held.as_deref()?;
        let bundle = self.bundles.borrow_and_update();
        let bundle = bundle.as_ref()?;
        let sha256 = bundle.sha256();
        if sha256 == held || self.sent.as_deref() == Some(sha256) {
            return None;
        }
        self.sent = Some(sha256.to_owned());
        Some(Bundle { pem: bundle.to_pem(), sha256: sha256.to_owned() })
    }

    async fn next(&mut self) -> Option<Result<Bundle, Status>> {
        loop {
            if let Some(bundle) = self.due() {
                return Some(Ok(bundle));
            }
            tokio::select! {
                () = self.shutdown.draining() => return None,
                changed = self.bundles.changed() => changed.ok()?,
                said = self.said.message() => match said {
                    Ok(Some(held)) => {
                        debug!(identity = held.identity, instance = held.instance, sha256 = held.sha256, "holds");
                        self.place.holds(&held.sha256);
                        self.held = Some(held.sha256);
                    }
                    Ok(None) => return None,
                    Err(status) => return Some(Err(status)),
                },
            }
        }
    }
}

#[async_trait]
impl Trust for Service {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<Bundle, Status>> + Send>>;

    async fn watch(&self, request: Request<Streaming<Held>>) -> Result<Response<Self::WatchStream>, Status> {
        let flow = Flow {
            said: request.into_inner(),
            bundles: self.published.bundle.subscribe(),
            place: Place::take(&self.published.holders),
            shutdown: self.shutdown.clone(),
            held: None,
            sent: None,
        };
        let stream = futures::stream::unfold(Some(flow), |flow| async move {
            let mut flow = flow?;
            let message = flow.next().await?;
            let failed = message.is_err();
            Some((message, (!failed).then_some(flow)))
        });
        Ok(Response::new(Box::pin(stream)))
    }
}
