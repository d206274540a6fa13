//! What clients ask for: `host[:port]` of a Service, of one endpoint or member of it, or of an address.

use crate::model::Key;
use mesh_types::Authority;
use serde::Deserialize;
use std::net::SocketAddr;

/// The port of a path without one.
const DEFAULT_PORT: u16 = 80;

/// A Service's port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceQuery {
    /// The Service.
    pub service: Key,
    /// Its port.
    pub port: u16,
    /// One endpoint by host name, or one member of a federated Service by cluster.
    pub part: Option<String>,
}

/// What a profile is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ProfileQuery {
    /// An address.
    Addr(SocketAddr),
    /// A Service's name.
    Name(ServiceQuery),
}

/// Why a path cannot be asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// No host and port.
    #[error("{0}")]
    Authority(#[from] mesh_types::AuthorityError),
    /// An address where a Service's name is wanted.
    #[error("{0} is an address; endpoints are asked for by the name of a Service")]
    Address(String),
    /// A name outside the cluster's Services.
    #[error("{name:?} is not <service>.<namespace>.svc.{domain}")]
    Name {
        /// The name.
        name: String,
        /// The cluster's domain.
        domain: String,
    },
}

/// Reads the path of a `Get`.
pub fn service_query(path: &str, domain: &str) -> Result<ServiceQuery, QueryError> {
    let authority = Authority::parse(path, DEFAULT_PORT)?;
    if authority.ip().is_some() {
        return Err(QueryError::Address(authority.host));
    }
    by_name(authority, domain)
}

/// Reads the path of a `GetProfile`.
pub fn profile_query(path: &str, domain: &str) -> Result<ProfileQuery, QueryError> {
    let authority = Authority::parse(path, DEFAULT_PORT)?;
    match authority.ip() {
        Some(ip) => Ok(ProfileQuery::Addr(SocketAddr::new(ip, authority.port))),
        None => Ok(ProfileQuery::Name(by_name(authority, domain)?)),
    }
}

fn by_name(authority: Authority, domain: &str) -> Result<ServiceQuery, QueryError> {
    let other = || QueryError::Name { name: authority.host.clone(), domain: domain.to_owned() };
    let host = authority.host.strip_suffix(domain).and_then(|h| h.strip_suffix(".svc.")).ok_or_else(other)?;
    let labels: Vec<&str> = host.split('.').collect();
    let (part, service, namespace) = match labels.as_slice() {
        [service, namespace] => (None, service, namespace),
        [part, service, namespace] => (Some((*part).to_owned()), service, namespace),
        _ => return Err(other()),
    };
    if labels.iter().any(|l| l.is_empty()) {
        return Err(other());
    }
    Ok(ServiceQuery { service: Key::new(*namespace, *service), port: authority.port, part })
}

/// Who asks: JSON `{"ns", "nodeName", "pod"}`, or `ns:<namespace>` from old clients. Anything else tells nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Context {
    /// Namespace of the client.
    pub ns: String,
    /// Node of the client.
    #[serde(rename = "nodeName")]
    pub node: String,
    /// The client's pod.
    pub pod: String,
}

impl Context {
    /// Reads a context token.
    pub fn parse(token: &str) -> Self {
        if let Some(ns) = token.strip_prefix("ns:") {
            return Self { ns: ns.to_owned(), ..Self::default() };
        }
        serde_json::from_str(token).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
