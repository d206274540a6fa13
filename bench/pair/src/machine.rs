//! The machine: what it is, what else it does, and the programs it must have.

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Ticks of `/proc` in a second (USER_HZ, the same on every architecture that Linux knows today).
const TICKS: f64 = 100.0;

/// What figures were taken on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) commit: String,
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": "));
        let dirty =
            say("git", &["status", "--porcelain", "--untracked-files=no"]).is_some_and(|s| !s.is_empty());
        let commit = say("git", &["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
        Self {
            commit: if dirty { commit + " with changes" } else { commit },
            kernel: say("uname", &["-sr"]).unwrap_or_default(),
            cpu: model.map_or_else(|| "unknown".to_owned(), |(_, m)| m.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

fn say(program: &str, args: &[&str]) -> Option<String> {
    // The checkout is where this was built, wherever it is run.
    let output = Command::new(program).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A program from PATH or where system tools lie, installed from Debian's package where it is missing.
pub(crate) fn require(program: &str, package: &str) -> Result<PathBuf> {
    if let Some(path) = find(program) {
        return Ok(path);
    }
    let remedy = || format!("{program} is missing: install it (Debian: apt-get install {package})");
    eprintln!("installing {package} …");
    for args in [&["update", "-qq"][..], &["install", "-y", "-qq", "--no-install-recommends", package]] {
        let mut apt = Command::new("apt-get");
        apt.args(args).env("DEBIAN_FRONTEND", "noninteractive").stdout(std::process::Stdio::null());
        if !apt.status().with_context(remedy)?.success() {
            bail!(remedy());
        }
    }
    find(program).with_context(remedy)
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|d| d.join(program)).find(|p| p.is_file())
}

/// The processor time of the whole machine and of this measurement up to a moment.
pub(crate) struct Moment {
    at: Instant,
    /// Of all processes, and what the hypervisor took away.
    all: f64,
    ours: f64,
}

impl Moment {
    /// `pids` are the processes that belong to the measurement beside this one and its ended children.
    pub(crate) fn now(pids: &[u32]) -> Result<Self> {
        let stat = std::fs::read_to_string("/proc/stat")?;
        let first = stat.lines().next().unwrap_or_default();
        let ticks: Vec<f64> = first.split_whitespace().skip(1).filter_map(|t| t.parse().ok()).collect();
        // user, nice, system, idle, iowait, irq, softirq, steal; guests are counted in user already.
        let all = ticks.iter().take(8).enumerate().filter(|(i, _)| ![3, 4].contains(i)).map(|(_, t)| t).sum();
        let mut ours = process(Path::new("/proc/self"), true);
        ours += pids.iter().map(|pid| process(&PathBuf::from(format!("/proc/{pid}")), false)).sum::<f64>();
        Ok(Self { at: Instant::now(), all, ours })
    }

    /// Cores that the rest of the machine used since.
    pub(crate) fn others_until(&self, later: &Self) -> f64 {
        let others = (later.all - self.all) - (later.ours - self.ours);
        (others / TICKS / (later.at - self.at).as_secs_f64()).max(0.0)
    }
}

/// Ticks of a process, and of the children it has waited for.
fn process(dir: &Path, children: bool) -> f64 {
    let stat = std::fs::read_to_string(dir.join("stat")).unwrap_or_default();
    // The name in parentheses may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let times: Vec<f64> = fields.skip(11).take(4).filter_map(|t| t.parse().ok()).collect();
    times.iter().take(if children { 4 } else { 2 }).sum()
}
