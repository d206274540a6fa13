//! The proxy's configuration: the `LINKERD2_PROXY_*` environment that the injector sets, read once at start.
//!
//! Every mistake is reported at once. Defaults are Linkerd's unless a comment says otherwise.

use crate::access_log::AccessFormat;
use ipnet::IpNet;
use mesh_types::{Authority, Identity, PortSet};
use serde::Serialize;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

mod env;
mod parse;

pub use env::{Env, redacted};

/// Everything the proxy is told by its environment.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many workers serve traffic.
    pub cores: usize,
    /// Connections that clients may have open, all together; more are closed at once. Where nothing is said, what the limit
    /// on open files allows.
    pub max_connections: Option<usize>,
    /// Log filter and format.
    pub log: Log,
    /// How requests are logged; `None` where they are not.
    pub access_log: Option<AccessFormat>,
    /// The inbound side.
    pub inbound: Inbound,
    /// The outbound side.
    pub outbound: Outbound,
    /// Who we are and who certifies it.
    pub identity: Identities,
    /// The destination service.
    pub destination: Destination,
    /// The policy service.
    pub policy: Policy,
    /// The admin server.
    pub admin: Admin,
    /// Long-lived control-plane streams.
    pub control_stream: ControlStream,
    /// Shutting down.
    pub shutdown: Shutdown,
    /// How long a metric nobody touches is kept.
    pub metrics_retain_idle: Duration,
    /// Set where the proxy is a gateway.
    pub gateway: Option<Gateway>,
}

/// Log settings.
#[derive(Clone, Debug)]
pub struct Log {
    /// A `tracing` filter.
    pub filter: String,
    /// `plain` or `json`.
    pub format: String,
}

/// Socket settings of one direction.
#[derive(Clone, Copy, Debug)]
pub struct Sockets {
    /// TCP keep-alive of accepted connections.
    pub accept_keepalive: Option<Duration>,
    /// TCP user timeout of accepted connections.
    pub accept_user_timeout: Option<Duration>,
    /// TCP keep-alive of connections we make.
    pub connect_keepalive: Option<Duration>,
    /// TCP user timeout of connections we make.
    pub connect_user_timeout: Option<Duration>,
    /// The listen backlog.
    pub backlog: u32,
}

/// HTTP settings of one direction.
#[derive(Clone, Copy, Debug)]
pub struct Http {
    /// Requests that may wait for an endpoint.
    pub queue_capacity: usize,
    /// How long a destination may stay unready before its requests fail at once.
    pub failfast_timeout: Duration,
    /// Requests in flight, all together.
    pub max_in_flight: usize,
    /// Idle HTTP/1 connections kept per endpoint.
    pub max_idle_per_endpoint: usize,
    /// How long an idle HTTP/1 connection is kept.
    pub pool_idle_timeout: Duration,
    /// HTTP/2 stream window, bytes.
    pub h2_stream_window: u32,
    /// HTTP/2 connection window, bytes.
    pub h2_connection_window: u32,
    /// HTTP/2 keep-alive of the server side: (interval, timeout).
    pub server_keep_alive: Option<(Duration, Duration)>,
    /// How long an HTTP/1 client may take from the first byte of a request's head to its last.
    pub header_read_timeout: Duration,
    /// How long an HTTP/1 client may leave a connection idle.
    pub idle_timeout: Option<Duration>,
}

/// The inbound side.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// Where redirected connections arrive.
    pub listen: SocketAddr,
    /// Socket settings.
    pub sockets: Sockets,
    /// HTTP settings.
    pub http: Http,
    /// Limit for connecting to the application.
    pub connect_timeout: Duration,
    /// Limit for protocol detection.
    pub detect_timeout: Duration,
    /// How long the policy of an unused port is kept.
    pub discovery_idle_timeout: Duration,
    /// Addresses of this pod; empty means any.
    pub ips: Vec<IpAddr>,
    /// Ports whose policy is watched from the start.
    pub ports: PortSet,
    /// Ports that need an authenticated client whatever the policy says.
    pub require_identity: PortSet,
    /// Ports that need TLS whatever the policy says.
    pub require_tls: PortSet,
    /// Ports that are opaque until policy says otherwise.
    pub opaque: PortSet,
    /// The policy in force until the policy service answers.
    pub default_policy: DefaultPolicy,
    /// The networks `cluster-*` policies speak of.
    pub cluster_networks: Vec<IpNet>,
    /// Gateways whose word on the original client (`Forwarded`) counts.
    pub gateways: Vec<Identity>,
}

/// The policy in force where none is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DefaultPolicy {
    /// Everyone.
    AllUnauthenticated,
    /// Every mesh identity.
    AllAuthenticated,
    /// Everyone inside the cluster networks.
    ClusterUnauthenticated,
    /// Every mesh identity inside the cluster networks.
    ClusterAuthenticated,
    /// Everyone, but said in logs and metrics.
    Audit,
    /// Nobody.
    Deny,
}

/// The outbound side.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// Where redirected connections arrive.
    pub listen: Vec<SocketAddr>,
    /// Socket settings.
    pub sockets: Sockets,
    /// HTTP settings.
    pub http: Http,
    /// Limit for connecting to an endpoint.
    pub connect_timeout: Duration,
    /// Limit for protocol detection.
    pub detect_timeout: Duration,
    /// How long an unused destination is kept.
    pub discovery_idle_timeout: Duration,
    /// Connections that may wait for an endpoint.
    pub tcp_queue_capacity: usize,
    /// How long an opaque destination may stay unready before its connections fail at once.
    pub tcp_failfast_timeout: Duration,
    /// Time over which an endpoint that joins others gets its share; zero gives it at once.
    pub slow_start: Duration,
    /// Requests and connections that one endpoint takes at a time; 0 means any number.
    pub max_in_flight_per_endpoint: u32,
    /// Memory for request bodies that may have to be sent again, all together, bytes.
    pub max_buffered_bytes: usize,
    /// Whether metrics carry the request's hostname.
    pub hostname_labels: bool,
    /// Whether informational `l5d-*` headers are left out.
    pub disable_informational_headers: bool,
    /// Whether requests are routed by `l5d-dst-override`, else by host.
    pub ingress_mode: bool,
}

/// A control-plane service and the name its certificate must have.
#[derive(Clone, Debug)]
pub struct ControlAddr {
    /// Where it listens.
    pub addr: Authority,
    /// Its identity; `None` where it is reached in plaintext over loopback.
    pub identity: Option<Identity>,
}

/// Who we are and who certifies it.
#[derive(Clone, Debug)]
pub struct Identities {
    /// Our own name.
    pub local: Identity,
    /// The trust anchors we start with, PEM.
    pub trust_anchors: String,
    /// Where the service-account token is.
    pub token_file: PathBuf,
    /// A directory of our own (tmpfs) for the last bundle.
    pub dir: Option<PathBuf>,
    /// The identity service.
    pub service: ControlAddr,
    /// Shortest time between renewals.
    pub min_refresh: Duration,
    /// Longest time between renewals.
    pub max_refresh: Duration,
}

/// The destination service.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The service.
    pub service: ControlAddr,
    /// The context token given with every lookup.
    pub context: String,
    /// Addresses that are looked up.
    pub profile_networks: Vec<IpNet>,
    /// Names that are looked up (suffixes, without leading or trailing dots).
    pub profile_suffixes: Vec<String>,
}

/// The policy service.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The service.
    pub service: ControlAddr,
    /// The workload token given with every watch.
    pub workload: String,
}

/// The admin server.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether `POST /shutdown` works.
    pub shutdown_endpoint: bool,
}

/// Long-lived control-plane streams.
#[derive(Clone, Copy, Debug)]
pub struct ControlStream {
    /// Limit for the first message.
    pub initial_timeout: Duration,
    /// Limit between messages while nobody reads; a stream is then reopened on demand.
    pub idle_timeout: Duration,
    /// How long a stream lives before it is reopened, so that control-plane replicas share load.
    pub lifetime: Duration,
}

/// Shutting down.
#[derive(Clone, Copy, Debug)]
pub struct Shutdown {
    /// How long connections may take to finish.
    pub grace: Duration,
    /// How long new connections are still taken after the signal: kube-proxy and other
    /// proxies learn of our end only a little later.
    pub keep_accepting: Duration,
}

/// Gateway settings.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Names that are forwarded (suffixes, without leading or trailing dots).
    pub suffixes: Vec<String>,
    /// Where the mirror's probe is answered.
    pub probe_listen: Option<SocketAddr>,
}

/// One thing wrong with the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The variable.
    pub variable: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

/// Everything wrong with the environment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} invalid environment variable(s)", self.0.len())?;
        for ConfigError { variable, problem } in &self.0 {
            write!(f, "; {variable}: {problem}")?;
        }
        Ok(())
    }
}

impl Policy {
    /// What tells this proxy apart from others of its identity: the pod's name, or the whole workload token.
    pub fn instance(&self) -> String {
        let pod = serde_json::from_str::<serde_json::Value>(&self.workload).ok();
        let pod = pod.and_then(|workload| workload.get("pod")?.as_str().map(ToOwned::to_owned));
        pod.unwrap_or_else(|| self.workload.clone())
    }
}

impl Config {
    /// Reads the process environment.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn from_process() -> Result<Self, ConfigErrors> {
        Self::parse(&Env::process())
    }

    /// Reads an environment.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(env: &Env) -> Result<Self, ConfigErrors> {
        parse::config(env)
    }
}

#[cfg(test)]
mod tests;
