//! What `meshctl sandbox …` calls: bringing a sandbox up, asking and changing it, taking it down.

use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::control::{self, Request};
use crate::error::Error;
use crate::preflight::preflight;
use crate::state::StateDir;
use crate::supervisor;

/// How long `down` waits for a graceful end before it kills the supervisor.
const DOWN_WITHIN: Duration = Duration::from_secs(10);
/// Most clusters of one sandbox: each has a /24 of 198.18.0.0/16.
const MOST_CLUSTERS: usize = 200;

/// What to bring up.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct UpOptions {
    /// Cluster names, in the order of their place on the WAN.
    pub clusters: Vec<String>,
    /// Give each cluster subnets of its own and route pod addresses between clusters.
    pub flat: bool,
    /// More directories in which images' binaries are looked for.
    pub bin_dirs: Vec<PathBuf>,
    /// State directory; `None` is `$ISTHMUS_SANDBOX_DIR`, else `/run/isthmus-sandbox`.
    pub state_dir: Option<PathBuf>,
}

impl Default for UpOptions {
    fn default() -> Self {
        let clusters = vec!["east".to_owned(), "west".to_owned()];
        Self { clusters, flat: false, bin_dirs: Vec::new(), state_dir: None }
    }
}

impl UpOptions {
    /// Everything wrong with the options, or everything missing on this machine.
    fn check(&self) -> Result<(), Error> {
        let mut wrong = Vec::new();
        for (index, name) in self.clusters.iter().enumerate() {
            let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if name.is_empty() || name.len() > 40 || !name.chars().all(allowed) || name.starts_with('-') {
                wrong.push(format!(
                    "cluster name {name:?}: use up to 40 lower-case letters, digits and dashes"
                ));
            }
            if self.clusters[..index].contains(name) {
                wrong.push(format!("cluster name {name:?} is given twice"));
            }
        }
        if self.clusters.is_empty() || self.clusters.len() > MOST_CLUSTERS {
            wrong.push(format!("{} clusters: name between 1 and {MOST_CLUSTERS}", self.clusters.len()));
        }
        if !wrong.is_empty() {
            return Err(Error::Options(wrong));
        }
        let missing = preflight();
        if missing.is_empty() { Ok(()) } else { Err(Error::Preflight(missing)) }
    }

    /// Pod and service subnets of the `index`-th cluster (from 1): the same in every cluster unless `flat`.
    pub(crate) fn subnets(&self, index: u8) -> (Ipv4Net, Ipv4Net) {
        let subnet = |second| Ipv4Net::new_assert(Ipv4Addr::new(10, second, 0, 0), 16);
        if !self.flat {
            return (subnet(42), subnet(43));
        }
        // 10.42, 10.43, then 10.44, 10.45, …; wraps below 10.42 beyond 106 clusters.
        let pods = 42_u8.wrapping_add((index - 1).wrapping_mul(2));
        (subnet(pods), subnet(pods.wrapping_add(1)))
    }
}

/// A running sandbox.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Status {
    /// Process id of the supervisor.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_seconds: f64,
    /// Kubeconfig with a context per cluster.
    pub kubeconfig: PathBuf,
    /// Clusters, in order.
    pub clusters: Vec<ClusterStatus>,
    /// Faults in force.
    pub faults: Vec<FaultStatus>,
}

/// One cluster of a running sandbox.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct ClusterStatus {
    /// Cluster name, also that of its kubeconfig context.
    pub name: String,
    /// API server, as the host reaches it.
    pub server: String,
    /// Is the API served (or stopped by a fault)?
    pub api_serving: bool,
    /// Is the node Ready?
    pub node_ready: bool,
    /// The node's address on the WAN.
    pub node_address: Ipv4Addr,
    /// Pods that run and are ready.
    pub pods_ready: usize,
    /// Pods that have not ended.
    pub pods: usize,
    /// Services.
    pub services: usize,
    /// A file that names the cluster's network namespace while the sandbox runs.
    pub netns: PathBuf,
}

/// A fault in force.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct FaultStatus {
    /// From (or between) which cluster.
    pub from: String,
    /// To which cluster.
    pub to: String,
    /// What is wrong.
    pub fault: String,
}

/// Neither supervisor nor containers hold what our caller gave us, such as a pipe whose end it waits for.
fn keep_descriptors() {
    if let Err(error) = mesh_sys::bequeath_nothing() {
        tracing::warn!(%error, "children inherit open files");
    }
}

/// Brings a sandbox up in a process of its own and returns once every cluster is Ready. `report` is told each step.
///
/// # Errors
/// [`Error::Options`], [`Error::Preflight`] when the machine lacks something, [`Error::AlreadyRunning`], or what kept a cluster from coming
/// up.
pub fn up(options: &UpOptions, report: &mut dyn FnMut(&str)) -> Result<Status, Error> {
    options.check()?;
    keep_descriptors();
    let state = StateDir::resolve(options.state_dir.clone());
    if let Some(pid) = state.running() {
        return Err(Error::AlreadyRunning { dir: state.path().to_owned(), pid });
    }
    let failed = |action: &str| {
        let action = action.to_owned();
        move |source| Error::System { action, source }
    };
    std::fs::create_dir_all(state.path()).map_err(failed("create the state directory"))?;
    let log = std::fs::File::create(state.log()).map_err(failed("create the supervisor's log"))?;
    let exe = std::env::current_exe().map_err(failed("find this executable"))?;
    let options = UpOptions { state_dir: Some(state.path().to_owned()), ..options.clone() };
    let argument = serde_json::to_string(&options).map_err(|error| Error::Refused(error.to_string()))?;
    let mut child = Command::new(exe)
        .args(["sandbox", "supervise", &argument])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(failed("start the supervisor"))?;
    let steps = child.stdout.take().map(BufReader::new).into_iter().flat_map(BufReader::lines);
    for line in steps.map_while(Result::ok) {
        if line == READY {
            return status(options.state_dir);
        }
        report(&line);
    }
    let _ = child.wait();
    let log = std::fs::read_to_string(state.log()).unwrap_or_default();
    let last: Vec<&str> = log.lines().rev().take(10).collect();
    Err(Error::Supervisor(last.into_iter().rev().collect::<Vec<_>>().join("\n")))
}

/// Environment variable with another log filter for the supervisor.
const LOG_ENV: &str = "ISTHMUS_SANDBOX_LOG";
/// What the supervisor logs unless told otherwise.
const LOG_FILTER: &str = "warn,mesh_sandbox=info,mesh_apiserver=info";
/// The line that tells that all clusters are Ready.
const READY: &str = "ready";

/// The hidden command behind [`up`]: supervises the sandbox described by `options`, which is JSON.
///
/// # Errors
/// What kept a cluster from coming up.
pub fn supervise(options: &str) -> Result<(), Error> {
    let options: UpOptions =
        serde_json::from_str(options).map_err(|error| Error::Refused(error.to_string()))?;
    // A session of its own: neither the terminal's hang-up nor its Ctrl-C reach the sandbox.
    let _ = rustix::process::setsid();
    // Whoever embeds this may have set up logging already.
    let filter = std::env::var(LOG_ENV).unwrap_or_else(|_| LOG_FILTER.to_owned());
    let _ = mesh_runtime::init_tracing(mesh_runtime::LogFormat::Plain, &filter);
    supervisor::run(&options, &mut supervisor::say, || supervisor::say(READY), std::future::pending())
}

/// Runs a sandbox in this very process: prints `ready` to standard output when every cluster is Ready, and takes
/// everything down on SIGINT or SIGTERM, or when standard input closes if that is asked for.
///
/// # Errors
/// As [`up`].
pub fn up_in_foreground(
    options: &UpOptions,
    until_stdin_closes: bool,
    report: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    options.check()?;
    keep_descriptors();
    let ended = async move {
        if until_stdin_closes {
            supervisor::stdin_closed().await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    supervisor::run(options, report, || supervisor::say(READY), ended)
}

/// Takes the sandbox down and removes its state directory, also one that a dead supervisor left. Answers whether one
/// was running.
///
/// # Errors
/// When it neither ends nor can be killed, or files cannot be removed.
pub fn down(state_dir: Option<PathBuf>) -> Result<bool, Error> {
    let state = StateDir::resolve(state_dir);
    let Some(pid) = state.running() else {
        state.remove()?;
        return Ok(false);
    };
    let asked = control::call(&state, &Request::Shutdown);
    let deadline = Instant::now() + if asked.is_ok() { DOWN_WITHIN } else { Duration::ZERO };
    while state.running().is_some() {
        if Instant::now() >= deadline {
            let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
            if let Some(pid) = pid {
                // All namespaces and processes of the sandbox go with its supervisor.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    state.remove()?;
    Ok(true)
}

/// What runs.
///
/// # Errors
/// [`Error::NotRunning`].
pub fn status(state_dir: Option<PathBuf>) -> Result<Status, Error> {
    let state = StateDir::resolve(state_dir);
    let told = control::call(&state, &Request::Status)?;
    serde_json::from_value(told).map_err(|error| Error::Refused(error.to_string()))
}

/// The kubeconfig of the running sandbox.
///
/// # Errors
/// [`Error::NotRunning`].
pub fn kubeconfig_path(state_dir: Option<PathBuf>) -> Result<PathBuf, Error> {
    let state = StateDir::resolve(state_dir);
    let path = state.kubeconfig();
    if state.running().is_some() && path.exists() {
        Ok(path)
    } else {
        Err(Error::NotRunning(state.path().to_owned()))
    }
}

/// Runs the user's shell with `KUBECONFIG` set; with a cluster, inside that cluster's network namespace, where Services
/// and pods answer.
///
/// # Errors
/// [`Error::NotRunning`], or when the namespace or the shell cannot be entered.
pub fn shell(state_dir: Option<PathBuf>, cluster: Option<&str>) -> Result<ExitStatus, Error> {
    let mut kubeconfig = kubeconfig_path(state_dir.clone())?;
    let mut netns = None;
    if let Some(name) = cluster {
        let running = status(state_dir.clone())?.clusters;
        let names: Vec<&str> = running.iter().map(|cluster| cluster.name.as_str()).collect();
        let unknown =
            || Error::Refused(format!("no cluster {name:?} runs here (there is {})", names.join(", ")));
        let found = running.iter().find(|cluster| cluster.name == name).ok_or_else(unknown)?;
        netns = Some(found.netns.clone());
        kubeconfig = kubeconfig_inside(&StateDir::resolve(state_dir), &kubeconfig, name, &running)?;
    }
    let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    run_shell(Path::new(&shell), &kubeconfig, netns.as_deref())
        .map_err(|source| Error::System { action: format!("run {}", shell.to_string_lossy()), source })
}

/// Writes a kubeconfig for use inside a cluster's network: the host's loopback is not there, the nodes are.
fn kubeconfig_inside(
    state: &StateDir,
    kubeconfig: &Path,
    name: &str,
    clusters: &[ClusterStatus],
) -> Result<PathBuf, Error> {
    let failed = |source| Error::File { action: "read", path: kubeconfig.to_owned(), source };
    let mut text = std::fs::read_to_string(kubeconfig).map_err(failed)?;
    for cluster in clusters {
        let inside = format!("https://{}:{}", cluster.node_address, crate::cluster::API_PORT);
        text = text.replace(&format!("server: {}\n", cluster.server), &format!("server: {inside}\n"));
    }
    let current = |line: &str| line.starts_with("current-context:");
    let lines: Vec<&str> = text.lines().filter(|line| !current(line)).collect();
    let path = state.path().join(format!("kubeconfig.inside-{name}"));
    state.write(&path, &format!("{}\ncurrent-context: {name:?}\n", lines.join("\n")))?;
    Ok(path)
}

fn run_shell(shell: &Path, kubeconfig: &Path, netns: Option<&Path>) -> std::io::Result<ExitStatus> {
    if let Some(netns) = netns {
        let namespace = std::fs::File::open(netns)?;
        let network = rustix::thread::LinkNameSpaceType::Network;
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(network))?;
    }
    Command::new(shell).env("KUBECONFIG", kubeconfig).status()
}

#[cfg(test)]
mod tests;
