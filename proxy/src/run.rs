//! Starting a proxy, serving until told to stop, and stopping in order.
//!
//! The calling thread becomes the control thread: identity, policy, discovery and the admin server. Traffic is served by
//! worker threads, each with a runtime and listeners of its own.

use crate::accept;
use crate::access_log::AccessLog;
use crate::admin::{self, Admin, Readiness};
use crate::config::{Config, Env};
use crate::control::{ControlChannel, Dns};
use crate::drain::Drain;
use crate::error::Error;
use crate::identity::{self, Certifier};
use crate::inbound::policies::Policies;
use crate::outbound::discovery::Discovery;
use crate::shared::Shared;
use crate::worker::{self, Worker};
use mesh_metrics::{Labels, Registry, register_process};
use mesh_net::{OriginalDst, SocketOptions};
use mesh_runtime::LogHandle;
use mesh_tls::MeshTls;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

/// How often idle metric series are looked for.
const EVICT_EVERY: Duration = Duration::from_secs(30);

/// What a proxy is started with besides its configuration.
#[derive(Default)]
pub struct Options {
    /// The version that the metrics tell.
    pub version: &'static str,
    /// The environment as the admin server shows it.
    pub env: Env,
    /// The adjustable log filter.
    pub log: Option<LogHandle>,
    /// Makes what takes direct connections that name a service: the gateway.
    pub gateway: Option<worker::GatewayFactory>,
    /// The metrics; a test may look at them.
    pub registry: Registry,
    /// Where the access log goes, if not to standard output.
    pub access_log: Option<Box<dyn std::io::Write + Send>>,
    /// Where inbound connections were going.
    pub inbound_dst: OriginalDst,
    /// Where outbound connections were going.
    pub outbound_dst: OriginalDst,
    /// Cancelled from outside to stop the proxy, as a signal does.
    pub stop: CancellationToken,
}

/// Runs a proxy to its end.
///
/// # Errors
/// When it cannot start, or a worker ends unasked.
pub fn run(config: Config, mut options: Options) -> Result<(), Error> {
    let control = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .map_err(|error| start("control runtime", error))?;
    let bundle = identity::trust::initial(&config.identity)
        .map_err(|error| start("LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS", error))?;
    let tls = MeshTls::new(config.identity.local.clone(), bundle).map_err(|error| start("TLS", error))?;
    let registry = options.registry.clone();
    describe(&registry, options.version);
    let open_files = mesh_net::raise_open_files();
    let access_log = match config.access_log {
        None => None,
        Some(format) => {
            let out = options.access_log.take().unwrap_or_else(|| Box::new(std::io::stdout()));
            Some(AccessLog::start(format, out, &registry).map_err(|error| start("access log", error))?)
        }
    };
    let shared = Shared {
        max_connections: config.max_connections.unwrap_or_else(|| accept::default_limit(open_files)),
        access_log,
        config: Arc::new(config),
        tls,
        registry,
        drain: Drain::new(),
        control: control.handle().clone(),
    };
    control.block_on(serve(shared, options))
}

async fn serve(shared: Shared, mut options: Options) -> Result<(), Error> {
    let config = Arc::clone(&shared.config);
    let ready = Readiness::default();
    let shutdown = Arc::new(Notify::new());
    start_admin(&shared, &mut options, &ready, &shutdown)?;
    tokio::spawn(evict(shared.registry.clone(), config.metrics_retain_idle));

    let dns = Arc::new(Dns::new(&shared.registry));
    let channel =
        |service| ControlChannel::metered(service, shared.tls.clone(), Arc::clone(&dns), &shared.registry);
    let identity = channel(config.identity.service.clone());
    let trust = identity::trust::follow(
        config.identity.clone(),
        shared.tls.clone(),
        identity.clone(),
        config.policy.instance(),
    );
    tokio::spawn(trust);
    let policy = channel(config.policy.service.clone());
    let destination = channel(config.destination.service.clone());
    let certifier = Certifier::new(config.identity.clone(), shared.tls.clone(), identity, &shared.registry);
    let mut certified = certifier.certified();
    tokio::spawn(certifier.run());
    let control = shared.control.clone();
    let sources = Sources {
        certified: certified.clone(),
        policies: Policies::watch(Arc::clone(&config), policy.clone(), control.clone()),
        discovery: Discovery::new(Arc::clone(&config), policy, destination, control),
    };
    let mut workers = Workers::start(&shared, &sources, &mut options).await?;

    let stopped = async {
        tokio::select! {
            reason = mesh_runtime::termination_signal() => reason,
            () = shutdown.notified() => "shutdown endpoint",
            () = options.stop.cancelled() => "stopped",
        }
    };
    tokio::pin!(stopped);
    let reason = tokio::select! {
        error = workers.failed() => return Err(error),
        reason = &mut stopped => reason,
        // What it answers with locks the channel: held on to while the proxy runs, it would stop the first renewal for ever.
        () = async { drop(certified.wait_for(|certified| *certified).await) } => {
            if let Err(error) = mesh_sys::forget_code() {
                tracing::debug!(%error, "what only the start needed stays in memory");
            }
            ready.set(true);
            tracing::info!(identity = %shared.tls.identity(), workers = config.cores, "ready");
            tokio::select! {
                error = workers.failed() => return Err(error),
                reason = &mut stopped => reason,
            }
        }
    };
    drain(reason, &shared, &ready, &workers.stop_accepting).await;
    workers.end().await;
    Ok(())
}

/// Opens the admin listener, and the gateway's probe listener where there is one.
fn start_admin(
    shared: &Shared,
    options: &mut Options,
    ready: &Readiness,
    shutdown: &Arc<Notify>,
) -> Result<(), Error> {
    let config = &shared.config;
    let admin = Admin {
        ready: ready.clone(),
        registry: shared.registry.clone(),
        env: std::mem::take(&mut options.env),
        tls: shared.tls.clone(),
        log: options.log.take(),
        shutdown: config.admin.shutdown_endpoint.then(|| Arc::clone(shutdown)),
    };
    tokio::task::spawn_local(admin::serve(listen("admin listener", config.admin.listen)?, admin));
    if let Some(addr) = config.gateway.as_ref().and_then(|gateway| gateway.probe_listen) {
        tokio::task::spawn_local(admin::serve_probe(listen("gateway probe listener", addr)?, ready.clone()));
    }
    Ok(())
}

/// What the control thread tells the workers.
struct Sources {
    certified: watch::Receiver<bool>,
    policies: Policies,
    discovery: Discovery,
}

/// The worker threads.
struct Workers {
    threads: Vec<JoinHandle<()>>,
    ended: mpsc::UnboundedReceiver<Result<(), Error>>,
    stop_accepting: CancellationToken,
    end: CancellationToken,
}

impl Workers {
    /// Starts the workers and waits until all their listeners are open.
    async fn start(shared: &Shared, sources: &Sources, options: &mut Options) -> Result<Self, Error> {
        let (stop_accepting, end) = (CancellationToken::new(), CancellationToken::new());
        let (started, mut ended) = mpsc::unbounded_channel();
        let gateway = options.gateway.take().map(Arc::new);
        let mut threads = Vec::new();
        for index in 0..shared.config.cores {
            let worker = Worker {
                shared: shared.clone(),
                policies: sources.policies.clone(),
                discovery: sources.discovery.clone(),
                gateway: gateway.clone(),
                inbound_dst: options.inbound_dst.clone(),
                outbound_dst: options.outbound_dst.clone(),
                certified: sources.certified.clone(),
                stop_accepting: stop_accepting.clone(),
                end: end.clone(),
            };
            threads.push(worker.spawn(index, started.clone())?);
        }
        drop(started);
        for _ in 0..threads.len() {
            ended.recv().await.ok_or_else(|| start("worker", "ended while it started"))??;
        }
        Ok(Self { threads, ended, stop_accepting, end })
    }

    /// Resolves when a worker has ended though nobody told it to.
    async fn failed(&mut self) -> Error {
        let ended = self.ended.recv().await;
        ended.and_then(Result::err).unwrap_or_else(|| start("worker", "ended unasked"))
    }

    /// Ends the workers, with whatever they still serve.
    async fn end(self) {
        self.end.cancel();
        for thread in self.threads {
            // A worker's panic was reported when it happened.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// Not ready → keep accepting while closing gracefully → stop accepting → wait for the rest, up to the deadline.
async fn drain(reason: &str, shared: &Shared, ready: &Readiness, stop_accepting: &CancellationToken) {
    let limits = shared.config.shutdown;
    tracing::info!(reason, open = shared.drain.open(), "draining");
    ready.set(false);
    shared.drain.start();
    tokio::time::sleep(limits.keep_accepting).await;
    stop_accepting.cancel();
    if !shared.drain.finished(limits.grace).await {
        tracing::warn!(open = shared.drain.open(), after = ?limits.grace, "cutting what is left");
    }
}

fn listen(what: &'static str, addr: SocketAddr) -> Result<TcpListener, Error> {
    const BACKLOG: u32 = 128;
    mesh_net::listen(addr, BACKLOG, &SocketOptions::default())
        .map_err(|error| start(what, format!("{addr}: {error}")))
}

async fn evict(registry: Registry, retain: Duration) {
    let mut tick = tokio::time::interval(EVICT_EVERY);
    loop {
        tick.tick().await;
        registry.evict(Instant::now(), retain);
    }
}

fn describe(registry: &Registry, version: &'static str) {
    register_process(registry);
    let build = Labels::from_iter([("version", version)]);
    registry.info("proxy_build_info", "Proxy build info", &build);
    let crypto = Labels::from_iter(mesh_tls::crypto_info());
    registry.info("rustls_info", "What TLS between proxies may be made with", &crypto);
}

fn start(what: &'static str, reason: impl ToString) -> Error {
    Error::Start { what, reason: reason.to_string() }
}
