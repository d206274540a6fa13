//! From the policy service's messages to [`ServerPolicy`].

use super::routes::{PathMatch, RouteMatch};
use super::{Authentication, Authorization, Meta, Network, Protocol, Route, ServerPolicy};
use ipnet::IpNet;
use mesh_api::inbound::authn::permit_mesh_tls::Clients;
use mesh_api::inbound::{self as api, authn, proxy_protocol::Kind};
use mesh_api::{grpc_route, http_route, meta, net};
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
    /// A match we do not know.
    #[error("route {0}: a match is missing or unknown")]
    Match(String),
}

/// The policy of a port.
///
/// # Errors
/// [`PolicyError`]: nothing of an invalid policy is used, so that no refusal is lost.
pub fn server_policy(server: api::Server) -> Result<ServerPolicy, PolicyError> {
    let meta = from_labels(&server.labels);
    let authorizations = authorizations(server.authorizations)?;
    let http = |routes| http_routes(routes, &authorizations);
    let protocol = match server.protocol.and_then(|p| p.kind).ok_or(PolicyError::Protocol)? {
        Kind::Detect(detect) => Protocol::Detect {
            timeout: detect.timeout.and_then(|t| t.try_into().ok()).unwrap_or(DETECT_TIMEOUT),
            routes: http(detect.http_routes)?,
        },
        Kind::Http1(http1) => Protocol::Http1(http(http1.routes)?),
        Kind::Http2(http2) => Protocol::Http2(http(http2.routes)?),
        Kind::Grpc(grpc) => Protocol::Grpc(grpc_routes(grpc.routes, &authorizations)?),
        Kind::Opaque(_) => Protocol::Opaque,
        Kind::Tls(_) => Protocol::Tls,
    };
    Ok(ServerPolicy { meta, protocol, authorizations })
}

fn http_routes(
    routes: Vec<api::HttpRoute>,
    server: &Arc<[Authorization]>,
) -> Result<Arc<[Route]>, PolicyError> {
    let route = |route: api::HttpRoute| {
        let meta = from_metadata(route.metadata);
        let matches = route.rules.into_iter().flat_map(|rule| rule.matches);
        let matches = matches
            .map(|m| http_match(m).ok_or_else(|| PolicyError::Match(meta.name.to_string())))
            .collect::<Result<_, _>>()?;
        Ok(Route { authorizations: joined(server, route.authorizations)?, meta, matches })
    };
    routes.into_iter().map(route).collect()
}

fn grpc_routes(
    routes: Vec<api::GrpcRoute>,
    server: &Arc<[Authorization]>,
) -> Result<Arc<[Route]>, PolicyError> {
    let route = |route: api::GrpcRoute| {
        let meta = from_metadata(route.metadata);
        let matches = route.rules.into_iter().flat_map(|rule| rule.matches).map(grpc_match).collect();
        Ok(Route { authorizations: joined(server, route.authorizations)?, meta, matches })
    };
    routes.into_iter().map(route).collect()
}

/// A route's own authorizations extend the server's.
fn joined(server: &Arc<[Authorization]>, own: Vec<api::Authz>) -> Result<Arc<[Authorization]>, PolicyError> {
    if own.is_empty() {
        return Ok(Arc::clone(server));
    }
    Ok(server.iter().cloned().chain(authorizations(own)?.iter().cloned()).collect())
}

fn http_match(m: http_route::HttpRouteMatch) -> Option<RouteMatch> {
    use http_route::path_match::Kind;
    let path = match m.path.and_then(|p| p.kind) {
        None => PathMatch::Prefix("/".to_owned()),
        Some(Kind::Exact(path)) => PathMatch::Exact(path),
        Some(Kind::Prefix(path)) => PathMatch::Prefix(path),
        Some(Kind::Regex(_)) => return None,
    };
    let method = m.method.map(http::Method::try_from).transpose().ok()?;
    Some(RouteMatch { path, method })
}

fn grpc_match(m: grpc_route::GrpcRouteMatch) -> RouteMatch {
    let rpc = m.rpc.unwrap_or_default();
    let path = match (rpc.service.as_str(), rpc.method.as_str()) {
        ("", _) => PathMatch::Prefix("/".to_owned()),
        (service, "") => PathMatch::Prefix(format!("/{service}")),
        (service, method) => PathMatch::Exact(format!("/{service}/{method}")),
    };
    RouteMatch { path, method: None }
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
