//! What proxies ask for: a workload, a destination.

use crate::index::Destination;
use crate::model::Key;
use mesh_types::Authority;
use serde::Deserialize;

/// The port of an authority without one.
const DEFAULT_PORT: u16 = 80;

/// Why a question cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Neither form of a workload.
    #[error("workload {0:?} must be JSON {{\"ns\":…,\"pod\":…}} or <namespace>:<pod>")]
    Workload(String),
    /// Not a port.
    #[error("port {0} must be 1 to 65535")]
    Port(u32),
    /// Nothing asked for.
    #[error("the target must be an address or an authority")]
    Target,
    /// No host and port.
    #[error("{0}")]
    Authority(#[from] mesh_types::AuthorityError),
    /// An unreadable address.
    #[error("address cannot be read: {0}")]
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

#[derive(Deserialize)]
struct Workload {
    ns: String,
    pod: String,
}

/// Reads a workload: JSON as Linkerd's proxies send it, or `<namespace>:<pod>`.
pub fn workload(text: &str) -> Result<Key, QueryError> {
    let wrong = || QueryError::Workload(text.to_owned());
    if text.starts_with('{') {
        let Workload { ns, pod } = serde_json::from_str(text).map_err(|_| wrong())?;
        return Some(Key::new(ns, pod)).filter(filled).ok_or_else(wrong);
    }
    let (namespace, pod) = text.split_once(':').ok_or_else(wrong)?;
    Some(Key::new(namespace, pod)).filter(filled).ok_or_else(wrong)
}

fn filled(key: &Key) -> bool {
    !key.namespace.is_empty() && !key.name.is_empty()
}

/// Reads a port.
pub fn port(number: u32) -> Result<u16, QueryError> {
    u16::try_from(number).ok().filter(|p| *p != 0).ok_or(QueryError::Port(number))
}

/// Reads an authority: a Service's name, one member of a federated Service, or an address.
pub fn authority(text: &str, domain: &str) -> Result<Destination, QueryError> {
    let authority = Authority::parse(text, DEFAULT_PORT)?;
    if let Some(ip) = authority.ip() {
        return Ok(Destination::Addr((ip, authority.port).into()));
    }
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
    Ok(Destination::Name { service: Key::new(*namespace, *service), port: authority.port, part })
}

#[cfg(test)]
mod tests;
