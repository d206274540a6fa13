//! The container engine: Docker's, started by us with folders, socket and runtime of its own where none runs, and stopped
//! by us. Where one answers already, it is used and left running.

use super::places::{self, state};
use super::step::{output, step, wait_until};
use super::{packages, traces};
use crate::machine;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The control group under which our engine puts containers.
const CONTROL_GROUP: &str = "isthmus-kind";

/// The number of the capability CAP_SYS_RESOURCE.
const SYS_RESOURCE: u32 = 24;

/// An engine that answers.
pub(crate) struct Engine {
    /// Where it listens, for DOCKER_HOST; `None` for the machine's own, at the client's default.
    pub(crate) host: Option<String>,
}

impl Engine {
    /// The engine that runs: ours, else the machine's own.
    pub(crate) fn find() -> Option<Self> {
        let ours = Self { host: Some(format!("unix://{}", socket().display())) };
        if socket().exists() && ours.answers() {
            return Some(ours);
        }
        let machines = Self { host: None };
        machines.answers().then_some(machines)
    }

    /// The engine that runs, or else ours, started.
    pub(crate) fn find_or_start() -> Result<Self> {
        if let Some(engine) = Self::find() {
            return Ok(engine);
        }
        packages::require()?;
        step("starting a container engine", start)
    }

    /// Whether we started it, and hence stop it.
    pub(crate) fn is_ours(&self) -> bool {
        self.host.is_some()
    }

    /// The engine's client.
    pub(crate) fn docker(&self) -> Command {
        self.command("docker")
    }

    /// A tool that calls the engine's client.
    pub(crate) fn command(&self, tool: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(tool);
        if let Some(host) = &self.host {
            command.env("DOCKER_HOST", host);
        }
        // kind would hand them to nodes, which reach nothing outside.
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"] {
            command.env_remove(name);
        }
        command
    }

    /// Whether the engine has an image of that name.
    pub(crate) fn has_image(&self, name: &str) -> bool {
        output(self.docker().args(["image", "inspect", "--format", "{{.Id}}", name])).is_ok()
    }

    /// Stops the engine if it is ours, and puts the machine back as it was before.
    pub(crate) fn stop(self) -> Result<()> {
        if !self.is_ours() {
            return Ok(());
        }
        step("stopping the container engine and what it left", stop)
    }

    fn answers(&self) -> bool {
        let mut ask = self.docker();
        ask.args(["version", "--format", "{{.Server.Version}}"]).stdout(Stdio::null()).stderr(Stdio::null());
        ask.status().is_ok_and(|s| s.success())
    }
}

fn socket() -> PathBuf {
    state("docker.sock")
}

fn start() -> Result<Engine> {
    std::fs::create_dir_all(places::STATE).with_context(|| format!("cannot make {}", places::STATE))?;
    let before = state("before.json");
    if !before.exists() {
        traces::record(&before)?;
    }
    let log = std::fs::File::create(state("dockerd.log"))?;
    // A session of its own: neither an interrupt at the terminal that started it nor that terminal's end is meant for it.
    let mut dockerd = Command::new("setsid");
    dockerd
        .arg(machine::find("dockerd").context("dockerd is not installed")?)
        .arg("--data-root")
        .arg(places::cache("engine")?)
        .arg("--exec-root")
        .arg(state("exec"))
        .arg("--pidfile")
        .arg(state("docker.pid"))
        .arg("--host")
        .arg(format!("unix://{}", socket().display()))
        .args(["--storage-driver", "overlay2", "--bridge", "none", "--config-file"])
        .arg(state("daemon.json"))
        .args(["--cgroup-parent", &format!("/{CONTROL_GROUP}")]);
    if !may_raise_limits()? {
        let runtime = state("runc");
        std::fs::copy(places::node_sources().join("host/runc"), &runtime)
            .context("cannot copy the runtime")?;
        dockerd.arg("--add-runtime").arg(format!("isthmus={}", runtime.display()));
        dockerd.args(["--default-runtime", "isthmus"]);
    }
    std::fs::write(state("daemon.json"), "{}\n")?;
    let mut child = dockerd
        .env("PATH", path_with_system_tools())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start dockerd")?;
    let engine = Engine { host: Some(format!("unix://{}", socket().display())) };
    let mut ended = None;
    wait_until("dockerd", Duration::from_secs(60), || {
        ended = child.try_wait().ok().flatten();
        ended.is_some() || engine.answers()
    })?;
    if let Some(status) = ended {
        let said = std::fs::read_to_string(state("dockerd.log")).unwrap_or_default();
        let last = said.lines().last().unwrap_or_default().to_owned();
        bail!("dockerd ended ({status}): {last}\n  all it said: {}", state("dockerd.log").display());
    }
    Ok(engine)
}

fn stop() -> Result<()> {
    if let Some(pid) = pid_of(&state("docker.pid"), "dockerd") {
        output(Command::new("kill").args(["-TERM", &pid.to_string()]))?;
        wait_until("the end of dockerd", Duration::from_secs(60), || !is_process(pid, "dockerd"))?;
    }
    traces::remove_control_groups(CONTROL_GROUP)?;
    traces::restore(&state("before.json"))?;
    traces::remove_state()
}

/// Lets go on what was left frozen in our engine's control groups, so that it can be killed.
pub(crate) fn thaw() -> Result<()> {
    traces::thaw_control_groups(CONTROL_GROUP)
}

/// The process that a file names, if it is one of that program.
pub(crate) fn pid_of(file: &Path, program: &str) -> Option<u32> {
    let pid = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
    is_process(pid, program).then_some(pid)
}

/// Whether a process of that id runs, and runs that program.
pub(crate) fn is_process(pid: u32, program: &str) -> bool {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let ended = stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'));
    name.trim() == program && !ended
}

/// PATH, and where the tools lie that an engine calls as root.
fn path_with_system_tools() -> String {
    format!("{}:/usr/local/sbin:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// Whether this machine lets a container have CAP_SYS_RESOURCE, as the engine wants it for a privileged one.
fn may_raise_limits() -> Result<bool> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let bounds =
        status.lines().find_map(|l| l.strip_prefix("CapBnd:")).context("/proc/self/status has no CapBnd")?;
    let bounds = u64::from_str_radix(bounds.trim(), 16).context("CapBnd")?;
    Ok(bounds & (1 << SYS_RESOURCE) != 0)
}
