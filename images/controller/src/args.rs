//! The command line: one subcommand a room, flags named as Linkerd's controllers name them.

use clap::{ArgAction, Args, Parser, Subcommand};
use mesh_runtime::LogFormat;
use mesh_types::ports;
use std::net::SocketAddr;
use std::time::Duration;

/// The control plane of Isthmus: each subcommand runs one controller.
#[derive(Debug, Parser)]
#[command(name = "isthmus-controller", version = crate::VERSION, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What this image does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a controller.
    #[command(flatten)]
    Room(Room),
    /// Tries a linked cluster's gateway and API server from here, and prints a report as JSON.
    Reach(crate::reach::ReachArgs),
}

/// Which controller runs.
#[derive(Debug, Subcommand)]
pub(crate) enum Room {
    /// Signs workload certificates.
    Identity(IdentityArgs),
    /// Tells proxies where endpoints are.
    Destination(DestinationArgs),
    /// Tells proxies what is allowed, and how traffic is sent.
    Policy(PolicyArgs),
    /// Injects sidecars into pods.
    ProxyInjector(InjectorArgs),
    /// Imports exported services of linked clusters.
    ServiceMirror(MirrorArgs),
}

/// What every controller takes.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Log filter: a level, or directives such as `info,mesh_destination=debug`.
    #[arg(long, default_value = "info")]
    pub(crate) log_level: String,
    /// `plain` or `json`.
    #[arg(long, default_value = "plain")]
    pub(crate) log_format: LogFormat,
    /// Seconds that streams and requests in flight get to end after SIGTERM.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub(crate) shutdown_grace_period: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct IdentityArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Address of the gRPC server.
    #[arg(long, default_value_t = any(ports::IDENTITY))]
    pub(crate) addr: SocketAddr,
    /// Address of the admin server.
    #[arg(long, default_value_t = any(ports::CONTROLLER_ADMIN))]
    pub(crate) admin_addr: SocketAddr,
    /// Namespace of the control plane.
    #[arg(long, default_value = mesh_types::CONTROL_PLANE_NAMESPACE)]
    pub(crate) controller_namespace: String,
    /// Trust domain of identities.
    #[arg(long, default_value = mesh_types::CLUSTER_DOMAIN)]
    pub(crate) identity_trust_domain: String,
    /// How long certificates are valid.
    #[arg(long, default_value = "24h", value_parser = duration)]
    pub(crate) identity_issuance_lifetime: Duration,
    /// Tolerated difference between clocks.
    #[arg(long, default_value = "20s", value_parser = duration)]
    pub(crate) identity_clock_skew_allowance: Duration,
    /// How the issuer Secret is written: `linkerd.io/tls` or `kubernetes.io/tls`.
    #[arg(long, default_value = "linkerd.io/tls")]
    pub(crate) identity_scheme: mesh_identity::Scheme,
}

#[derive(Debug, Args)]
pub(crate) struct DestinationArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Address of the gRPC server.
    #[arg(long, default_value_t = any(ports::DESTINATION))]
    pub(crate) addr: SocketAddr,
    /// Address of the admin server.
    #[arg(long, default_value_t = any(ports::DESTINATION_ADMIN))]
    pub(crate) admin_addr: SocketAddr,
    /// Namespace of the control plane.
    #[arg(long, default_value = mesh_types::CONTROL_PLANE_NAMESPACE)]
    pub(crate) controller_namespace: String,
    /// Trust domain of identities.
    #[arg(long, default_value = mesh_types::CLUSTER_DOMAIN)]
    pub(crate) identity_trust_domain: String,
    /// DNS domain of the cluster.
    #[arg(long, default_value = mesh_types::CLUSTER_DOMAIN)]
    pub(crate) cluster_domain: String,
    /// Ports that are opaque where no annotation says otherwise.
    #[arg(long, default_value = ports::DEFAULT_OPAQUE)]
    pub(crate) default_opaque_ports: String,
    /// Whether HTTP/1 is carried over HTTP/2 between proxies.
    #[arg(long, default_value_t = true, action = ArgAction::Set)]
    pub(crate) enable_h2_upgrade: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Address of the gRPC server.
    #[arg(long, default_value_t = any(ports::POLICY))]
    pub(crate) grpc_addr: SocketAddr,
    /// Address of the admin server.
    #[arg(long, default_value_t = any(ports::CONTROLLER_ADMIN))]
    pub(crate) admin_addr: SocketAddr,
    /// Namespace of the control plane.
    #[arg(long, default_value = mesh_types::CONTROL_PLANE_NAMESPACE)]
    pub(crate) control_plane_namespace: String,
    /// Trust domain of identities.
    #[arg(long, default_value = mesh_types::CLUSTER_DOMAIN)]
    pub(crate) identity_domain: String,
    /// DNS domain of the cluster.
    #[arg(long, default_value = mesh_types::CLUSTER_DOMAIN)]
    pub(crate) cluster_domain: String,
    /// Networks of the cluster, which `cluster-…` policies allow.
    #[arg(long, value_delimiter = ',', default_value = CLUSTER_NETWORKS)]
    pub(crate) cluster_networks: Vec<ipnet::IpNet>,
    /// The inbound policy where neither pod nor namespace has one.
    #[arg(long, default_value = "all-unauthenticated")]
    pub(crate) default_policy: mesh_policy::DefaultPolicy,
    /// Ports that are opaque where no annotation says otherwise.
    #[arg(long, default_value = ports::DEFAULT_OPAQUE)]
    pub(crate) default_opaque_ports: String,
    /// Networks that probes come from.
    #[arg(long, value_delimiter = ',', default_value = "0.0.0.0/0,::/0")]
    pub(crate) probe_networks: Vec<ipnet::IpNet>,
    /// Whether clients may set timeouts and retries by headers.
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub(crate) allow_l5d_request_headers: bool,
}

/// Linkerd's default: the private address ranges.
const CLUSTER_NETWORKS: &str = "10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16,fd00::/8";

#[derive(Debug, Args)]
pub(crate) struct InjectorArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Address of the webhook.
    #[arg(long, default_value_t = any(ports::INJECTOR))]
    pub(crate) addr: SocketAddr,
    /// Address of the admin server.
    #[arg(long, default_value_t = any(ports::INJECTOR_ADMIN))]
    pub(crate) admin_addr: SocketAddr,
    /// Namespace of the control plane.
    #[arg(long, default_value = mesh_types::CONTROL_PLANE_NAMESPACE)]
    pub(crate) controller_namespace: String,
}

#[derive(Debug, Args)]
pub(crate) struct MirrorArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Address of the admin server.
    #[arg(long, default_value_t = any(ports::MIRROR_ADMIN))]
    pub(crate) admin_addr: SocketAddr,
    /// Namespace of Links, their Secrets and Leases.
    #[arg(long, default_value = mesh_types::MULTICLUSTER_NAMESPACE)]
    pub(crate) namespace: String,
    /// Namespace of the control plane.
    #[arg(long, default_value = mesh_types::CONTROL_PLANE_NAMESPACE)]
    pub(crate) controller_namespace: String,
    /// Whether missing namespaces are created for mirrored services.
    #[arg(long, default_value_t = false, action = ArgAction::Set)]
    pub(crate) enable_namespace_creation: bool,
    /// Name of this replica in Leases; must differ between replicas.
    #[arg(long, env = "HOSTNAME", default_value = "service-mirror")]
    pub(crate) holder: String,
}

fn any(port: u16) -> SocketAddr {
    (std::net::Ipv4Addr::UNSPECIFIED, port).into()
}

/// `20s`, and Go's compound form that Helm values hold: `24h0m0s`.
fn duration(text: &str) -> Result<Duration, String> {
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    loop {
        let unit = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let next = rest[unit..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| unit + at);
        let part = mesh_types::parse_duration(&rest[..next]).map_err(|e| e.to_string())?;
        total = total.saturating_add(part);
        rest = &rest[next..];
        if rest.is_empty() {
            return Ok(total);
        }
    }
}

#[cfg(test)]
mod tests;
