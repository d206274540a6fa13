//! How traffic to a Service is sent, as the message that its clients' proxies are sent.

mod routes;

use crate::model::{Key, Order, Service};
use mesh_api::convert::object_metadata;
use mesh_api::outbound::OutboundPolicy;
use mesh_types::{LOCAL_MEMBER, OpaquePorts};
use routes::{Routes, forbidden, forwarded};
use std::collections::BTreeSet;

/// What answers depend on besides the cluster's objects.
#[derive(Debug, Clone)]
pub struct OutboundSettings {
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// Ports that are opaque where no annotation says otherwise.
    pub default_opaque: OpaquePorts,
    /// Whether clients may set timeouts and retries by headers.
    pub allow_l5d_request_headers: bool,
}

/// A Service with what is known of its members.
pub struct Target<'a> {
    /// Its key.
    pub key: &'a Key,
    /// The Service.
    pub service: &'a Service,
    /// Linked clusters that have a member of it.
    pub clusters: BTreeSet<&'a str>,
    /// The port asked for.
    pub port: u16,
    /// One member of a federated Service alone.
    pub part: Option<&'a str>,
}

/// The policy for a port of a Service; `gateway` when a gateway asks, which may forward to exported services only.
pub fn policy(settings: &OutboundSettings, target: &Target<'_>, gateway: bool) -> OutboundPolicy {
    let Target { key, service, port, .. } = target;
    let metadata = object_metadata("Service", &key.namespace, &key.name, *port);
    if service.port(*port).is_none() {
        return forbidden(metadata, "undefined-port", &format!("Service {key} has no port {port}"));
    }
    if gateway && let Some(reason) = refusal(target) {
        return forbidden(metadata, "not-exported", &reason);
    }
    let order = service.tiers.as_ref().filter(|_| target.part.is_none());
    let tiers = order.map(|order| tiers(order, service.local_member, &target.clusters)).unwrap_or_default();
    let authority = |part: Option<&str>| {
        let part = part.map(|p| format!("{p}.")).unwrap_or_default();
        format!("{part}{}.{}.svc.{}:{port}", key.name, key.namespace, settings.cluster_domain)
    };
    let backends = if tiers.is_empty() {
        vec![(target.part.unwrap_or_default().to_owned(), authority(target.part))]
    } else {
        tiers.iter().map(|cluster| ((*cluster).to_owned(), authority(Some(cluster)))).collect()
    };
    forwarded(&Routes {
        metadata,
        backends,
        protocol: service.protocol(*port, &settings.default_opaque),
        balance: &service.balance,
        tiered: order.is_some(),
        allow_l5d_request_headers: settings.allow_l5d_request_headers,
    })
}

/// Why a gateway may not forward to a Service; `None` when it may.
fn refusal(target: &Target<'_>) -> Option<String> {
    let Target { key, service, .. } = target;
    if service.mirrored || service.federated {
        return Some(format!(
            "Service {key} stands for other clusters; a gateway serves its own cluster only"
        ));
    }
    if !service.exported {
        return Some(format!("Service {key} is not exported"));
    }
    None
}

/// The members in the order they are tried: the local one first unless people order otherwise, then the clusters that
/// people name, then those that are left, by distance.
fn tiers<'a>(order: &'a Order, local: bool, clusters: &BTreeSet<&'a str>) -> Vec<&'a str> {
    let mut tiers: Vec<&str> = Vec::new();
    let named = order.wanted.iter().map(String::as_str);
    let measured = order.measured.iter().map(String::as_str);
    let first = Some(LOCAL_MEMBER).filter(|l| !order.wanted.iter().any(|w| w == l));
    for name in first.into_iter().chain(named).chain(measured).chain(clusters.iter().copied()) {
        let exists = if name == LOCAL_MEMBER { local } else { clusters.contains(name) };
        if exists && !tiers.contains(&name) {
            tiers.push(name);
        }
    }
    tiers
}

#[cfg(test)]
mod tests;
