//! Names of control-plane services to addresses.

use dns_lookup::{LookupError, LookupErrorKind};
use mesh_metrics::{CounterFamily, Labels, Registry};
use mesh_types::Authority;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Why a name has no addresses.
#[derive(Clone, Debug, thiserror::Error)]
#[error("DNS: {name}: {reason}")]
pub struct DnsError {
    name: String,
    reason: String,
}

/// Resolves the names of control-plane services as the pod does (`getaddrinfo`). Nothing is remembered: a name is asked for
/// where a connection is to be made, which is seldom.
pub struct Dns {
    resolutions: CounterFamily,
}

impl DnsError {
    pub(super) fn empty(name: &str) -> Self {
        Self { name: name.to_owned(), reason: "no addresses".to_owned() }
    }
}

impl Dns {
    /// Counts in `registry`.
    pub fn new(registry: &Registry) -> Self {
        let help = "Names of control-plane services that were resolved, by record and result";
        Self { resolutions: registry.counter("control_dns_resolutions", help) }
    }

    /// The addresses of a service, in the order to try them. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// The name and the reason.
    pub async fn resolve(&self, service: &Authority) -> Result<Vec<SocketAddr>, DnsError> {
        if let Some(ip) = service.ip() {
            return Ok(vec![SocketAddr::new(ip, service.port)]);
        }
        // The other containers of our own pod.
        if service.host == "localhost" {
            return Ok(vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), service.port)]);
        }
        let error = |reason: String| DnsError { name: service.host.clone(), reason };
        let name = absolute(&service.host);
        let found = tokio::task::spawn_blocking(move || look_up(&name)).await;
        let found = found.map_err(|stopped| error(stopped.to_string()))?;
        let result = match &found {
            Ok(_) => "ok",
            Err(NotFound::Unknown(_)) => "not_found",
            Err(NotFound::Failed(_)) => "fail",
        };
        self.resolutions.get(&Labels::from_iter([("record", "A"), ("result", result)])).inc();
        let mut ips = found.map_err(|not_found| error(not_found.reason()))?;
        // Proxies that start together do not all ask the same replica first.
        if !ips.is_empty() {
            let start = rand::random::<u32>() as usize % ips.len();
            ips.rotate_left(start);
        }
        Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, service.port)).collect())
    }
}

enum NotFound {
    /// There is no such name, or it has no addresses.
    Unknown(String),
    /// Nobody answered, or nothing that can be used.
    Failed(String),
}

impl NotFound {
    fn reason(self) -> String {
        match self {
            Self::Unknown(reason) | Self::Failed(reason) => reason,
        }
    }
}

fn look_up(name: &str) -> Result<Vec<IpAddr>, NotFound> {
    let found = dns_lookup::lookup_host(name).map_err(|error: LookupError| {
        let unknown = matches!(error.kind(), LookupErrorKind::NoName | LookupErrorKind::NoData);
        let reason = std::io::Error::from(error).to_string();
        if unknown { NotFound::Unknown(reason) } else { NotFound::Failed(reason) }
    })?;
    Ok(found.collect())
}

/// Service names are fully qualified; the dot keeps the search list out.
fn absolute(host: &str) -> String {
    format!("{host}.")
}
