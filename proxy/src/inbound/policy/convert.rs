//! From the policy service's messages to [`ServerPolicy`].

use super::{
    Authentication, Authorization, Meta, Network, Protocol, RateLimit, Route, Routes, ServerPolicy, Target,
};
use crate::rules::{self, ConvertError};
use ipnet::IpNet;
use mesh_api::inbound::authn::permit_mesh_tls::Clients;
use mesh_api::inbound::{self as api, authn, proxy_protocol::Kind};
use mesh_api::{http_route, meta, net};
use mesh_rules::Rule;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Where a server's answer leaves the detection timeout open (Linkerd's default).
const DETECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a policy cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// No protocol, or one we do not know.
    #[error("the server's protocol is missing or unknown")]
    Protocol,
    /// Not a network.
    #[error("authorization {0}: a network is missing or invalid")]
    Network(String),
    /// No authentication, or one we do not know.
    #[error("authorization {0}: the authentication is missing or unknown")]
    Authentication(String),
    /// Not an identity.
    #[error("authorization {0}: {1:?} is not an identity")]
    Identity(String, String),
    /// A match or filter we cannot use.
    #[error("route {name}: {source}")]
    Route {
        /// The route's name.
        name: String,
        /// What is wrong.
        source: ConvertError,
    },
}

/// The policy of a port.
///
/// # Errors
/// [`PolicyError`]: nothing of an invalid policy is used, so that no refusal is lost.
pub fn server_policy(server: api::Server) -> Result<ServerPolicy, PolicyError> {
    let meta = from_labels(&server.labels);
    let authorizations = authorizations(server.authorizations)?;
    let http = |routes| http_routes(routes, &authorizations);
    let mut limit = None;
    let protocol = match server.protocol.and_then(|p| p.kind).ok_or(PolicyError::Protocol)? {
        Kind::Detect(detect) => {
            limit = detect.http_local_rate_limit;
            Protocol::Detect {
                timeout: detect.timeout.and_then(|t| t.try_into().ok()).unwrap_or(DETECT_TIMEOUT),
                routes: http(detect.http_routes)?,
            }
        }
        Kind::Http1(http1) => {
            limit = http1.local_rate_limit;
            Protocol::Http1(http(http1.routes)?)
        }
        Kind::Http2(http2) => {
            limit = http2.local_rate_limit;
            Protocol::Http2(http(http2.routes)?)
        }
        Kind::Grpc(grpc) => Protocol::Grpc(grpc_routes(grpc.routes, &authorizations)?),
        Kind::Opaque(_) => Protocol::Opaque,
        Kind::Tls(_) => Protocol::Tls,
    };
    let rate_limit = limit.map(rate_limit).transpose()?.map(Arc::new);
    Ok(ServerPolicy { meta, protocol, authorizations, rate_limit })
}

fn rate_limit(limit: api::HttpLocalRateLimit) -> Result<RateLimit, PolicyError> {
    let meta = from_metadata(limit.metadata);
    let rate = |limit: api::http_local_rate_limit::Limit| limit.requests_per_second;
    let mut overrides = Vec::new();
    for special in limit.overrides {
        let clients = special.clients.map(|clients| clients.identities).unwrap_or_default();
        let identity = |id: api::Identity| {
            id.name.parse().map_err(|_| PolicyError::Identity(meta.name.to_string(), id.name.clone()))
        };
        let clients = clients.into_iter().map(identity).collect::<Result<_, _>>()?;
        overrides.push((special.limit.map_or(0, rate), clients));
    }
    Ok(RateLimit::new(meta, limit.total.map(rate), limit.identity.map(rate), overrides))
}

fn http_routes(list: Vec<api::HttpRoute>, server: &Arc<[Authorization]>) -> Result<Arc<Routes>, PolicyError> {
    let mut routes = Routes::default();
    for route in list {
        let meta = from_metadata(route.metadata);
        let index = routes.next();
        let rules = route.rules.into_iter().map(|rule| http_rule(rule, index)).collect();
        let matching = matching(route.hosts, rules, &meta)?;
        routes.push(Route { authorizations: joined(server, route.authorizations)?, meta }, matching);
    }
    Ok(Arc::new(routes))
}

fn grpc_routes(list: Vec<api::GrpcRoute>, server: &Arc<[Authorization]>) -> Result<Arc<Routes>, PolicyError> {
    let mut routes = Routes::default();
    for route in list {
        let meta = from_metadata(route.metadata);
        let index = routes.next();
        let rules = route.rules.into_iter().map(|rule| grpc_rule(rule, index)).collect();
        let matching = matching(route.hosts, rules, &meta)?;
        routes.push(Route { authorizations: joined(server, route.authorizations)?, meta }, matching);
    }
    Ok(Arc::new(routes))
}

fn matching(
    hosts: Vec<http_route::HostMatch>,
    rules: Result<Vec<Rule<Target>>, ConvertError>,
    meta: &Meta,
) -> Result<mesh_rules::Route<Target>, PolicyError> {
    let hosts = hosts.into_iter().map(rules::host_match).collect::<Result<_, _>>();
    let error = |source| PolicyError::Route { name: meta.name.to_string(), source };
    Ok(mesh_rules::Route { hosts: hosts.map_err(error)?, rules: rules.map_err(error)? })
}

fn http_rule(rule: api::http_route::Rule, index: usize) -> Result<Rule<Target>, ConvertError> {
    use api::http_route::filter::Kind;
    let filter = |filter: api::http_route::Filter| match filter.kind.ok_or(ConvertError::Unknown("filter"))? {
        Kind::FailureInjector(failure) => rules::http_failure(failure),
        Kind::RequestHeaderModifier(edit) => rules::request_headers(edit),
        Kind::Redirect(redirect) => rules::redirect(redirect),
    };
    let filters = rule.filters.into_iter().map(filter).collect::<Result<_, _>>()?;
    let matches = rule.matches.into_iter().map(rules::http_match).collect::<Result<_, _>>()?;
    Ok(Rule { matches, value: Target { index, filters } })
}

fn grpc_rule(rule: api::grpc_route::Rule, index: usize) -> Result<Rule<Target>, ConvertError> {
    use api::grpc_route::filter::Kind;
    let filter = |filter: api::grpc_route::Filter| match filter.kind.ok_or(ConvertError::Unknown("filter"))? {
        Kind::FailureInjector(failure) => rules::grpc_failure(failure),
        Kind::RequestHeaderModifier(edit) => rules::request_headers(edit),
    };
    let filters = rule.filters.into_iter().map(filter).collect::<Result<_, _>>()?;
    let matches = rule.matches.into_iter().map(rules::grpc_match).collect::<Result<_, _>>()?;
    Ok(Rule { matches, value: Target { index, filters } })
}

/// A route's own authorizations extend the server's.
fn joined(server: &Arc<[Authorization]>, own: Vec<api::Authz>) -> Result<Arc<[Authorization]>, PolicyError> {
    if own.is_empty() {
        return Ok(Arc::clone(server));
    }
    Ok(server.iter().cloned().chain(authorizations(own)?.iter().cloned()).collect())
}

fn authorizations(list: Vec<api::Authz>) -> Result<Arc<[Authorization]>, PolicyError> {
    // An authorization without networks is to be ignored (inbound.proto).
    list.into_iter().filter(|authz| !authz.networks.is_empty()).map(authorization).collect()
}

fn authorization(authz: api::Authz) -> Result<Authorization, PolicyError> {
    let meta = authz.metadata.map_or_else(|| from_labels(&authz.labels), |m| from_metadata(Some(m)));
    let name = || meta.name.to_string();
    let networks = authz.networks.into_iter().map(network);
    let networks = networks.collect::<Option<_>>().ok_or_else(|| PolicyError::Network(name()))?;
    let permit = authz.authentication.and_then(|a| a.permit);
    let authentication = match permit.ok_or_else(|| PolicyError::Authentication(name()))? {
        authn::Permit::Unauthenticated(_) => Authentication::Unauthenticated,
        authn::Permit::MeshTls(tls) => {
            match tls.clients.ok_or_else(|| PolicyError::Authentication(name()))? {
                Clients::Unauthenticated(_) => Authentication::Tls,
                Clients::Identities(clients) => Authentication::Identities {
                    names: clients
                        .identities
                        .into_iter()
                        .map(|id| id.name.parse().map_err(|_| PolicyError::Identity(name(), id.name)))
                        .collect::<Result<_, _>>()?,
                    suffixes: clients.suffixes.into_iter().map(|suffix| suffix.parts.join(".")).collect(),
                },
            }
        }
    };
    Ok(Authorization { meta, networks, authentication })
}

fn network(network: api::Network) -> Option<Network> {
    let net = |net: net::IpNetwork| IpNet::try_from(net).ok();
    let except = network.except.into_iter().map(net).collect::<Option<_>>()?;
    Some(Network { net: net(network.net?)?, except })
}

fn from_labels(labels: &HashMap<String, String>) -> Meta {
    let label = |key: &str| labels.get(key).map_or("", String::as_str).into();
    Meta { group: label("group"), kind: label("kind"), name: label("name") }
}

fn from_metadata(metadata: Option<meta::Metadata>) -> Meta {
    match metadata.and_then(|m| m.kind) {
        None => Meta::default(),
        Some(meta::metadata::Kind::Default(name)) => {
            Meta { group: "".into(), kind: "default".into(), name: name.into() }
        }
        Some(meta::metadata::Kind::Resource(r)) => {
            Meta { group: r.group.into(), kind: r.kind.into(), name: r.name.into() }
        }
    }
}

#[cfg(test)]
mod tests;
