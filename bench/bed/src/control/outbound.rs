//! What the policy and destination services say of a service: one default route, to meshed endpoints.

use super::Endpoint;
use mesh_api::destination::{
    AddrSet, NoEndpoints, ProtocolHint, TlsIdentity, WeightedAddr, WeightedAddrSet, protocol_hint,
    tls_identity, update,
};
use mesh_api::meta::{Metadata, metadata};
use mesh_api::net::TcpAddress;
use mesh_api::outbound::{self as api, OutboundPolicy, proxy_protocol};
use mesh_types::ports;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// What the policy room of this project sets for a service without annotations.
const DETECT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_RTT: Duration = Duration::from_millis(30);
const DECAY: Duration = Duration::from_secs(10);
const QUEUE: u32 = 100;
const FAILFAST: Duration = Duration::from_secs(3);
const WEIGHT: u32 = 10_000;
/// What it sets for a service with failover: failures in a row, the least and the longest ejection, and its jitter.
const MAX_FAILURES: u32 = 7;
const PENALTY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
const PENALTY_JITTER: f32 = 0.5;

pub(super) fn named(name: &str) -> Metadata {
    Metadata { kind: Some(metadata::Kind::Default(name.to_owned())) }
}

/// HTTP or opaque, found out. Endpoints that fail must be left for the next tier where there is one.
pub(super) fn detected(paths: &[String]) -> OutboundPolicy {
    let (http, failure_accrual) = (vec![http_route(paths)], (paths.len() > 1).then(consecutive));
    policy(proxy_protocol::Kind::Detect(proxy_protocol::Detect {
        timeout: DETECT_TIMEOUT.try_into().ok(),
        opaque: Some(proxy_protocol::Opaque { routes: vec![opaque_route(paths)] }),
        http1: Some(proxy_protocol::Http1 { routes: http.clone(), failure_accrual }),
        http2: Some(proxy_protocol::Http2 { routes: http, failure_accrual }),
    }))
}

/// Bytes.
pub(super) fn opaque(paths: &[String]) -> OutboundPolicy {
    policy(proxy_protocol::Kind::Opaque(proxy_protocol::Opaque { routes: vec![opaque_route(paths)] }))
}

fn consecutive() -> api::FailureAccrual {
    use api::failure_accrual::{ConsecutiveFailures, Kind};
    let backoff = api::ExponentialBackoff {
        min_backoff: PENALTY.0.try_into().ok(),
        max_backoff: PENALTY.1.try_into().ok(),
        jitter_ratio: PENALTY_JITTER,
        respect_retry_after_hint: false,
    };
    let failures = ConsecutiveFailures { max_failures: MAX_FAILURES, backoff: Some(backoff) };
    api::FailureAccrual { kind: Some(Kind::ConsecutiveFailures(failures)), ejection: None }
}

fn policy(kind: proxy_protocol::Kind) -> OutboundPolicy {
    OutboundPolicy { protocol: Some(api::ProxyProtocol { kind: Some(kind) }), metadata: Some(named("app")) }
}

fn http_route(paths: &[String]) -> api::HttpRoute {
    use api::http_route::{Distribution, RouteBackend, Rule, distribution};
    let tier = |path: &String| RouteBackend { backend: Some(backend(path)), ..RouteBackend::default() };
    let first = distribution::FirstAvailable { backends: paths.iter().map(tier).collect() };
    let rule = Rule {
        matches: vec![mesh_api::http_route::HttpRouteMatch {
            path: Some(mesh_api::http_route::PathMatch {
                kind: Some(mesh_api::http_route::path_match::Kind::Prefix("/".to_owned())),
            }),
            ..Default::default()
        }],
        backends: Some(Distribution { kind: Some(distribution::Kind::FirstAvailable(first)) }),
        ..Rule::default()
    };
    api::HttpRoute { metadata: Some(named("http")), hosts: Vec::new(), rules: vec![rule] }
}

fn opaque_route(paths: &[String]) -> api::OpaqueRoute {
    use api::opaque_route::{Distribution, RouteBackend, Rule, distribution};
    let tier = |path: &String| RouteBackend { backend: Some(backend(path)), filters: Vec::new() };
    let first = distribution::FirstAvailable { backends: paths.iter().map(tier).collect() };
    let rule = Rule {
        backends: Some(Distribution { kind: Some(distribution::Kind::FirstAvailable(first)) }),
        filters: Vec::new(),
    };
    api::OpaqueRoute { metadata: Some(named("opaque")), rules: vec![rule] }
}

fn backend(path: &str) -> api::Backend {
    use api::backend::balance_p2c::{Load, PeakEwma};
    use api::backend::endpoint_discovery::{DestinationGet, Kind};
    use api::backend::{BalanceP2c, EndpointDiscovery};
    let load = PeakEwma { default_rtt: DEFAULT_RTT.try_into().ok(), decay: DECAY.try_into().ok() };
    let get = Kind::Dst(DestinationGet { path: path.to_owned() });
    let balancer = BalanceP2c {
        discovery: Some(EndpointDiscovery { kind: Some(get) }),
        load: Some(Load::PeakEwma(load)),
    };
    api::Backend {
        metadata: Some(named(path)),
        queue: Some(api::Queue { capacity: QUEUE, failfast_timeout: FAILFAST.try_into().ok() }),
        kind: Some(api::backend::Kind::Balancer(balancer)),
    }
}

/// The updates that lead from what was sent to what is wanted.
pub(super) fn difference(sent: &[Endpoint], wanted: &[Endpoint], opaque: bool) -> Vec<update::Update> {
    if wanted.is_empty() {
        return vec![update::Update::NoEndpoints(NoEndpoints { exists: true })];
    }
    let known: std::collections::HashSet<_> = sent.iter().collect();
    let still: std::collections::HashSet<_> = wanted.iter().collect();
    let new: Vec<_> =
        wanted.iter().filter(|e| !known.contains(e)).map(|e| weighted_addr(*e, opaque)).collect();
    let gone: Vec<_> =
        sent.iter().filter(|e| !still.contains(e)).map(|(ip, port, _)| address(*ip, *port)).collect();
    let mut updates = Vec::new();
    if !new.is_empty() {
        updates.push(update::Update::Add(WeightedAddrSet { addrs: new, metric_labels: HashMap::new() }));
    }
    if !gone.is_empty() {
        updates.push(update::Update::Remove(AddrSet { addrs: gone }));
    }
    updates
}

fn address(ip: Ipv4Addr, port: u16) -> TcpAddress {
    TcpAddress { ip: Some(IpAddr::from(ip).into()), port: u32::from(port) }
}

fn weighted_addr((ip, port, identity): Endpoint, opaque: bool) -> WeightedAddr {
    let name = tls_identity::DnsLikeIdentity { name: identity.to_owned() };
    let protocol = if opaque {
        protocol_hint::Protocol::Opaque(protocol_hint::Opaque {})
    } else {
        protocol_hint::Protocol::H2(protocol_hint::H2 {})
    };
    let transport = protocol_hint::OpaqueTransport { inbound_port: u32::from(ports::INBOUND) };
    WeightedAddr {
        addr: Some(address(ip, port)),
        weight: WEIGHT,
        tls_identity: Some(TlsIdentity {
            strategy: Some(tls_identity::Strategy::DnsLikeIdentity(name.clone())),
            server_name: Some(name),
        }),
        protocol_hint: Some(ProtocolHint { opaque_transport: Some(transport), protocol: Some(protocol) }),
        ..WeightedAddr::default()
    }
}
