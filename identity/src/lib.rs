//! The identity room: signs workload certificates. A proxy shows its service-account token and a signing request; the
//! answer is a leaf for `<sa>.<ns>.serviceaccount.identity.<control-plane-ns>.<trust-domain>` signed by the issuer in
//! force. Issuer and trust anchors are watched in the cluster's API and swapped live.

mod issuer;
mod material;
mod review;
mod service;
mod trust;

pub use issuer::{Issuer, Outcome};
pub use material::Scheme;

use material::{bundle_of, material_of};
use mesh_api::identity::identity_server::IdentityServer;
use mesh_api::tonic::service::Routes;
use mesh_api::trust::trust_server::TrustServer;
use mesh_kube::k8s_openapi::api::core::v1::{ConfigMap, ObjectReference, Secret};
use mesh_kube::kube::Api;
use mesh_kube::kube::runtime::watcher;
use mesh_kube::{Change, Client, EventKind, Events, WatchState, watch};
use mesh_metrics::Registry;
use mesh_runtime::Shutdown;
use mesh_runtime::admin::AdminState;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

/// Name of the Secret that holds the issuer's certificate and key.
pub const ISSUER_SECRET: &str = "linkerd-identity-issuer";
/// Name of the ConfigMap that holds the trust anchors.
pub const TRUST_ROOTS: &str = "linkerd-identity-trust-roots";
/// Key of the trust anchors in it.
pub const TRUST_ROOTS_KEY: &str = "ca-bundle.crt";
/// Name of the Deployment that events are written on.
const DEPLOYMENT: &str = "linkerd-identity";

/// Settings, named as the flags are.
#[derive(Debug, Clone)]
pub struct Config {
    /// Namespace of the control plane.
    pub controller_namespace: String,
    /// Trust domain of issued identities.
    pub trust_domain: String,
    /// How long a leaf is valid (24 h).
    pub issuance_lifetime: Duration,
    /// Tolerated difference between clocks (20 s).
    pub clock_skew_allowance: Duration,
    /// Which keys of the issuer Secret are looked at first.
    pub scheme: Scheme,
}

/// What can go wrong in this room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The gRPC server failed.
    #[error("identity server: {0}")]
    Serve(#[from] mesh_api::tonic::transport::Error),
    /// The issuer or the anchors cannot be used.
    #[error("{object}: {reason}")]
    Material {
        /// Which object.
        object: String,
        /// What is wrong, with the remedy.
        reason: String,
    },
}

/// Serves identity on `listener` until the drain; ready once an issuer is in force.
///
/// # Errors
/// [`Error::Serve`].
pub async fn run(
    config: Config,
    client: Client,
    listener: TcpListener,
    metrics: &Registry,
    admin: AdminState,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let issuer = Arc::new(Mutex::new(Issuer::default()));
    register(metrics, &issuer);
    let (events_in, events_out) = mpsc::channel(16);
    shutdown.spawn_until_drain("identity-events", write_events(client.clone(), config.clone(), events_out));
    let published = trust::Published::new(metrics);
    let reaction = Reaction {
        issuer: Arc::clone(&issuer),
        admin,
        events: events_in.clone(),
        published: published.clone(),
    };
    let (secrets, anchors) = watches(&config, &client, &reaction);
    shutdown.spawn_until_drain("watch-issuer", secrets);
    shutdown.spawn_until_drain("watch-anchors", anchors);
    let certify = metrics.counter("identity_certify_requests", "Certificate requests by gRPC status code");
    let service = service::Service::new(config, client, issuer, certify, events_in);
    let trust = trust::Service::new(published, shutdown.clone());
    let routes = Routes::new(IdentityServer::new(service)).add_service(TrustServer::new(trust));
    Ok(mesh_api::server::serve(listener, routes, shutdown.draining()).await?)
}

fn register(metrics: &Registry, issuer: &Arc<Mutex<Issuer>>) {
    let issuer = Arc::clone(issuer);
    let ttl = move || issuer.lock().ttl(std::time::SystemTime::now()).map_or(0.0, |ttl| ttl.as_secs_f64());
    metrics.probe("issuer_cert_ttl_seconds", "Time until the issuer certificate expires", ttl);
}

/// An event to be written on the Deployment.
#[derive(Debug)]
pub(crate) struct Notice {
    pub(crate) kind: EventKind,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

type Watching = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a change of Secret or anchors leads to.
#[derive(Clone)]
struct Reaction {
    issuer: Arc<Mutex<Issuer>>,
    admin: AdminState,
    events: mpsc::Sender<Notice>,
    published: trust::Published,
}

impl Reaction {
    fn to(&self, change: impl FnOnce(&mut Issuer) -> Result<Outcome, Error>) {
        let mut issuer = self.issuer.lock();
        let outcome = change(&mut issuer);
        self.admin.set_ready(issuer.current().is_some());
        // Anchors that do not cover the issuer are kept from proxies, who would refuse each other.
        if let (Some(Ok(())), Some(bundle)) = (issuer.validate(), issuer.bundle()) {
            self.published.publish(bundle);
        }
        drop(issuer);
        tell(outcome, &self.events);
    }
}

fn watches(config: &Config, client: &Client, reaction: &Reaction) -> (Watching, Watching) {
    let named = |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}"));
    let namespace = &config.controller_namespace;
    let scheme = config.scheme;
    let on_secret = reaction.clone();
    let secrets = watch(
        Api::<Secret>::namespaced(client.clone(), namespace),
        named(ISSUER_SECRET),
        WatchState::new(),
        move |change| {
            on_secret.to(|issuer| match latest(&change) {
                Some(secret) => Ok(issuer.set_material(material_of(secret, scheme)?)),
                None => Err(absent("Secret", ISSUER_SECRET)),
            });
        },
    );
    let on_anchors = reaction.clone();
    let anchors = watch(
        Api::<ConfigMap>::namespaced(client.clone(), namespace),
        named(TRUST_ROOTS),
        WatchState::new(),
        move |change| {
            on_anchors.to(|issuer| match latest(&change) {
                Some(map) => Ok(issuer.set_bundle(bundle_of(map)?)),
                None => Err(absent("ConfigMap", TRUST_ROOTS)),
            });
        },
    );
    (Box::pin(secrets), Box::pin(anchors))
}

/// The watched object after a change, if it still exists.
fn latest<K>(change: &Change<K>) -> Option<&K> {
    match change {
        Change::Reset(objects) => objects.first(),
        Change::Apply(object) => Some(object),
        Change::Delete(_) => None,
    }
}

fn absent(kind: &str, name: &str) -> Error {
    Error::Material {
        object: format!("{kind} {name}"),
        reason: "does not exist; the one read before stays in force, if there was one".to_owned(),
    }
}

fn tell(outcome: Result<Outcome, Error>, events: &mpsc::Sender<Notice>) {
    let notice = match outcome {
        Ok(Outcome::Unchanged) => return,
        Ok(Outcome::Updated(message)) => {
            info!(detail = message, "issuer updated");
            Notice { kind: EventKind::Normal, reason: "IssuerUpdated", message }
        }
        Ok(Outcome::Skipped(message)) => {
            error!(detail = message, "issuer refused");
            Notice { kind: EventKind::Warning, reason: "IssuerUpdateSkipped", message }
        }
        Ok(Outcome::Broken(message)) => {
            error!(detail = message, "the issuer in force no longer verifies");
            Notice { kind: EventKind::Warning, reason: "IssuerValidationFailed", message }
        }
        Err(problem) => {
            error!(%problem, "issuer refused");
            Notice { kind: EventKind::Warning, reason: "IssuerUpdateSkipped", message: problem.to_string() }
        }
    };
    if events.try_send(notice).is_err() {
        warn!("too many events at once, one is not written");
    }
}

/// Writes notices as events on the Deployment, whose uid `kubectl describe` looks events up by.
async fn write_events(client: Client, config: Config, mut notices: mpsc::Receiver<Notice>) {
    use mesh_kube::k8s_openapi::api::apps::v1::Deployment;
    let deployments = Api::<Deployment>::namespaced(client.clone(), &config.controller_namespace);
    let events = Events::new(client, DEPLOYMENT);
    while let Some(notice) = notices.recv().await {
        let uid = deployments.get_opt(DEPLOYMENT).await.ok().flatten().and_then(|d| d.metadata.uid);
        let about = ObjectReference {
            api_version: Some("apps/v1".to_owned()),
            kind: Some("Deployment".to_owned()),
            name: Some(DEPLOYMENT.to_owned()),
            namespace: Some(config.controller_namespace.clone()),
            uid,
            ..ObjectReference::default()
        };
        if let Err(error) = events.record_on(about, notice.kind, notice.reason, &notice.message).await {
            warn!(%error, reason = notice.reason, "event not written");
        }
    }
}
