//! What may connect to a port and what it may ask for: pure decisions over a snapshot of the server's policy.

use ipnet::IpNet;
use mesh_types::Identity;
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

mod convert;
mod default;
mod rate_limit;
mod routes;

pub use convert::{PolicyError, server_policy};
pub use default::default_policy;
pub use rate_limit::{ClientLimit, Exceeded, OverrideSpec, RateLimit};
pub use routes::{Route, Routes, Taken, Target};

/// A resource that metrics name: `{group}/{kind}/{name}`, or `default/<name>` where there is no resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Meta {
    /// API group; empty for defaults.
    pub group: Arc<str>,
    /// Kind; `default` for defaults.
    pub kind: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

/// The policy of one port.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerPolicy {
    /// The server resource, or the default policy's name.
    pub meta: Meta,
    /// What the port speaks.
    pub protocol: Protocol,
    /// Who may connect, and who may ask for what no route restricts.
    pub authorizations: Arc<[Authorization]>,
    /// How many requests may come.
    pub rate_limit: Option<Arc<RateLimit>>,
}

/// What a port speaks.
#[derive(Clone, Debug, PartialEq)]
pub enum Protocol {
    /// Found out within a time limit; the routes hold if it is HTTP.
    Detect {
        /// The limit.
        timeout: Duration,
        /// Routes; none means that every request belongs to the server itself.
        routes: Arc<Routes>,
    },
    /// HTTP/1, which may come as HTTP/2 between proxies.
    Http1(Arc<Routes>),
    /// HTTP/2.
    Http2(Arc<Routes>),
    /// gRPC over HTTP/2.
    Grpc(Arc<Routes>),
    /// Bytes.
    Opaque,
    /// TLS of the application's own.
    Tls,
}

/// Lets some clients in.
#[derive(Clone, Debug, PartialEq)]
pub struct Authorization {
    /// The policy resource.
    pub meta: Meta,
    /// Where clients may come from.
    pub networks: Vec<Network>,
    /// Who they must be.
    pub authentication: Authentication,
}

/// A network without some of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The network.
    pub net: IpNet,
    /// The parts.
    pub except: Vec<IpNet>,
}

/// Who a client must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Authentication {
    /// Anyone.
    Unauthenticated,
    /// Anyone over mesh TLS.
    Tls,
    /// Clients with one of these identities.
    Identities {
        /// Exact names.
        names: HashSet<Identity>,
        /// Name endings on a label boundary; an empty one matches all.
        suffixes: Vec<String>,
    },
}

/// What is known of a client when it is authorized.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    /// Its address.
    pub addr: SocketAddr,
    /// Its TLS.
    pub tls: ClientTls,
}

/// A client's TLS as the mesh sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientTls {
    /// Terminated here; with the verified identity if the client has a certificate.
    Mesh(Option<Identity>),
    /// Some other TLS, passed through.
    Passthrough,
    /// No TLS, or not looked for.
    None,
}

impl Meta {
    /// What metrics call the route where a server has none.
    pub fn default_route() -> Self {
        Self { group: "".into(), kind: "default".into(), name: "default".into() }
    }
}

impl Client {
    /// The verified identity.
    pub fn identity(&self) -> Option<&Identity> {
        match &self.tls {
            ClientTls::Mesh(identity) => identity.as_ref(),
            _ => None,
        }
    }

    /// How refusals name the client.
    pub fn describe(&self) -> String {
        self.identity().map_or_else(|| self.addr.ip().to_string(), |id| format!("{id} at {}", self.addr.ip()))
    }
}

impl ServerPolicy {
    /// Goes on with the rate limit's buckets of the policy before, where the limits are the same.
    pub fn succeed(&mut self, before: &Self) {
        if self.rate_limit == before.rate_limit {
            self.rate_limit.clone_from(&before.rate_limit);
        }
    }

    /// The authorization that lets `client` connect.
    pub fn authorize(&self, client: &Client) -> Option<&Authorization> {
        self.authorizations.iter().find(|authorization| authorization.permits(client))
    }

    /// Whether `client` may make a request.
    pub fn allows<B>(&self, request: &http::Request<B>, client: &Client) -> bool {
        let authorizations = match self.routes() {
            None => &self.authorizations,
            Some(routes) => match routes.find(request) {
                Some(taken) => &taken.route.authorizations,
                None => return false,
            },
        };
        authorizations.iter().any(|authorization| authorization.permits(client))
    }

    /// The HTTP routes; without any, the server itself decides about every request.
    pub fn routes(&self) -> Option<&Routes> {
        match &self.protocol {
            Protocol::Detect { routes, .. }
            | Protocol::Http1(routes)
            | Protocol::Http2(routes)
            | Protocol::Grpc(routes) => Some(routes).filter(|routes| !routes.is_empty()).map(AsRef::as_ref),
            Protocol::Opaque | Protocol::Tls => None,
        }
    }
}

impl Authorization {
    /// Whether what it lets in is to be logged: the default policy `audit` lets in whom no other policy does.
    pub fn is_audit(&self) -> bool {
        &*self.meta.kind == "default" && &*self.meta.name == "audit"
    }

    /// Whether it lets `client` in.
    pub fn permits(&self, client: &Client) -> bool {
        self.networks.iter().any(|network| network.contains(client.addr.ip()))
            && match (&self.authentication, &client.tls) {
                (Authentication::Unauthenticated, _) | (Authentication::Tls, ClientTls::Mesh(_)) => true,
                (Authentication::Identities { names, suffixes }, ClientTls::Mesh(Some(identity))) => {
                    names.contains(identity) || suffixes.iter().any(|s| has_suffix(identity.as_str(), s))
                }
                _ => false,
            }
    }
}

impl Network {
    /// Whether an address is in the network and in none of the excepted parts.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.net.contains(&ip) && !self.except.iter().any(|net| net.contains(&ip))
    }

    /// Every address of both families.
    pub fn all() -> Vec<Self> {
        let any = |net| Self { net, except: Vec::new() };
        vec![any(IpNet::V4(ipnet::Ipv4Net::default())), any(IpNet::V6(ipnet::Ipv6Net::default()))]
    }
}

/// Whether `name` ends with `suffix` on a label boundary.
fn has_suffix(name: &str, suffix: &str) -> bool {
    suffix.is_empty() || name.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests;
