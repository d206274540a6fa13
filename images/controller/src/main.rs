//! The image of the control plane: parses flags, starts logs, admin server and one room, and drains on SIGTERM.

mod args;
mod reach;

use anyhow::{Context as _, Result};
use args::{Cli, Command, Common, Room};
use clap::Parser as _;
use mesh_kube::Client;
use mesh_metrics::Registry;
use mesh_runtime::admin::{self, AdminState};
use mesh_runtime::{LogHandle, Shutdown, init_tracing, termination_signal};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tracing::{error, info};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const VERSION: &str = mesh_types::built_as!();

/// What a room is given besides its settings.
struct Parts {
    client: Client,
    metrics: Registry,
    admin: AdminState,
    shutdown: Shutdown,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    mesh_tls::install_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match cli.command {
            Command::Room(room) => run(room).await,
            Command::Reach(args) => reach::run(connect().await?, args).await,
        }
    })
}

async fn run(room: Room) -> Result<()> {
    let (name, common, admin_addr) = match &room {
        Room::Identity(a) => ("identity", &a.common, a.admin_addr),
        Room::Destination(a) => ("destination", &a.common, a.admin_addr),
        Room::Policy(a) => ("policy", &a.common, a.admin_addr),
        Room::ProxyInjector(a) => ("proxy-injector", &a.common, a.admin_addr),
        Room::ServiceMirror(a) => ("service-mirror", &a.common, a.admin_addr),
    };
    let grace = common.shutdown_grace_period;
    let log = start_logs(common)?;
    info!(controller = name, version = VERSION, settings = ?room, "starting");
    let shutdown = Shutdown::new();
    let parts = start(admin_addr, log, &shutdown).await?;
    let work = shutdown.spawn("room", run_room(room, parts));
    let mut work = std::pin::pin!(work);
    let outcome = tokio::select! {
        ended = &mut work => Some(ended),
        signal = termination_signal() => {
            info!(signal, "draining");
            None
        }
    };
    shutdown.drain(grace).await;
    match outcome {
        Some(ended) => ended.context("the controller panicked")?,
        None => Ok(()),
    }
}

fn start_logs(common: &Common) -> Result<LogHandle> {
    Ok(init_tracing(common.log_format, &common.log_level)?)
}

async fn start(admin_addr: SocketAddr, log: LogHandle, shutdown: &Shutdown) -> Result<Parts> {
    let metrics = Registry::new();
    mesh_metrics::register_process(&metrics);
    let text = metrics.clone();
    let admin = AdminState::new(Arc::new(move || text.encode()), Some(log));
    admin::serve(admin_addr, admin.clone(), shutdown).await?;
    let client = connect().await?;
    Ok(Parts { client, metrics, admin, shutdown: shutdown.clone() })
}

/// In a pod its service account, elsewhere the current context, so that a controller can be run by hand.
async fn connect() -> Result<Client> {
    let client = match std::env::var_os("KUBERNETES_SERVICE_HOST") {
        Some(_) => mesh_kube::in_cluster(),
        None => mesh_kube::connect(&mesh_kube::Connection::default()).await,
    };
    client.context("no way to the cluster's API")
}

async fn listen(addr: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(addr).await.with_context(|| format!("cannot listen on {addr}"))
}

async fn run_room(room: Room, parts: Parts) -> Result<()> {
    let Parts { client, metrics, admin, shutdown } = parts;
    let outcome = match room {
        Room::Identity(a) => {
            let config = mesh_identity::Config {
                controller_namespace: a.controller_namespace,
                trust_domain: a.identity_trust_domain,
                issuance_lifetime: a.identity_issuance_lifetime,
                clock_skew_allowance: a.identity_clock_skew_allowance,
                scheme: a.identity_scheme,
            };
            let listener = listen(a.addr).await?;
            mesh_identity::run(config, client, listener, &metrics, admin, shutdown).await.map_err(Into::into)
        }
        Room::Destination(a) => {
            let config = mesh_destination::Config {
                controller_namespace: a.controller_namespace,
                identity_trust_domain: a.identity_trust_domain,
                cluster_domain: a.cluster_domain,
                default_opaque_ports: a.default_opaque_ports,
                enable_h2_upgrade: a.enable_h2_upgrade,
            };
            let listener = listen(a.addr).await?;
            mesh_destination::run(config, client, listener, &metrics, admin, shutdown)
                .await
                .map_err(Into::into)
        }
        Room::Policy(a) => {
            let config = mesh_policy::Config {
                cluster_domain: a.cluster_domain,
                cluster_networks: a.cluster_networks,
                default_policy: a.default_policy,
                default_opaque_ports: a.default_opaque_ports,
                probe_networks: a.probe_networks,
                allow_l5d_request_headers: a.allow_l5d_request_headers,
            };
            let listener = listen(a.grpc_addr).await?;
            mesh_policy::run(config, client, listener, &metrics, admin, shutdown).await.map_err(Into::into)
        }
        Room::ProxyInjector(a) => {
            let config = mesh_injector::webhook::Config { addr: a.addr, namespace: a.controller_namespace };
            mesh_injector::webhook::run(config, client, &metrics, admin, shutdown).await.map_err(Into::into)
        }
        Room::ServiceMirror(a) => {
            let config = mesh_service_mirror::Config {
                namespace: a.namespace,
                control_plane_namespace: a.controller_namespace,
                holder: a.holder,
                create_namespaces: a.enable_namespace_creation,
            };
            mesh_service_mirror::run(config, client, metrics, admin, shutdown).await;
            Ok(())
        }
    };
    outcome.inspect_err(|error: &anyhow::Error| error!(%error, "the controller failed"))
}
