//! Names of control-plane services to addresses.

mod server;
#[cfg(test)]
mod tests;

use futures::future::select;
use futures::stream::{FuturesUnordered, StreamExt as _};
use hickory_proto::rr::{Name, RecordType};
use mesh_metrics::{CounterFamily, Labels, Registry};
use mesh_types::Authority;
use resolv_conf::ScopedIp;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

/// The port of name servers (RFC 1035, 4.2).
const PORT: u16 = 53;
/// How much later than addresses of one family those of the other may come (RFC 8305, 3).
const OTHER_FAMILY: Duration = Duration::from_millis(50);
/// All that a name may take: why there is no connection is to be known soon.
const LIMIT: Duration = Duration::from_millis(2500);

/// Why a name has no addresses.
#[derive(Clone, Debug, thiserror::Error)]
#[error("DNS: {name}: {reason}")]
pub struct DnsError {
    name: String,
    reason: Failure,
}

/// Why nothing was found.
#[derive(Clone, Debug, thiserror::Error)]
enum Failure {
    #[error("there is no such name, or it has no addresses")]
    Unknown,
    #[error("{0}")]
    Failed(String),
}

/// Resolves the names of control-plane services: by the pod's hosts file, or its name servers. Nothing is remembered, as a
/// name is asked for only where a connection is to be made.
pub struct Dns {
    files: Files,
    port: u16,
    resolutions: CounterFamily,
}

/// Where the pod says how names are resolved.
struct Files {
    hosts: PathBuf,
    resolv_conf: PathBuf,
}

impl DnsError {
    pub(super) fn empty(name: &str) -> Self {
        Self { name: name.to_owned(), reason: Failure::Unknown }
    }
}

impl Dns {
    /// Uses `/etc/hosts` and `/etc/resolv.conf` as they are when a name is asked for. Counts in `registry`.
    pub fn new(registry: &Registry) -> Self {
        let files = Files { hosts: "/etc/hosts".into(), resolv_conf: "/etc/resolv.conf".into() };
        let help = "Names of control-plane services that were resolved, by record and result";
        Self { files, port: PORT, resolutions: registry.counter("control_dns_resolutions", help) }
    }

    /// The addresses of a service, in the order to try them; at least one.
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
        let found = tokio::time::timeout(LIMIT, self.look_up(&service.host)).await;
        let found = found.unwrap_or_else(|_| Err(Failure::Failed(format!("no answer within {LIMIT:?}"))));
        let result = match &found {
            Ok(_) => "ok",
            Err(Failure::Unknown) => "not_found",
            Err(Failure::Failed(_)) => "fail",
        };
        self.resolutions.get(&Labels::from_iter([("record", "A"), ("result", result)])).inc();
        let mut ips = found.map_err(|reason| DnsError { name: service.host.clone(), reason })?;
        // Proxies that start together do not all try the same replica first.
        let start = rand::random::<u32>() as usize % ips.len().max(1);
        ips.rotate_left(start);
        Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, service.port)).collect())
    }

    async fn look_up(&self, host: &str) -> Result<Vec<IpAddr>, Failure> {
        // A pod need not have the file.
        let hosts = std::fs::read(&self.files.hosts).unwrap_or_default();
        let listed: Vec<_> = listed(&String::from_utf8_lossy(&hosts), host).collect();
        if !listed.is_empty() {
            return Ok(listed);
        }
        // Service names are fully qualified; the dot keeps the search list out.
        let name = Name::from_ascii(format!("{host}."))
            .map_err(|error| Failure::Failed(format!("not a name: {error}")))?;
        let servers = self.servers()?;
        let v4 = pin!(ask_all(&servers, &name, RecordType::A));
        let v6 = pin!(ask_all(&servers, &name, RecordType::AAAA));
        let (one, other) = select(v4, v6).await.factor_first();
        let other = match &one {
            Ok(_) => tokio::time::timeout(OTHER_FAMILY, other).await.unwrap_or(Err(Failure::Unknown)),
            Err(_) => other.await,
        };
        match (one, other) {
            (Ok(one), Ok(other)) => Ok([one, other].concat()),
            (Ok(ips), Err(_)) | (Err(_), Ok(ips)) => Ok(ips),
            (Err(Failure::Unknown), Err(error)) | (Err(error), Err(_)) => Err(error),
        }
    }

    fn servers(&self) -> Result<Vec<SocketAddr>, Failure> {
        let path = self.files.resolv_conf.display();
        let bytes = std::fs::read(&self.files.resolv_conf)
            .map_err(|error| Failure::Failed(format!("{path}: {error}")))?;
        let config = resolv_conf::Config::parse_with_errors(&bytes).0;
        if config.nameservers.is_empty() {
            return Err(Failure::Failed(format!("{path} names no server")));
        }
        let addr = |ip: &ScopedIp| SocketAddr::new(IpAddr::from(ip), self.port);
        Ok(config.nameservers.iter().map(addr).collect())
    }
}

/// The addresses of a host in a hosts file: lines of an address and names, up to a `#`.
fn listed(hosts: &str, host: &str) -> impl Iterator<Item = IpAddr> {
    hosts.lines().filter_map(move |line| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let ip = words.next()?.parse().ok()?;
        words.any(|name| name.trim_end_matches('.').eq_ignore_ascii_case(host)).then_some(ip)
    })
}

/// Addresses from whichever server has some first; there are none when no server has any.
async fn ask_all(servers: &[SocketAddr], name: &Name, kind: RecordType) -> Result<Vec<IpAddr>, Failure> {
    let mut answers: FuturesUnordered<_> =
        servers.iter().map(|server| server::ask(*server, name, kind)).collect();
    let mut worst = None;
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(ips) => return Ok(ips),
            // One that knows counts for more than one that fails.
            Err(Failure::Unknown) => worst = Some(Failure::Unknown),
            Err(error) => worst = worst.or(Some(error)),
        }
    }
    Err(worst.unwrap_or(Failure::Unknown))
}
