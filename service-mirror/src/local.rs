//! The own cluster as all links and the federated planner see it: one watch of each kind, shared.

use crate::federated::{FEDERATED_SERVICE, FederatedWorld};
use crate::model::Key;
use crate::store::{Bell, Kind, Scope, Store};
use mesh_kube::Client;
use mesh_kube::link::LinkStatus;
use mesh_runtime::Shutdown;
use mesh_types::labels;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The Secret type of a link's credentials.
const CREDENTIALS_TYPE: &str = "mirror.linkerd.io/remote-kubeconfig";

/// Watches of the own cluster. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Local {
    pub(crate) links: Store,
    pub(crate) mirrored_services: Store,
    pub(crate) mirrored_slices: Store,
    members: Store,
    namespaces: Store,
    secrets: Store,
    trust: Store,
    trust_key: Key,
    listeners: Arc<Mutex<Vec<Bell>>>,
}

impl Local {
    /// Starts all watches; `bell` and every later listener is rung at each change.
    pub(crate) fn start(
        client: &Client,
        namespace: &str,
        control_plane: &str,
        bell: &Bell,
        shutdown: &Shutdown,
    ) -> Self {
        let relay = Bell::default();
        let follow = |kind: Kind, scope: Scope| {
            let store = Store::new();
            let future = store.clone().follow(client.clone(), kind, scope, vec![relay.clone()]);
            drop(shutdown.spawn_until_drain("watch", future));
            store
        };
        let mirrored = || Scope::labels(format!("{}=true", labels::MIRRORED_SERVICE));
        let trust_key = Key::new(control_plane, "linkerd-identity-trust-roots");
        let local = Self {
            links: follow(Kind::Link, Scope::namespace(namespace)),
            mirrored_services: follow(Kind::Service, mirrored()),
            mirrored_slices: follow(Kind::EndpointSlice, mirrored()),
            members: follow(Kind::Service, Scope::labels(format!("{}=member", labels::FEDERATED))),
            namespaces: follow(Kind::Namespace, Scope::default()),
            secrets: follow(
                Kind::Secret,
                Scope { fields: Some(format!("type={CREDENTIALS_TYPE}")), ..Scope::namespace(namespace) },
            ),
            trust: follow(Kind::ConfigMap, Scope::named(&trust_key.namespace, &trust_key.name)),
            trust_key,
            listeners: Arc::new(Mutex::new(vec![bell.clone()])),
        };
        let listeners = Arc::clone(&local.listeners);
        drop(shutdown.spawn_until_drain("bell", async move {
            loop {
                relay.rung().await;
                // A bell nobody else holds has no listener any more.
                listeners.lock().retain(|listener: &Bell| {
                    listener.ring();
                    listener.is_held()
                });
            }
        }));
        local
    }

    /// A bell that is rung at every change from now on.
    pub(crate) fn listen(&self) -> Bell {
        let bell = Bell::default();
        self.listeners.lock().push(bell.clone());
        bell
    }

    /// Whether everything that plans compare with has been listed.
    pub(crate) fn is_synced(&self) -> bool {
        [
            &self.links,
            &self.mirrored_services,
            &self.mirrored_slices,
            &self.members,
            &self.namespaces,
            &self.secrets,
        ]
        .iter()
        .all(|s| s.state.is_synced())
    }

    /// Namespaces that are not being deleted.
    pub(crate) fn namespaces(&self) -> BTreeSet<String> {
        let all = self.namespaces.all().into_iter();
        let living = all.filter(|(_, n)| n["metadata"]["deletionTimestamp"].is_null());
        living.map(|(key, _)| key.name).collect()
    }

    pub(crate) fn secret(&self, key: &Key) -> Option<Arc<Value>> {
        self.secrets.get(key)
    }

    /// The PEM text of the trust anchors in force.
    pub(crate) fn trust_bundle(&self) -> Option<String> {
        let object = self.trust.get(&self.trust_key)?;
        object["data"]["ca-bundle.crt"].as_str().map(str::to_owned)
    }

    /// The status a Link has now.
    pub(crate) fn link_status(&self, key: &Key) -> LinkStatus {
        let link = self.links.get(key);
        link.and_then(|l| serde_json::from_value(l["status"].clone()).ok()).unwrap_or_default()
    }

    /// What the federated planner reads.
    pub(crate) fn federated_world(&self) -> FederatedWorld {
        let federated = |o: &Value| o["metadata"]["labels"][FEDERATED_SERVICE] == "true";
        let services = self.mirrored_services.all();
        let (ours, mirrors): (BTreeMap<_, _>, BTreeMap<_, _>) =
            services.into_iter().partition(|(_, o)| federated(o));
        let slices = self.mirrored_slices.all();
        let member = |o: &Value| !o["metadata"]["annotations"][crate::objects::MEMBER_PORTS].is_null();
        FederatedWorld {
            synced: self.is_synced(),
            local_members: self.members.all(),
            member_slices: slices
                .iter()
                .filter(|(_, o)| member(o))
                .map(|(k, o)| (k.clone(), Arc::clone(o)))
                .collect(),
            services: ours,
            mirrored_services: mirrors,
            mirrored_slices: slices,
            clusters: self.clusters(),
        }
    }

    /// Linked clusters with the shortest round trip to a living gateway address.
    fn clusters(&self) -> BTreeMap<String, Option<Duration>> {
        let links = self.links.all();
        let clusters = links.iter().filter_map(|(key, link)| {
            let name = link["spec"]["targetClusterName"].as_str()?;
            let gateway = self.link_status(key).gateway.unwrap_or_default();
            let nearest = gateway.nearest().and_then(|a| a.rtt_ms).filter(|ms| *ms >= 0.0);
            Some((name.to_owned(), nearest.map(|ms| Duration::from_secs_f64(ms / 1000.0))))
        });
        clusters.collect()
    }
}
