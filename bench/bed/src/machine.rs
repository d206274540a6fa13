//! The machine that figures are taken on, and the programs it must have.

use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What figures were taken on.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Machine {
    /// The commit of this checkout, and whether there were changes.
    pub commit: String,
    /// Name and release.
    pub kernel: String,
    /// The processor's model.
    pub cpu: String,
    /// How many of its cores there are.
    pub cores: usize,
}

impl Machine {
    /// This machine, now.
    pub fn look() -> Self {
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
///
/// # Errors
/// When it is missing and cannot be installed, with what to do.
pub fn require(program: &str, package: &str) -> Result<PathBuf> {
    if let Some(path) = find(program) {
        return Ok(path);
    }
    let remedy = || format!("{program} is missing: install it (Debian: apt-get install {package})");
    eprintln!("installing {package} …");
    for args in [&["update", "-qq"][..], &["install", "-y", "-qq", "--no-install-recommends", package]] {
        let mut apt = Command::new("apt-get");
        apt.args(args).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
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
