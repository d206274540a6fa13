//! What the webhook knows of the cluster: its version, installed values, trust bundle, namespaces' annotations.

use crate::KubernetesVersion;
use crate::overlay::Annotations;
use crate::values::Values;
use mesh_kube::k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use mesh_kube::kube::Api;
use mesh_kube::kube::runtime::watcher;
use mesh_kube::{Change, Client, Events, WatchState, watch};
use mesh_metrics::{CounterFamily, Labels, Registry};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Notify;
use tracing::{debug, error, info};

const CONFIG: &str = "linkerd-config";
const TRUST_ROOTS: &str = "linkerd-identity-trust-roots";
/// A cluster's version changes when it is upgraded, API server by API server.
const VERSION_PERIOD: Duration = Duration::from_secs(60);
/// After a failure.
const VERSION_RETRY: Duration = Duration::from_secs(1);
/// The API server waits for the webhook, so the webhook does not wait long for the API server.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// Shared by all admissions.
pub(super) struct State {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) events: Events,
    requests: CounterFamily,
    responses: CounterFamily,
    known: RwLock<Known>,
    changed: Notify,
}

#[derive(Default)]
struct Known {
    values: Option<Arc<Values>>,
    trust_roots: Option<String>,
    version: Option<KubernetesVersion>,
    namespaces: Option<HashMap<String, Arc<Annotations>>>,
}

impl State {
    pub(super) fn new(client: Client, namespace: String, registry: &Registry) -> Self {
        let requests =
            registry.counter("proxy_inject_admission_requests", "Admission requests for pods and services");
        let responses =
            registry.counter("proxy_inject_admission_responses", "Answers, and why pods were left alone");
        Self {
            events: Events::new(client.clone(), super::COMPONENT),
            client,
            namespace,
            requests,
            responses,
            known: RwLock::default(),
            changed: Notify::new(),
        }
    }

    /// The values in force, once known: those installed, with the trust bundle and the cluster's version of this moment.
    pub(super) fn values(&self) -> Option<Values> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut values = (**known.values.as_ref()?).clone();
        if let Some(pem) = &known.trust_roots {
            values.identity_trust_anchors_pem.clone_from(pem);
        }
        values.kubernetes = known.version;
        Some(values)
    }

    /// A namespace's annotations. One that the watch has not told of yet is asked for: namespaces and their first pods
    /// are often created in one breath.
    pub(super) async fn annotations(&self, namespace: &str) -> Option<Arc<Annotations>> {
        if let Some(known) = self.known_annotations(namespace) {
            return Some(known);
        }
        let api: Api<Namespace> = Api::all(self.client.clone());
        match tokio::time::timeout(LOOKUP_TIMEOUT, api.get_metadata(namespace)).await {
            Ok(Ok(found)) => Some(Arc::new(found.metadata.annotations.unwrap_or_default())),
            Ok(Err(error)) => {
                debug!(namespace, reason = mesh_kube::explain(&error), "namespace not found");
                None
            }
            Err(_) => None,
        }
    }

    fn known_annotations(&self, namespace: &str) -> Option<Arc<Annotations>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.namespaces.as_ref()?.get(namespace).cloned()
    }

    /// Waits until version, values and namespaces are known.
    pub(super) async fn synced(&self) {
        loop {
            let changed = self.changed.notified();
            let known = {
                let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
                known.version.is_some() && known.values.is_some() && known.namespaces.is_some()
            };
            if known {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn count_request(&self, kind: &str, namespace: &str) {
        let labels =
            Labels::new().with("owner_kind", kind.to_lowercase()).with("namespace", namespace.to_owned());
        self.requests.get(&labels).inc();
    }

    pub(super) fn count_response(&self, kind: &str, namespace: &str, skip_reason: Option<&'static str>) {
        let labels = Labels::new()
            .with("owner_kind", kind.to_lowercase())
            .with("namespace", namespace.to_owned())
            .with("skip", if skip_reason.is_some() { "true" } else { "false" })
            .with("skip_reason", skip_reason.unwrap_or_default());
        self.responses.get(&labels).inc();
    }

    /// Follows the ConfigMaps of the control plane. Never ends.
    pub(super) async fn watch_config(self: Arc<Self>) {
        let one = |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}"));
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let config = watch(api.clone(), one(CONFIG), WatchState::new(), |change| {
            if let Some(text) = data(change, CONFIG, "values") {
                self.set_values(&text);
            }
        });
        let roots = watch(api, one(TRUST_ROOTS), WatchState::new(), |change| {
            if let Some(pem) = data(change, TRUST_ROOTS, "ca-bundle.crt") {
                info!("trust bundle read");
                self.update(|known| known.trust_roots = Some(pem));
            }
        });
        futures::future::join(config, roots).await;
    }

    /// Follows the version of the cluster. Never ends.
    pub(super) async fn watch_version(self: Arc<Self>) {
        loop {
            let pause = match self.client.apiserver_version().await {
                Ok(info) => {
                    let version = KubernetesVersion::parse(&info.major, &info.minor);
                    // A version that cannot be read has whatever a new one has.
                    let version = version.unwrap_or(KubernetesVersion { major: 1, minor: u32::MAX });
                    let known = self.known.read().unwrap_or_else(PoisonError::into_inner).version;
                    if known != Some(version) {
                        info!(
                            version = info.git_version,
                            native_sidecars = version.has_native_sidecars(),
                            "cluster"
                        );
                        self.update(|known| known.version = Some(version));
                    }
                    VERSION_PERIOD
                }
                Err(error) => {
                    debug!(reason = mesh_kube::explain(&error), "version of the cluster not read");
                    VERSION_RETRY
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Takes new values; unreadable ones leave the old in force.
    fn set_values(&self, text: &str) {
        match serde_saphyr::from_str::<Values>(text) {
            Ok(values) => {
                info!("configuration read");
                self.update(|known| known.values = Some(Arc::new(values)));
            }
            Err(reason) => {
                error!(%reason, "ConfigMap {CONFIG} is unreadable; the values before it stay in force")
            }
        }
    }

    /// Follows the namespaces. Never ends.
    pub(super) async fn watch_namespaces(self: Arc<Self>) {
        let api: Api<Namespace> = Api::all(self.client.clone());
        watch(api, watcher::Config::default(), WatchState::new(), |change| {
            self.update(|known| match change {
                Change::Reset(all) => known.namespaces = Some(all.into_iter().map(entry).collect()),
                Change::Apply(one) => {
                    let (name, annotations) = entry(one);
                    known.namespaces.get_or_insert_default().insert(name, annotations);
                }
                Change::Delete(one) => {
                    known.namespaces.get_or_insert_default().remove(&entry(one).0);
                }
            });
        })
        .await;
    }

    fn update(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_waiters();
    }
}

fn entry(namespace: Namespace) -> (String, Arc<Annotations>) {
    let meta = namespace.metadata;
    (meta.name.unwrap_or_default(), Arc::new(meta.annotations.unwrap_or_default()))
}

/// One key of one ConfigMap, from whatever change tells of it. A deletion changes nothing.
fn data(change: Change<ConfigMap>, name: &str, key: &str) -> Option<String> {
    let all = match change {
        Change::Reset(all) => all,
        Change::Apply(one) => vec![one],
        Change::Delete(_) => Vec::new(),
    };
    let map = all.into_iter().find(|m| m.metadata.name.as_deref() == Some(name))?;
    map.data?.remove(key)
}
