//! What the webhook knows of the cluster: installed values, trust bundle, namespaces' annotations.

use crate::overlay::Annotations;
use crate::values::Values;
use mesh_kube::k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use mesh_kube::kube::Api;
use mesh_kube::kube::runtime::watcher;
use mesh_kube::{Change, Client, Events, WatchState, watch};
use mesh_metrics::{CounterFamily, Labels, Registry};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::Notify;
use tracing::{error, info};

const CONFIG: &str = "linkerd-config";
const TRUST_ROOTS: &str = "linkerd-identity-trust-roots";

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

    /// The values in force, once known: those installed, with the trust bundle of this moment.
    pub(super) fn values(&self) -> Option<Arc<Values>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let values = known.values.clone()?;
        match &known.trust_roots {
            Some(pem) if *pem != values.identity_trust_anchors_pem => {
                let identity_trust_anchors_pem = pem.clone();
                Some(Arc::new(Values { identity_trust_anchors_pem, ..(*values).clone() }))
            }
            _ => Some(values),
        }
    }

    /// A namespace's annotations; none for one that is not known yet.
    pub(super) fn annotations(&self, namespace: &str) -> Option<Arc<Annotations>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.namespaces.as_ref()?.get(namespace).cloned()
    }

    /// Waits until values and namespaces are known.
    pub(super) async fn synced(&self) {
        loop {
            let changed = self.changed.notified();
            let known = {
                let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
                known.values.is_some() && known.namespaces.is_some()
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
