//! Where a run takes place: a client and servers with a proxy beside each, under load. Two servers are the service's own,
//! the third is the next tier of its failover.

use crate::record::Record;
use crate::traffic::{DEADLINE, Lane, Load};
use anyhow::{Context as _, Result, bail, ensure};
use mesh_bed::{
    Bed, ECHO_PORT, HTTP_PORT, Layout, Limits, Process, RESET_PORT, SERVER, SERVER_IP, Server, Sidecar, admin,
};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Destination paths of the service's own endpoints, and of the next tier.
const LOCAL: &str = "app.bed.svc.cluster.local";
const SPARE: &str = "spare.bed.svc.cluster.local";
/// The proxy's executable.
const PROXY: &str = "isthmus-proxy";
/// Servers of the service; one more is spare.
pub(crate) const LOCAL_SERVERS: u8 = 2;
/// How long everything may take to be answered once.
const FIRST: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// What a panic says, wherever it is caught.
const PANIC: &str = "panicked at";

/// What all runs have in common.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where the binaries are.
    pub(crate) bin: PathBuf,
    /// Spans are shorter.
    pub(crate) quick: bool,
    /// A proxy that is linked dynamically.
    pub(crate) dynamic: Option<PathBuf>,
}

/// How a run is set up.
pub(crate) struct Setup {
    pub(crate) settings: Settings,
    /// The client's proxy.
    pub(crate) client_binary: PathBuf,
    pub(crate) lanes: Vec<Lane>,
    /// More variables of the client's proxy.
    pub(crate) client_env: Vec<(String, String)>,
    /// What the client's proxy may use.
    pub(crate) limits: Limits,
    /// How long certificates last, and how far clocks may differ, where it is not long.
    pub(crate) lifetime: Option<(Duration, Duration)>,
    /// Goes with the run.
    pub(crate) files: tempfile::TempDir,
}

impl Setup {
    /// The usual load, and nothing else out of the ordinary.
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let files = tempfile::Builder::new().prefix("isthmus-endure-").tempdir()?;
        // Proxies run as a user of their own, and some read what lies in here.
        std::fs::set_permissions(files.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        Ok(Self {
            settings: settings.clone(),
            client_binary: settings.bin.join(PROXY),
            lanes: crate::traffic::mixed(),
            client_env: Vec::new(),
            limits: Limits::default(),
            lifetime: None,
            files,
        })
    }
}

/// A run that has begun. Clients end first, then processes, then namespaces.
pub(crate) struct Scene {
    loads: Vec<Load>,
    pub(crate) record: Arc<Record>,
    /// The proxy beside the client.
    pub(crate) client: Process,
    pub(crate) servers: Vec<Server>,
    pub(crate) bed: Bed,
    pub(crate) setup: Setup,
    /// When the fault began.
    pub(crate) began: Option<Instant>,
    /// When it ended, or has done what it does.
    pub(crate) ended: Option<Instant>,
    /// What is worth telling beside the figures.
    pub(crate) notes: Vec<String>,
    sidecar: Sidecar,
    logs: BTreeSet<PathBuf>,
}

impl Scene {
    /// Starts everything, and the load; all kinds of it have been answered.
    pub(crate) fn start(setup: Setup) -> Result<Self> {
        let bed = Bed::new(&setup.settings.bin, Layout::default())?;
        if let Some((lifetime, skew)) = setup.lifetime {
            bed.control.set_lifetime(lifetime, skew);
        }
        let env = [("IDENTITY_MIN_REFRESH", "1s"), ("SHUTDOWN_GRACE_PERIOD", "30s")];
        let env = env.map(|(name, value)| (format!("LINKERD2_PROXY_{name}"), value.to_owned()));
        let binary = setup.settings.bin.join(PROXY);
        let sidecar = Sidecar { name: "isthmus".to_owned(), binary, env: env.into() };
        let app = app()?;
        let mut servers = Vec::new();
        for number in 0..=LOCAL_SERVERS {
            servers.push(bed.add_server(number, &app, &sidecar)?);
        }
        let client = bed.start_client_sidecar(&Self::beside_client(&sidecar, &setup), &setup.limits)?;
        let mut this = Self {
            loads: Vec::new(),
            record: Arc::default(),
            client,
            servers,
            bed,
            setup,
            began: None,
            ended: None,
            notes: Vec::new(),
            sidecar,
            logs: BTreeSet::new(),
        };
        this.publish();
        let lanes = this.setup.lanes.clone();
        this.also(lanes.clone())?;
        let all = |this: &Self| lanes.iter().all(|lane| this.record.answered(lane.kind) > 0);
        this.until(FIRST, "every kind of request is answered", all)?;
        Ok(this)
    }

    fn beside_client(sidecar: &Sidecar, setup: &Setup) -> Sidecar {
        let mut sidecar = Sidecar { binary: setup.client_binary.clone(), ..sidecar.clone() };
        sidecar.env.extend(setup.client_env.iter().cloned());
        sidecar
    }

    fn publish(&self) {
        for port in [HTTP_PORT, ECHO_PORT] {
            let (local, spare) = (format!("{LOCAL}:{port}"), format!("{SPARE}:{port}"));
            self.bed.control.publish_tiers(SERVER_IP, port, &[&local, &spare]);
            let spare_ip = self.servers[usize::from(LOCAL_SERVERS)].ip;
            self.bed.control.set_endpoints(&spare, vec![(spare_ip, port, SERVER)]);
        }
        self.bed.control.publish(SERVER_IP, RESET_PORT, &format!("{LOCAL}:{RESET_PORT}"));
        self.serve_from(&(0..usize::from(LOCAL_SERVERS)).collect::<Vec<_>>());
    }

    /// Makes these servers the service's endpoints.
    pub(crate) fn serve_from(&self, servers: &[usize]) {
        let ips: Vec<Ipv4Addr> = servers.iter().map(|number| self.servers[*number].ip).collect();
        for port in [HTTP_PORT, ECHO_PORT, RESET_PORT] {
            let endpoints = ips.iter().map(|ip| (*ip, port, SERVER)).collect();
            self.bed.control.set_endpoints(&format!("{LOCAL}:{port}"), endpoints);
        }
    }

    /// Starts one more server, which nobody knows of yet; answers with its position.
    pub(crate) fn add_server(&mut self) -> Result<usize> {
        let number = self.servers.len();
        let app = app()?;
        self.servers.push(self.bed.add_server(u8::try_from(number)?, &app, &self.sidecar)?);
        Ok(number)
    }

    /// Starts a server's application again.
    pub(crate) fn restart_app(&mut self, server: usize) -> Result<()> {
        self.bed.restart_app(&mut self.servers[server], &app()?)
    }

    /// Starts the client's proxy again.
    pub(crate) fn restart_client(&mut self) -> Result<()> {
        self.logs.insert(self.client.log().to_owned());
        let sidecar = Self::beside_client(&self.sidecar, &self.setup);
        self.client = self.bed.start_client_sidecar(&sidecar, &self.setup.limits)?;
        Ok(())
    }

    /// Adds load of the same client.
    pub(crate) fn also(&mut self, lanes: Vec<Lane>) -> Result<()> {
        self.loads.push(Load::start(&self.bed.client, lanes, &self.record)?);
        Ok(())
    }

    /// Ends the load that was added last, and waits for what is under way.
    pub(crate) fn end_last_load(&mut self) -> Result<()> {
        self.loads.pop().map_or(Ok(()), Load::finish)
    }

    /// A span of the full run, or of a quick one; whole seconds.
    pub(crate) fn span(&self, full: u64, quick: u64) -> Duration {
        Duration::from_secs(if self.setup.settings.quick { quick } else { full })
    }

    /// The fault begins now.
    pub(crate) fn begin(&mut self) {
        self.began = Some(Instant::now());
    }

    /// The fault has ended now: from here on everything should recover.
    pub(crate) fn end(&mut self) {
        self.ended = Some(Instant::now());
    }

    /// Lets the load go on for a while: what is measured is that time.
    #[allow(clippy::unused_self)] // without a scene there is no load
    pub(crate) fn go_on(&self, span: Duration) {
        std::thread::sleep(span);
    }

    /// Lets the load go on until something holds.
    pub(crate) fn until(&self, limit: Duration, what: &str, holds: impl Fn(&Self) -> bool) -> Result<()> {
        let started = Instant::now();
        while !holds(self) {
            if started.elapsed() > limit {
                bail!("after {limit:?} it is still not so that {what}");
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// The value of a series of the client's proxy (`None`) or a server's; several series of the name are added up.
    pub(crate) fn metric(&self, server: Option<usize>, name: &str, label: &str) -> Result<f64> {
        let netns = server.map_or(&self.bed.client, |number| &self.servers[number].netns);
        let (_, text) = admin(netns, "/metrics")?;
        Ok(sum(&text, name, label))
    }

    /// The client's proxy and the servers', by position.
    pub(crate) fn proxies(&self) -> impl Iterator<Item = Option<usize>> + use<> {
        std::iter::once(None).chain((0..self.servers.len()).map(Some))
    }

    /// Ends all load; what is under way gets as long as it may take.
    pub(crate) fn finish_load(&mut self) -> Result<()> {
        for load in self.loads.drain(..) {
            load.finish().with_context(|| format!("after {DEADLINE:?}"))?;
        }
        Ok(())
    }

    /// What proxies and applications have said that none should, however well all went.
    pub(crate) fn panics(&self) -> Result<Vec<String>> {
        let processes = self.servers.iter().flat_map(|server| [&server.proxy, &server.app]);
        let logs = std::iter::once(&self.client).chain(processes).map(|process| process.log().to_owned());
        let mut found = Vec::new();
        for log in logs.chain(self.logs.iter().cloned()) {
            let text = std::fs::read_to_string(&log).with_context(|| log.display().to_string())?;
            found.extend(text.lines().filter(|line| line.contains(PANIC)).map(ToOwned::to_owned));
        }
        Ok(found)
    }
}

/// The command that runs the applications: this program.
fn app() -> Result<Command> {
    let mut app = Command::new(std::env::current_exe().context("this program")?);
    app.arg("app");
    ensure!(Path::new(app.get_program()).is_file(), "this program has no file");
    Ok(app)
}

/// The sum of the series of this name whose labels contain `label`.
fn sum(text: &str, name: &str, label: &str) -> f64 {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = rest.rsplit_once(' ')?;
        let of_this_name = labels.is_empty() || labels.starts_with('{');
        (of_this_name && labels.contains(label)).then(|| value.parse::<f64>().ok())?
    });
    values.sum()
}

#[cfg(test)]
mod tests;
