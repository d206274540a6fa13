//! Views as messages of the API: what was last sent against what is so now.

use crate::index::{Endpoint, EndpointsView, Hint, ProfileView};
use mesh_api::convert::{dns_identity, duration, object_metadata};
use mesh_api::destination::{
    AddrSet, AuthorityOverride, DestinationProfile, Http2ClientParams, NoEndpoints, ProtocolHint,
    RetryBudget, Update, WeightedAddr, WeightedAddrSet, http2_client_params, protocol_hint, update,
};
use mesh_api::meta;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Pings keep meshed HTTP/2 connections known to be alive; Linkerd's defaults.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);

type Endpoints = BTreeMap<SocketAddr, Arc<Endpoint>>;

/// Where a client is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Its node.
    pub node: String,
    /// Its zone, where it is known.
    pub zone: Option<String>,
}

/// What a client at `place` may use of a view. Zone hints are followed as kube-proxy follows them: only where every
/// endpoint has them and one of them is for the client's zone.
fn usable(view: &EndpointsView, place: &Place) -> Endpoints {
    let on_node = |e: &Endpoint| !view.node_local || e.node.as_deref() == Some(place.node.as_str());
    let all: Endpoints =
        view.endpoints.iter().filter(|(_, e)| on_node(e)).map(|(a, e)| (*a, Arc::clone(e))).collect();
    let Some(zone) = &place.zone else { return all };
    if all.values().any(|e| e.for_zones.is_empty()) {
        return all;
    }
    let near = all.iter().filter(|(_, e)| e.for_zones.contains(zone));
    let near: Endpoints = near.map(|(a, e)| (*a, Arc::clone(e))).collect();
    if near.is_empty() { all } else { near }
}

/// The updates that lead a client at `place` from the view sent last to the present one.
pub fn updates(sent: Option<&EndpointsView>, now: &EndpointsView, place: &Place) -> Vec<Update> {
    let after = usable(now, place);
    let before = sent.map(|view| usable(view, place)).unwrap_or_default();
    if after.is_empty() {
        let told = sent.is_some_and(|s| before.is_empty() && s.exists == now.exists);
        return if told { Vec::new() } else { vec![no_endpoints(now.exists)] };
    }
    let mut updates = Vec::new();
    let added: Vec<_> = after.iter().filter(|(addr, e)| before.get(addr) != Some(e)).collect();
    if !added.is_empty() {
        updates.push(add(now, &added));
    }
    let removed: Vec<_> =
        before.keys().filter(|addr| !after.contains_key(addr)).map(|a| (*a).into()).collect();
    if !removed.is_empty() {
        updates.push(Update { update: Some(update::Update::Remove(AddrSet { addrs: removed })) });
    }
    updates
}

fn no_endpoints(exists: bool) -> Update {
    Update { update: Some(update::Update::NoEndpoints(NoEndpoints { exists })) }
}

fn add(view: &EndpointsView, added: &[(&SocketAddr, &Arc<Endpoint>)]) -> Update {
    let mut metric_labels = HashMap::new();
    if let Some(service) = &view.service {
        metric_labels.insert("service".to_owned(), service.name.clone());
        metric_labels.insert("namespace".to_owned(), service.namespace.clone());
    }
    let addrs = added.iter().map(|(addr, endpoint)| weighted_addr(**addr, endpoint)).collect();
    Update { update: Some(update::Update::Add(WeightedAddrSet { addrs, metric_labels })) }
}

fn weighted_addr(addr: SocketAddr, endpoint: &Endpoint) -> WeightedAddr {
    let meshed = endpoint.hint != Hint::Unknown;
    WeightedAddr {
        addr: Some(addr.into()),
        weight: endpoint.weight,
        metric_labels: endpoint.labels.clone().into_iter().collect(),
        tls_identity: endpoint.identity.as_deref().map(dns_identity),
        protocol_hint: meshed.then(|| hint(endpoint)),
        authority_override: endpoint
            .authority_override
            .clone()
            .map(|authority_override| AuthorityOverride { authority_override }),
        http2: meshed.then(keep_alive),
        resource_ref: endpoint
            .pod
            .as_ref()
            .map(|p| object_metadata("Pod", &p.namespace, &p.name, addr.port())),
    }
}

fn hint(endpoint: &Endpoint) -> ProtocolHint {
    let protocol = match endpoint.hint {
        Hint::H2 => Some(protocol_hint::Protocol::H2(protocol_hint::H2 {})),
        Hint::Opaque => Some(protocol_hint::Protocol::Opaque(protocol_hint::Opaque {})),
        Hint::Meshed | Hint::Unknown => None,
    };
    let transport = |port: u16| protocol_hint::OpaqueTransport { inbound_port: u32::from(port) };
    ProtocolHint { protocol, opaque_transport: endpoint.transport_port.map(transport) }
}

fn keep_alive() -> Http2ClientParams {
    Http2ClientParams {
        keep_alive: Some(http2_client_params::KeepAlive {
            interval: Some(duration(KEEPALIVE_INTERVAL)),
            timeout: Some(duration(KEEPALIVE_TIMEOUT)),
            while_idle: true,
        }),
        ..Http2ClientParams::default()
    }
}

/// The profile of a view.
pub fn profile(view: &ProfileView) -> DestinationProfile {
    let plain = DestinationProfile { retry_budget: Some(default_budget()), ..DestinationProfile::default() };
    match view {
        ProfileView::Service { service, port, name, opaque } => DestinationProfile {
            fully_qualified_name: name.clone(),
            opaque_protocol: *opaque,
            parent_ref: Some(service_ref(&service.namespace, &service.name, *port)),
            ..plain
        },
        ProfileView::Pod { addr, endpoint, opaque } => DestinationProfile {
            endpoint: Some(weighted_addr(*addr, endpoint)),
            opaque_protocol: *opaque,
            ..plain
        },
        ProfileView::Unknown { opaque } => DestinationProfile { opaque_protocol: *opaque, ..plain },
        ProfileView::UndefinedPort | ProfileView::NoService => plain,
    }
}

fn service_ref(namespace: &str, name: &str, port: u16) -> meta::Metadata {
    object_metadata("Service", namespace, name, port)
}

/// Linkerd's default: a fifth more requests, at least ten a second, counted over ten seconds.
fn default_budget() -> RetryBudget {
    RetryBudget { retry_ratio: 0.2, min_retries_per_second: 10, ttl: Some(duration(Duration::from_secs(10))) }
}

#[cfg(test)]
mod tests;
