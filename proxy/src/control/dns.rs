//! Names of control-plane services to addresses.

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RecordType;
use mesh_metrics::{CounterFamily, Labels, Registry};
use mesh_types::Authority;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// A name that does not exist yet is asked for again after this long at most: control planes and proxies start together.
const NEGATIVE_TTL: Duration = Duration::from_secs(2);
/// Limit for one question to one name server.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Why a name has no addresses.
#[derive(Clone, Debug, thiserror::Error)]
#[error("DNS: {name}: {reason}")]
pub struct DnsError {
    name: String,
    reason: String,
}

/// Resolves the names of control-plane services with the pod's own name servers.
pub struct Dns {
    resolver: Result<TokioResolver, String>,
    resolutions: CounterFamily,
}

impl DnsError {
    pub(super) fn empty(name: &str) -> Self {
        Self { name: name.to_owned(), reason: "no addresses".to_owned() }
    }
}

impl Dns {
    /// Uses `/etc/resolv.conf`. `ttl` bounds the time an answer is used (least, most). Where the file cannot be read,
    /// names other than `localhost` and addresses fail with that reason.
    pub fn system(ttl: (Duration, Duration)) -> Self {
        Self::metered(ttl, &Registry::new())
    }

    /// As [`Dns::system`], counted in `registry`.
    pub fn metered(ttl: (Duration, Duration), registry: &Registry) -> Self {
        let resolver = TokioResolver::builder_tokio().and_then(|mut builder| {
            let options = builder.options_mut();
            options.positive_min_ttl = Some(ttl.0);
            options.positive_max_ttl = Some(ttl.1);
            options.negative_max_ttl = Some(NEGATIVE_TTL);
            options.timeout = TIMEOUT;
            builder.build()
        });
        let help = "Names of control-plane services that were resolved, by record and result";
        Self {
            resolver: resolver.map_err(|e| format!("no resolver: {e}")),
            resolutions: registry.counter("control_dns_resolutions", help),
        }
    }

    /// The addresses of a service, in the order to try them.
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
        let resolver = self.resolver.as_ref().map_err(|e| error(e.clone()))?;
        let found = resolver.lookup_ip(absolute(&service.host)).await;
        let result = match &found {
            Ok(_) => "ok",
            Err(error) if error.is_no_records_found() => "not_found",
            Err(_) => "fail",
        };
        self.resolutions.get(&Labels::from_iter([("record", "A"), ("result", result)])).inc();
        let found = found.map_err(|e| error(e.to_string()))?;
        let mut addrs: Vec<_> = found.iter().map(|ip| SocketAddr::new(ip, service.port)).collect();
        // Answers are rotated by name servers, but cached here: start at a random one.
        if !addrs.is_empty() {
            let start = rand::random::<u32>() as usize % addrs.len();
            addrs.rotate_left(start);
        }
        Ok(addrs)
    }

    /// Drops the cached addresses of a service.
    pub fn forget(&self, service: &Authority) {
        if let Ok(resolver) = &self.resolver {
            for record in [RecordType::A, RecordType::AAAA] {
                resolver.clear_lookup_cache(absolute(&service.host), record);
            }
        }
    }
}

/// Service names are fully qualified; the dot keeps the search list out.
fn absolute(host: &str) -> String {
    format!("{host}.")
}
