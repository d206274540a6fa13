//! The supervisor: one process that holds all clusters of a sandbox, and takes them along when it ends.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Blueprint, Cluster};
use crate::control;
use crate::error::Error;
use crate::faults::{Faults, Site};
use crate::network::{ClusterNet, ClusterNetwork, Wan};
use crate::state::StateDir;
use crate::up::UpOptions;
use crate::wan::WanFaults;

mod answers;

/// Worker threads of a cluster's runtime.
const WORKERS: usize = 2;
/// How long pods have to end when the sandbox goes down; then they are killed with it.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// A cluster with the runtime it lives on.
pub(super) struct Hosted {
    pub(super) cluster: Cluster,
    /// Spawns onto threads inside the cluster's network namespace.
    pub(super) runtime: tokio::runtime::Handle,
}

/// A capture that is being written.
pub(super) struct Recording {
    pub(super) token: CancellationToken,
    pub(super) packets: tokio::task::JoinHandle<std::io::Result<u64>>,
}

/// Everything a control request may touch.
pub(super) struct Supervisor {
    pub(super) clusters: Vec<Hosted>,
    pub(super) faults: Mutex<Faults>,
    pub(super) wan: WanFaults,
    pub(super) captures: Mutex<HashMap<u64, Recording>>,
    pub(super) next_capture: AtomicU64,
    pub(super) started: Instant,
    pub(super) state: StateDir,
    pub(super) token: CancellationToken,
}

impl Supervisor {
    pub(super) fn capture_number(&self) -> u64 {
        self.next_capture.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Runs a sandbox in this process until it is told to end: by control request, signal, or `ended` resolving. `report`
/// is told each step; `ready` is called once all clusters are Ready.
///
/// # Errors
/// When a cluster does not come up.
pub(crate) fn run(
    options: &UpOptions,
    report: &mut dyn FnMut(&str),
    ready: impl FnOnce(),
    ended: impl Future<Output = ()>,
) -> Result<(), Error> {
    let state = StateDir::resolve(options.state_dir.clone());
    let lock = state.take()?;
    let token = CancellationToken::new();
    let outcome = host(options, &state, &token, report, ready, ended);
    token.cancel();
    if outcome.is_ok() {
        state.remove()?;
    }
    drop(lock);
    outcome
}

fn host(
    options: &UpOptions,
    state: &StateDir,
    token: &CancellationToken,
    report: &mut dyn FnMut(&str),
    ready: impl FnOnce(),
    ended: impl Future<Output = ()>,
) -> Result<(), Error> {
    let began = Instant::now();
    let wan = Wan::create()?;
    let mut threads = Vec::new();
    let (sender, receiver) = mpsc::channel();
    for (index, name) in (1..=u8::MAX).zip(&options.clusters) {
        let (pod_cidr, service_cidr) = options.subnets(index);
        let net = ClusterNet { index, name: name.clone(), pod_cidr, service_cidr, flat: options.flat };
        let network = ClusterNetwork::create(&wan, net)?;
        let blueprint = blueprint(options, state, index, name, network)?;
        threads.push(spawn_cluster(blueprint, token.clone(), sender.clone())?);
    }
    drop(sender);
    let mut clusters = Vec::new();
    while let Ok(started) = receiver.recv() {
        let hosted = started?;
        report(&format!("{} √ API {}, node Ready, DNS", hosted.cluster.name, hosted.cluster.server));
        clusters.push(hosted);
        if clusters.len() == options.clusters.len() {
            break;
        }
    }
    if clusters.len() != options.clusters.len() {
        return Err(Error::Supervisor("a cluster ended while starting".to_owned()));
    }
    clusters.sort_by_key(|hosted| options.clusters.iter().position(|name| *name == hosted.cluster.name));
    let access: Vec<_> = clusters.iter().map(|hosted| hosted.cluster.access()).collect::<Result<_, _>>()?;
    state.write(&state.kubeconfig(), &crate::kubeconfig::render(&access))?;
    let sites = clusters.iter().map(site).collect();
    let supervisor = Arc::new(Supervisor {
        clusters,
        faults: Mutex::default(),
        wan: WanFaults::new(wan.netns().clone(), sites),
        captures: Mutex::default(),
        next_capture: AtomicU64::new(0),
        started: began,
        state: state.clone(),
        token: token.clone(),
    });
    let served = serve(&supervisor, ready, ended);
    token.cancel();
    drop(supervisor);
    for thread in threads {
        // A thread that panicked has nothing left to stop.
        let _ = thread.join();
    }
    served
}

fn site(hosted: &Hosted) -> Site {
    let net = hosted.cluster.network.net();
    let mut networks = vec![net.external()];
    networks.extend(net.flat.then_some(net.pod_cidr));
    Site { name: net.name.clone(), interface: format!("c{}", net.index), networks }
}

fn blueprint(
    options: &UpOptions,
    state: &StateDir,
    index: u8,
    name: &str,
    network: ClusterNetwork,
) -> Result<Blueprint, Error> {
    let failed = |source| Error::Listen { what: "API server", address: "127.0.0.1".to_owned(), source };
    let host_listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    host_listener.set_nonblocking(true).map_err(failed)?;
    Ok(Blueprint {
        name: name.to_owned(),
        index,
        network,
        host_listener,
        bin_dirs: bin_dirs(&options.bin_dirs),
        run_dir: state.path().join(name),
    })
}

/// Starts a thread with a cluster's runtime; it lives until the token is cancelled.
fn spawn_cluster(
    blueprint: Blueprint,
    token: CancellationToken,
    started: mpsc::Sender<Result<Hosted, Error>>,
) -> Result<std::thread::JoinHandle<()>, Error> {
    let name = blueprint.name.clone();
    let body = move || {
        let network = blueprint.network.clone();
        if let Err(source) = network.netns().enter() {
            let _ = started.send(Err(Error::System {
                action: format!("enter the network of {}", blueprint.name),
                source,
            }));
            return;
        }
        let built = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name(&blueprint.name)
            .enable_all()
            .on_thread_start(move || {
                // A thread in the wrong namespace would serve the host; better none.
                if network.netns().enter().is_err() {
                    std::process::abort();
                }
            })
            .build();
        let runtime = match built {
            Ok(runtime) => runtime,
            Err(source) => {
                let _ = started.send(Err(Error::System { action: "start a runtime".to_owned(), source }));
                return;
            }
        };
        let handle = runtime.handle().clone();
        let stopping = token.clone();
        let outcome = runtime.block_on(Cluster::start(blueprint, token));
        // The supervisor gives up when a cluster fails; then nobody receives.
        let _ = started.send(outcome.map(|cluster| Hosted { cluster, runtime: handle }));
        drop(started);
        runtime.block_on(stopping.cancelled());
        runtime.shutdown_timeout(STOP_WITHIN);
    };
    std::thread::Builder::new()
        .name(format!("cluster-{name}"))
        .spawn(body)
        .map_err(|source| Error::System { action: "start a thread".to_owned(), source })
}

/// Answers control requests until the sandbox is to end, then stops the nodes.
fn serve(
    supervisor: &Arc<Supervisor>,
    ready: impl FnOnce(),
    ended: impl Future<Output = ()>,
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::System { action: "start a runtime".to_owned(), source })?;
    let token = supervisor.token.clone();
    let outcome = runtime.block_on(async {
        let listener = control::listen(&supervisor.state)?;
        ready();
        tokio::select! {
            () = control::serve(listener, supervisor.clone(), token.clone()) => {}
            () = ended => {}
            signal = mesh_runtime::termination_signal() => tracing::info!(signal, "ending"),
        }
        supervisor.stop();
        Ok(())
    });
    // A read of standard input may never return; it must not hold the end up.
    runtime.shutdown_background();
    outcome
}

impl Supervisor {
    fn stop(&self) {
        for hosted in &self.clusters {
            hosted.cluster.stop();
        }
    }
}

/// Resolves when standard input is closed.
pub(crate) async fn stdin_closed() {
    use tokio::io::AsyncReadExt as _;
    let mut stdin = tokio::io::stdin();
    let mut buffer = [0; 256];
    while !matches!(stdin.read(&mut buffer).await, Ok(0) | Err(_)) {}
}

/// Writes one line to standard output, whole and at once.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody listening is no reason to end the sandbox.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Directories where images' binaries are looked for: beside this executable, then those asked for.
pub(crate) fn bin_dirs(asked: &[PathBuf]) -> Vec<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(PathBuf::from));
    beside.into_iter().chain(asked.iter().cloned()).collect()
}
