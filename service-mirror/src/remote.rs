//! The linked cluster as it is seen through the link's credentials: exported Services, how many endpoints stand
//! behind each, and the gateway's addresses.

use crate::federated::{ports_of, string_map};
use crate::link::{Accepted, GatewaySource};
use crate::model::{Key, RemoteService, Selector};
use crate::pulse::Pulse;
use crate::store::{Bell, Kind, Scope, Store};
use futures::future::{AbortHandle, BoxFuture};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use mesh_kube::Client;
use mesh_types::{labels, ports};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Watches of one linked cluster. Only what a selector selects is asked for, so that the cost does not depend on the
/// rest of that cluster.
pub(crate) struct Remote {
    client: Client,
    started: Instant,
    /// By selector.
    services: Vec<(String, Store)>,
    slices: Vec<(String, Store)>,
    /// Slices of exported Services without a selector. People write those, so they lack the labels by which the others
    /// are found.
    by_hand: Mutex<BTreeMap<Key, ByHand>>,
    gateway: Option<(Key, Store)>,
    pulse: Pulse,
}

struct ByHand {
    store: Store,
    stop: AbortHandle,
}

/// What the gateway Service there says.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) hosts: Vec<String>,
    pub(crate) port: u16,
}

impl Remote {
    /// Knows nothing until [`follow`](Self::follow) runs.
    pub(crate) fn new(client: Client, accepted: &Accepted) -> Self {
        let selectors = [&accepted.config.exported, &accepted.config.federated];
        let selectors: BTreeSet<String> = selectors.into_iter().filter_map(selector_text).collect();
        let stores = || selectors.iter().map(|s| (s.clone(), Store::new())).collect();
        let gateway = match &accepted.gateway {
            GatewaySource::Service(key) => Some((key.clone(), Store::new())),
            GatewaySource::Pinned { .. } => None,
        };
        Self {
            client,
            started: Instant::now(),
            services: stores(),
            // Kubernetes copies a Service's labels to its EndpointSlices, so the same selector finds them.
            slices: stores(),
            by_hand: Mutex::default(),
            gateway,
            pulse: Pulse::new(),
        }
    }

    /// Keeps everything true until dropped. After an outage all watches begin anew, since those that were open may
    /// hang on a connection that the other side has forgotten.
    pub(crate) async fn follow(&self, bell: &Bell) {
        let pulse = self.ask(bell);
        let watches = async {
            loop {
                tokio::select! {
                    () = self.watch(bell) => {}
                    () = self.pulse.recovered() => {}
                }
            }
        };
        tokio::join!(pulse, watches);
    }

    async fn ask(&self, bell: &Bell) {
        // One object that is always there costs the server next to nothing.
        let kubernetes = Key::new("default", "kubernetes");
        let key = self.gateway.as_ref().map_or(&kubernetes, |(key, _)| key);
        let api = Kind::Service.api(&self.client, &Scope::namespace(&key.namespace));
        self.pulse.ask(api, &key.name, bell).await;
    }

    async fn watch(&self, bell: &Bell) {
        let changed = Bell::default();
        let mut follows: Vec<BoxFuture<'_, ()>> = Vec::new();
        let mut start = |store: &Store, kind: Kind, scope: Scope, bells: Vec<Bell>| {
            follows.push(store.clone().follow(self.client.clone(), kind, scope, bells).boxed());
        };
        for (selector, store) in &self.services {
            start(store, Kind::Service, Scope::labels(selector), vec![bell.clone(), changed.clone()]);
        }
        for (selector, store) in &self.slices {
            start(store, Kind::EndpointSlice, Scope::labels(selector), vec![bell.clone()]);
        }
        if let Some((key, store)) = &self.gateway {
            start(store, Kind::Service, Scope::named(&key.namespace, &key.name), vec![bell.clone()]);
        }
        follows.push(self.follow_by_hand(&changed, bell).boxed());
        futures::future::join_all(follows).await;
    }

    /// Watches the slices of each Service without a selector, by its name.
    async fn follow_by_hand(&self, services_changed: &Bell, bell: &Bell) {
        let mut running = FuturesUnordered::new();
        self.by_hand.lock().clear();
        loop {
            {
                let wanted = self.without_selector();
                let mut known = self.by_hand.lock();
                known.retain(|key, by_hand| {
                    let kept = wanted.contains(key);
                    if !kept {
                        by_hand.stop.abort();
                    }
                    kept
                });
                for key in wanted {
                    if known.contains_key(&key) {
                        continue;
                    }
                    let store = Store::new();
                    let scope = Scope {
                        labels: Some(format!("{}={}", labels::SERVICE_NAME, key.name)),
                        ..Scope::namespace(&key.namespace)
                    };
                    let follow = store.clone().follow(
                        self.client.clone(),
                        Kind::EndpointSlice,
                        scope,
                        vec![bell.clone()],
                    );
                    let (follow, stop) = futures::future::abortable(follow);
                    running.push(follow);
                    known.insert(key, ByHand { store, stop });
                }
            }
            tokio::select! {
                () = services_changed.rung() => {}
                Some(_) = running.next() => {}
            }
        }
    }

    fn without_selector(&self) -> BTreeSet<Key> {
        let all = self.services.iter().flat_map(|(_, s)| s.all());
        let by_hand = |service: &Value| {
            let spec = &service["spec"];
            spec["selector"].as_object().is_none_or(serde_json::Map::is_empty)
                && spec["type"] != "ExternalName"
        };
        all.filter(|(_, service)| by_hand(service)).map(|(key, _)| key).collect()
    }

    fn stores(&self) -> impl Iterator<Item = &Store> {
        let selected = self.services.iter().chain(&self.slices).map(|(_, store)| store);
        selected.chain(self.gateway.iter().map(|(_, s)| s))
    }

    /// Whether everything has been listed at least once.
    pub(crate) fn is_synced(&self) -> bool {
        let by_hand = || {
            let known = self.by_hand.lock();
            self.without_selector().iter().all(|k| known.get(k).is_some_and(|b| b.store.state.is_synced()))
        };
        self.stores().all(|s| s.state.is_synced()) && by_hand()
    }

    /// Age of the oldest knowledge, and why it is old.
    pub(crate) fn stale(&self) -> Option<(Duration, String)> {
        let failing = self.stores().filter_map(|s| Some((s.state.stale_for(), s.state.last_error()?)));
        failing.chain(self.pulse.silent(self.started.elapsed())).max_by_key(|(age, _)| *age)
    }

    /// When the API there last answered.
    pub(crate) fn answered(&self) -> Option<Instant> {
        self.pulse.answered()
    }

    /// Exported Services and members with their ready endpoints.
    pub(crate) fn services(&self) -> BTreeMap<Key, RemoteService> {
        let ready = self.ready_endpoints();
        let all = self.services.iter().flat_map(|(_, s)| s.all());
        all.map(|(key, service)| {
            let count = ready.get(&key).copied().unwrap_or(0);
            (key.clone(), remote_service(key, &service, count))
        })
        .collect()
    }

    fn ready_endpoints(&self) -> BTreeMap<Key, u32> {
        let mut slices: BTreeMap<Key, Arc<Value>> = self.slices.iter().flat_map(|(_, s)| s.all()).collect();
        slices.extend(self.by_hand.lock().values().flat_map(|b| b.store.all()));
        let mut addresses: BTreeMap<Key, BTreeSet<String>> = BTreeMap::new();
        for (key, slice) in &slices {
            let Some(service) = slice["metadata"]["labels"][labels::SERVICE_NAME].as_str() else { continue };
            let ready = addresses.entry(Key::new(&key.namespace, service)).or_default();
            for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
                if endpoint["conditions"]["ready"].as_bool() != Some(false) {
                    let all = endpoint["addresses"].as_array().into_iter().flatten();
                    ready.extend(all.filter_map(|a| a.as_str().map(str::to_owned)));
                }
            }
        }
        addresses.into_iter().map(|(k, set)| (k, u32::try_from(set.len()).unwrap_or(u32::MAX))).collect()
    }

    /// The gateway as its Service publishes it; `None` when the Link pins it, or the Service is not there.
    pub(crate) fn published(&self) -> Option<Published> {
        let (key, store) = self.gateway.as_ref()?;
        Some(published(&*store.get(key)?))
    }
}

/// Load-balancer addresses first; a NodePort gateway is reached by its external addresses, and any by its own
/// `externalIPs`.
fn published(service: &Value) -> Published {
    let text = |v: &Value| v.as_str().filter(|s| !s.is_empty()).map(str::to_owned);
    let ingress = service["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten();
    let mut hosts: Vec<String> =
        ingress.filter_map(|i| text(&i["ip"]).or_else(|| text(&i["hostname"]))).collect();
    if hosts.is_empty() {
        hosts = service["spec"]["externalIPs"].as_array().into_iter().flatten().filter_map(text).collect();
    }
    let mut declared = service["spec"]["ports"].as_array().into_iter().flatten();
    let port = declared.find(|p| p["name"] == "mc-gateway").and_then(|p| p["port"].as_u64());
    let port = port.and_then(|p| u16::try_from(p).ok()).unwrap_or(ports::INBOUND);
    Published { hosts, port }
}

fn remote_service(key: Key, service: &Value, ready_endpoints: u32) -> RemoteService {
    let (meta, spec) = (&service["metadata"], &service["spec"]);
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    RemoteService {
        key,
        resource_version: text(&meta["resourceVersion"]),
        created: text(&meta["creationTimestamp"]),
        labels: string_map(&meta["labels"]),
        annotations: string_map(&meta["annotations"]),
        ports: ports_of(service),
        headless: spec["clusterIP"] == "None",
        external_name: spec["type"] == "ExternalName",
        traffic_distribution: spec["trafficDistribution"].as_str().map(str::to_owned),
        ready_endpoints,
    }
}

/// A selector as the API takes it; `None` for one that selects nothing.
fn selector_text(selector: &Selector) -> Option<String> {
    let labels = selector.match_labels.iter().map(|(k, v)| format!("{k}={v}"));
    let expressions = selector.match_expressions.iter().map(|e| match e.operator.as_str() {
        "In" => format!("{} in ({})", e.key, e.values.join(",")),
        "NotIn" => format!("{} notin ({})", e.key, e.values.join(",")),
        "DoesNotExist" => format!("!{}", e.key),
        _ => e.key.clone(),
    });
    let all: Vec<String> = labels.chain(expressions).collect();
    (!all.is_empty()).then(|| all.join(","))
}

/// Addresses of host names and of literal addresses, without repeats, in a stable order.
pub(crate) async fn resolve(hosts: &[String]) -> Vec<IpAddr> {
    let mut addresses = BTreeSet::new();
    for host in hosts {
        if let Ok(ip) = host.parse() {
            addresses.insert(ip);
        } else if let Ok(found) = tokio::net::lookup_host((host.as_str(), 0)).await {
            addresses.extend(found.map(|a| a.ip()));
        }
    }
    addresses.into_iter().collect()
}

#[cfg(test)]
mod tests;
