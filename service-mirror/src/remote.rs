//! The linked cluster as it is seen through the link's credentials: exported Services, how many endpoints stand
//! behind each, and the gateway's addresses.

use crate::federated::{ports_of, string_map};
use crate::link::{Accepted, GatewaySource};
use crate::model::{Key, RemoteService, Selector};
use crate::store::{Bell, Kind, Scope, Store};
use mesh_kube::Client;
use mesh_types::{labels, ports};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Watches of one linked cluster. Only what a selector selects is asked for, so that the cost does not depend on the
/// rest of that cluster.
pub(crate) struct Remote {
    services: Vec<Store>,
    slices: Vec<Store>,
    gateway: Option<(Key, Store)>,
}

/// What the gateway Service there says.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) hosts: Vec<String>,
    pub(crate) port: u16,
}

type Follow = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

impl Remote {
    /// Stores, and the futures that keep them true.
    pub(crate) fn new(client: &Client, accepted: &Accepted, bell: &Bell) -> (Self, Vec<Follow>) {
        let mut follows: Vec<Follow> = Vec::new();
        let mut start = |kind: Kind, scope: Scope| {
            let store = Store::new();
            follows.push(Box::pin(store.clone().follow(client.clone(), kind, scope, vec![bell.clone()])));
            store
        };
        let selectors = [&accepted.config.exported, &accepted.config.federated];
        let selectors: BTreeSet<String> = selectors.into_iter().filter_map(selector_text).collect();
        let services = selectors.iter().map(|s| start(Kind::Service, Scope::labels(s))).collect();
        // Kubernetes copies a Service's labels to its EndpointSlices, so the same selector finds them.
        let slices = selectors.iter().map(|s| start(Kind::EndpointSlice, Scope::labels(s))).collect();
        let gateway = match &accepted.gateway {
            GatewaySource::Service(key) => {
                Some((key.clone(), start(Kind::Service, Scope::named(&key.namespace, &key.name))))
            }
            GatewaySource::Pinned { .. } => None,
        };
        (Self { services, slices, gateway }, follows)
    }

    fn stores(&self) -> impl Iterator<Item = &Store> {
        self.services.iter().chain(&self.slices).chain(self.gateway.iter().map(|(_, s)| s))
    }

    /// Whether everything has been listed at least once.
    pub(crate) fn is_synced(&self) -> bool {
        self.stores().all(|s| s.state.is_synced())
    }

    /// Age of the oldest knowledge, and why it is old.
    pub(crate) fn stale(&self) -> Option<(Duration, String)> {
        let failing = self.stores().filter_map(|s| Some((s.state.stale_for(), s.state.last_error()?)));
        failing.max_by_key(|(age, _)| *age)
    }

    /// Exported Services and members with their ready endpoints.
    pub(crate) fn services(&self) -> BTreeMap<Key, RemoteService> {
        let ready = self.ready_endpoints();
        let all = self.services.iter().flat_map(Store::all);
        all.map(|(key, service)| {
            let count = ready.get(&key).copied().unwrap_or(0);
            (key.clone(), remote_service(key, &service, count))
        })
        .collect()
    }

    fn ready_endpoints(&self) -> BTreeMap<Key, u32> {
        let slices: BTreeMap<Key, Arc<Value>> = self.slices.iter().flat_map(Store::all).collect();
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
