//! Outbound policy and destination services: they say what the test sets, and what changes.

use futures::stream::BoxStream;
use mesh_api::destination::destination_server::Destination;
use mesh_api::destination::{
    AddrSet, AuthorityOverride, DestinationProfile, GetDestination, NoEndpoints, ProtocolHint, TlsIdentity,
    Update, WeightedAddr, WeightedAddrSet, protocol_hint, tls_identity, update,
};
use mesh_api::net::TcpAddress;
use mesh_api::outbound::outbound_policies_server::OutboundPolicies;
use mesh_api::outbound::{self as api, OutboundPolicy, TrafficSpec, proxy_protocol, traffic_spec};
use mesh_api::tonic::{self, Request, Response, Status};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, WatchStream};

/// Policies by address or authority, endpoints by destination path.
#[derive(Clone, Default)]
pub(crate) struct Destinations(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    policies: HashMap<String, watch::Sender<Option<OutboundPolicy>>>,
    endpoints: HashMap<String, watch::Sender<Option<Vec<WeightedAddr>>>>,
}

impl Destinations {
    /// Sets the policy of `target`, an address or an authority.
    pub(crate) async fn set_policy(&self, target: &str, policy: OutboundPolicy) {
        self.policy(target).await.send_replace(Some(policy));
    }

    /// Sets the endpoints of a destination path.
    pub(crate) async fn set_endpoints(&self, path: &str, endpoints: Vec<WeightedAddr>) {
        self.endpoints(path).await.send_replace(Some(endpoints));
    }

    async fn policy(&self, target: &str) -> watch::Sender<Option<OutboundPolicy>> {
        let mut state = self.0.lock().await;
        state.policies.entry(target.to_owned()).or_insert_with(|| watch::Sender::new(None)).clone()
    }

    async fn endpoints(&self, path: &str) -> watch::Sender<Option<Vec<WeightedAddr>>> {
        let mut state = self.0.lock().await;
        state.endpoints.entry(path.to_owned()).or_insert_with(|| watch::Sender::new(None)).clone()
    }
}

#[tonic::async_trait]
impl OutboundPolicies for Destinations {
    type WatchStream = BoxStream<'static, Result<OutboundPolicy, Status>>;

    async fn get(&self, _: Request<TrafficSpec>) -> Result<Response<OutboundPolicy>, Status> {
        Err(Status::unimplemented("proxies watch"))
    }

    async fn watch(&self, spec: Request<TrafficSpec>) -> Result<Response<Self::WatchStream>, Status> {
        let target = match spec.into_inner().target {
            Some(traffic_spec::Target::Authority(authority)) => authority,
            Some(traffic_spec::Target::Addr(TcpAddress { ip: Some(ip), port })) => {
                let ip = IpAddr::try_from(ip).map_err(|e| Status::invalid_argument(e.to_string()))?;
                format!("{ip}:{port}")
            }
            _ => return Err(Status::invalid_argument("no target")),
        };
        let updates = WatchStream::new(self.policy(&target).await.subscribe());
        Ok(Response::new(Box::pin(updates.filter_map(|policy| policy.map(Ok)))))
    }
}

#[tonic::async_trait]
impl Destination for Destinations {
    type GetStream = ReceiverStream<Result<Update, Status>>;
    type GetProfileStream = BoxStream<'static, Result<DestinationProfile, Status>>;

    async fn get(&self, request: Request<GetDestination>) -> Result<Response<Self::GetStream>, Status> {
        let mut endpoints = self.endpoints(&request.into_inner().path).await.subscribe();
        let (sender, receiver) = mpsc::channel(8);
        tokio::spawn(async move {
            let mut sent: Vec<WeightedAddr> = Vec::new();
            loop {
                let wanted = endpoints.borrow_and_update().clone();
                for update in wanted.iter().flat_map(|wanted| difference(&sent, wanted)) {
                    if sender.send(Ok(Update { update: Some(update) })).await.is_err() {
                        return;
                    }
                }
                sent = wanted.unwrap_or(sent);
                if endpoints.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn get_profile(
        &self,
        _: Request<GetDestination>,
    ) -> Result<Response<Self::GetProfileStream>, Status> {
        let profile = futures::stream::iter([Ok(DestinationProfile::default())]);
        Ok(Response::new(Box::pin(profile.chain(futures::stream::pending()))))
    }
}

fn difference(sent: &[WeightedAddr], wanted: &[WeightedAddr]) -> Vec<update::Update> {
    if wanted.is_empty() {
        return vec![update::Update::NoEndpoints(NoEndpoints { exists: true })];
    }
    let gone = sent.iter().filter(|old| wanted.iter().all(|new| new.addr != old.addr));
    let gone: Vec<_> = gone.filter_map(|old| old.addr).collect();
    let add = WeightedAddrSet { addrs: wanted.to_vec(), metric_labels: HashMap::new() };
    let mut updates = vec![update::Update::Add(add)];
    if !gone.is_empty() {
        updates.push(update::Update::Remove(AddrSet { addrs: gone }));
    }
    updates
}

/// An endpoint in plaintext.
pub(crate) fn endpoint(addr: SocketAddr) -> WeightedAddr {
    let addr = TcpAddress { ip: Some(addr.ip().into()), port: u32::from(addr.port()) };
    WeightedAddr { addr: Some(addr), weight: 10_000, ..WeightedAddr::default() }
}

/// An endpoint with a proxy that listens for direct connections on `inbound_port`.
pub(crate) fn meshed(addr: SocketAddr, identity: &str, inbound_port: u16) -> WeightedAddr {
    let name = tls_identity::DnsLikeIdentity { name: identity.to_owned() };
    let tls = TlsIdentity {
        strategy: Some(tls_identity::Strategy::DnsLikeIdentity(name.clone())),
        server_name: Some(name),
    };
    let transport = protocol_hint::OpaqueTransport { inbound_port: u32::from(inbound_port) };
    let hint = ProtocolHint {
        opaque_transport: Some(transport),
        protocol: Some(protocol_hint::Protocol::H2(protocol_hint::H2 {})),
    };
    WeightedAddr { tls_identity: Some(tls), protocol_hint: Some(hint), ..endpoint(addr) }
}

/// A gateway that stands for `authority`.
pub(crate) fn gateway(addr: SocketAddr, identity: &str, authority: &str) -> WeightedAddr {
    let authority = AuthorityOverride { authority_override: authority.to_owned() };
    let mut gateway = WeightedAddr { authority_override: Some(authority), ..meshed(addr, identity, 0) };
    if let Some(hint) = &mut gateway.protocol_hint {
        hint.opaque_transport = None;
    }
    gateway
}

/// What a service's clients speak is found out; all of it goes to the endpoints of `path`.
pub(crate) fn service(path: &str) -> OutboundPolicy {
    tiers(&[path])
}

/// As [`service`], to the first path that has endpoints.
pub(crate) fn tiers(paths: &[&str]) -> OutboundPolicy {
    let http = http_routes(paths);
    policy(proxy_protocol::Kind::Detect(proxy_protocol::Detect {
        timeout: Some(Duration::from_secs(5).try_into().unwrap()),
        opaque: Some(proxy_protocol::Opaque { routes: opaque_routes(paths) }),
        http1: Some(proxy_protocol::Http1 { routes: http.clone(), failure_accrual: None }),
        http2: Some(proxy_protocol::Http2 { routes: http, failure_accrual: None }),
    }))
}

/// Bytes, all to the endpoints of `path`.
pub(crate) fn opaque(path: &str) -> OutboundPolicy {
    policy(proxy_protocol::Kind::Opaque(proxy_protocol::Opaque { routes: opaque_routes(&[path]) }))
}

/// What a gateway is told of a service that is not exported: 403 and refused connections.
pub(crate) fn forbidden() -> OutboundPolicy {
    let failure = mesh_api::http_route::HttpFailureInjector {
        status: 403,
        message: "not exported".to_owned(),
        ratio: None,
    };
    let mut http = http_routes(&["none.shop.svc.cluster.local:80"]);
    http[0].rules[0].filters =
        vec![api::http_route::Filter { kind: Some(api::http_route::filter::Kind::FailureInjector(failure)) }];
    let mut opaque = opaque_routes(&["none.shop.svc.cluster.local:80"]);
    let kind = api::opaque_route::filter::Kind::Forbidden(mesh_api::opaque_route::Forbidden {});
    opaque[0].rules[0].filters = vec![api::opaque_route::Filter { kind: Some(kind) }];
    policy(proxy_protocol::Kind::Detect(proxy_protocol::Detect {
        timeout: Some(Duration::from_secs(5).try_into().unwrap()),
        opaque: Some(proxy_protocol::Opaque { routes: opaque }),
        http1: Some(proxy_protocol::Http1 { routes: http.clone(), failure_accrual: None }),
        http2: Some(proxy_protocol::Http2 { routes: http, failure_accrual: None }),
    }))
}

pub(crate) fn policy(kind: proxy_protocol::Kind) -> OutboundPolicy {
    OutboundPolicy { protocol: Some(api::ProxyProtocol { kind: Some(kind) }), metadata: Some(named("web")) }
}

pub(crate) fn named(name: &str) -> mesh_api::meta::Metadata {
    let kind = mesh_api::meta::metadata::Kind::Default(name.to_owned());
    mesh_api::meta::Metadata { kind: Some(kind) }
}

fn http_routes(paths: &[&str]) -> Vec<api::HttpRoute> {
    use api::http_route::{Distribution, RouteBackend, Rule, distribution};
    let backend = |path: &&str| RouteBackend { backend: Some(backend(path)), ..RouteBackend::default() };
    let first = distribution::FirstAvailable { backends: paths.iter().map(backend).collect() };
    let rule = Rule {
        backends: Some(Distribution { kind: Some(distribution::Kind::FirstAvailable(first)) }),
        ..Rule::default()
    };
    vec![api::HttpRoute { metadata: Some(named("http")), hosts: Vec::new(), rules: vec![rule] }]
}

fn opaque_routes(paths: &[&str]) -> Vec<api::OpaqueRoute> {
    use api::opaque_route::{Distribution, RouteBackend, Rule, distribution};
    let backend = |path: &&str| RouteBackend { backend: Some(backend(path)), filters: Vec::new() };
    let first = distribution::FirstAvailable { backends: paths.iter().map(backend).collect() };
    let rule = Rule {
        backends: Some(Distribution { kind: Some(distribution::Kind::FirstAvailable(first)) }),
        filters: Vec::new(),
    };
    vec![api::OpaqueRoute { metadata: Some(named("opaque")), rules: vec![rule] }]
}

pub(crate) fn backend(path: &str) -> api::Backend {
    use api::backend::balance_p2c::{Load, PeakEwma};
    use api::backend::endpoint_discovery::{DestinationGet, Kind};
    use api::backend::{BalanceP2c, EndpointDiscovery};
    let load = Load::PeakEwma(PeakEwma {
        default_rtt: Some(Duration::from_millis(30).try_into().unwrap()),
        decay: Some(Duration::from_secs(10).try_into().unwrap()),
    });
    let discovery = EndpointDiscovery { kind: Some(Kind::Dst(DestinationGet { path: path.to_owned() })) };
    let balancer = BalanceP2c { discovery: Some(discovery), load: Some(load) };
    let failfast = Duration::from_millis(500).try_into().unwrap();
    api::Backend {
        metadata: Some(named(path)),
        queue: Some(api::Queue { capacity: 100, failfast_timeout: Some(failfast) }),
        kind: Some(api::backend::Kind::Balancer(balancer)),
    }
}

/// Changes what a policy says of its backends.
pub(crate) fn with_backends(
    mut policy: OutboundPolicy,
    change: impl Fn(&mut api::Backend),
) -> OutboundPolicy {
    use api::http_route::distribution::Kind::FirstAvailable as Http;
    use api::opaque_route::distribution::Kind::FirstAvailable as Opaque;
    use proxy_protocol::Kind;
    let (mut http, mut opaque) = (Vec::new(), Vec::new());
    match policy.protocol.as_mut().and_then(|protocol| protocol.kind.as_mut()) {
        Some(Kind::Detect(detect)) => {
            http.extend(detect.http1.iter_mut().flat_map(|http| &mut http.routes));
            http.extend(detect.http2.iter_mut().flat_map(|http| &mut http.routes));
            opaque.extend(detect.opaque.iter_mut().flat_map(|opaque| &mut opaque.routes));
        }
        Some(Kind::Opaque(kind)) => opaque.extend(&mut kind.routes),
        _ => {}
    }
    for backends in http.into_iter().flat_map(|route| &mut route.rules).flat_map(|rule| &mut rule.backends) {
        let Some(Http(first)) = &mut backends.kind else { continue };
        first.backends.iter_mut().flat_map(|b| &mut b.backend).for_each(&change);
    }
    for backends in opaque.into_iter().flat_map(|route| &mut route.rules).flat_map(|rule| &mut rule.backends)
    {
        let Some(Opaque(first)) = &mut backends.kind else { continue };
        first.backends.iter_mut().flat_map(|b| &mut b.backend).for_each(&change);
    }
    policy
}

/// As `policy`, with waits as long as a test.
pub(crate) fn patient(policy: OutboundPolicy) -> OutboundPolicy {
    let long = Duration::from_secs(30).try_into().ok();
    with_backends(policy, |backend| backend.queue.as_mut().unwrap().failfast_timeout = long)
}
