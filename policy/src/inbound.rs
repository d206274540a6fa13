//! What a port of a pod allows, as the message that its proxy is sent.

use crate::defaults::DefaultPolicy;
use crate::model::{Namespace, Pod, Probe};
use ipnet::IpNet;
use mesh_api::convert::{default_metadata, duration};
use mesh_api::http_route::{HttpRouteMatch, PathMatch, path_match};
use mesh_api::http_types::HttpMethod;
use mesh_api::inbound::authn::permit_mesh_tls::{Clients, PermitClientIdentities};
use mesh_api::inbound::authn::{Permit, PermitMeshTls, PermitUnauthenticated};
use mesh_api::inbound::http_route::Rule;
use mesh_api::inbound::proxy_protocol::{Detect, Kind, Opaque};
use mesh_api::inbound::{Authn, Authz, HttpRoute, IdentitySuffix, Network, ProxyProtocol, Server};
use mesh_types::OpaquePorts;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// How long a proxy waits for the first bytes before it takes a connection for opaque.
const DETECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Where gRPC's health service is.
const GRPC_HEALTH: &str = "/grpc.health.v1.Health/Check";

/// What answers depend on besides the cluster's objects.
#[derive(Debug, Clone)]
pub struct InboundSettings {
    /// The policy where neither pod nor namespace has one.
    pub default_policy: DefaultPolicy,
    /// Networks that `cluster-…` policies allow.
    pub cluster_networks: Vec<IpNet>,
    /// Networks that probes come from.
    pub probe_networks: Vec<IpNet>,
    /// Ports that are opaque where no annotation says otherwise.
    pub default_opaque: OpaquePorts,
}

/// The server on a port of a pod.
pub fn server(settings: &InboundSettings, pod: &Pod, namespace: Option<&Namespace>, port: u16) -> Server {
    let policy = pod.default_policy.or_else(|| namespace.and_then(|n| n.default_policy));
    let policy = policy.unwrap_or(settings.default_policy);
    let policy = if pod.require_identity.contains(port) { policy.with_identity() } else { policy };
    let opaque = pod.opaque_ports.as_ref().or_else(|| namespace.and_then(|n| n.opaque_ports.as_ref()));
    let opaque = opaque.unwrap_or(&settings.default_opaque);
    let kind = if opaque.contains(port, pod.port_names.get(&port).map(String::as_str)) {
        Kind::Opaque(Opaque {})
    } else {
        let probes = pod.probes.get(&port);
        let probe_route = probes.map(|probes| probe_route(probes, &settings.probe_networks));
        Kind::Detect(Detect {
            timeout: Some(duration(DETECT_TIMEOUT)),
            http_routes: probe_route.into_iter().chain([default_route()]).collect(),
            http_local_rate_limit: None,
        })
    };
    Server {
        protocol: Some(ProxyProtocol { kind: Some(kind) }),
        server_ips: pod.ips.iter().map(|ip| (*ip).into()).collect(),
        authorizations: authorization(settings, policy).into_iter().collect(),
        labels: labels(policy.name()),
    }
}

fn authorization(settings: &InboundSettings, policy: DefaultPolicy) -> Option<Authz> {
    let (networks, permit) = match policy {
        DefaultPolicy::Deny => return None,
        DefaultPolicy::AllUnauthenticated | DefaultPolicy::Audit => (everywhere(), anybody()),
        DefaultPolicy::AllAuthenticated => (everywhere(), any_identity()),
        DefaultPolicy::ClusterUnauthenticated => (networks(&settings.cluster_networks), anybody()),
        DefaultPolicy::ClusterAuthenticated => (networks(&settings.cluster_networks), any_identity()),
    };
    Some(authz(networks, permit, policy.name()))
}

fn authz(networks: Vec<Network>, permit: Permit, name: &str) -> Authz {
    Authz {
        networks,
        authentication: Some(Authn { permit: Some(permit) }),
        labels: labels(name),
        metadata: Some(default_metadata(name)),
    }
}

fn anybody() -> Permit {
    Permit::Unauthenticated(PermitUnauthenticated {})
}

/// A suffix of no labels is the end of every name.
fn any_identity() -> Permit {
    let suffixes = vec![IdentitySuffix { parts: Vec::new() }];
    let identities = PermitClientIdentities { identities: Vec::new(), suffixes };
    Permit::MeshTls(PermitMeshTls { clients: Some(Clients::Identities(identities)) })
}

fn everywhere() -> Vec<Network> {
    networks(&[IpNet::V4(ipnet::Ipv4Net::default()), IpNet::V6(ipnet::Ipv6Net::default())])
}

fn networks(nets: &[IpNet]) -> Vec<Network> {
    nets.iter().map(|net| Network { net: Some((*net).into()), except: Vec::new() }).collect()
}

fn labels(name: &str) -> HashMap<String, String> {
    let pairs = [("group", ""), ("kind", "default"), ("name", name)];
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
}

/// Everything else on the port, under the server's own authorizations.
fn default_route() -> HttpRoute {
    let everything = path_match::Kind::Prefix("/".to_owned());
    let matches =
        vec![HttpRouteMatch { path: Some(PathMatch { kind: Some(everything) }), ..Default::default() }];
    HttpRoute {
        metadata: Some(default_metadata("default")),
        rules: vec![Rule { matches, filters: Vec::new() }],
        ..HttpRoute::default()
    }
}

/// The kubelet has no identity, so its requests are allowed whatever the policy is.
fn probe_route(probes: &BTreeSet<Probe>, from: &[IpNet]) -> HttpRoute {
    let exactly = |path: &str, method: http::Method| HttpRouteMatch {
        path: Some(PathMatch { kind: Some(path_match::Kind::Exact(path.to_owned())) }),
        method: Some(HttpMethod::from(method)),
        ..HttpRouteMatch::default()
    };
    let matches = probes.iter().map(|probe| match probe {
        Probe::Http(path) => exactly(path, http::Method::GET),
        Probe::Grpc => exactly(GRPC_HEALTH, http::Method::POST),
    });
    HttpRoute {
        metadata: Some(default_metadata("probe")),
        hosts: Vec::new(),
        authorizations: vec![authz(networks(from), anybody(), "probe")],
        rules: vec![Rule { matches: matches.collect(), filters: Vec::new() }],
    }
}
