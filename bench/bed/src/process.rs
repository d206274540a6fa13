//! A process inside a namespace, under a user of its own, and what it uses.

use crate::Netns;
use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, setrlimit};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a process may take to end when told to.
const GRACE: Duration = Duration::from_secs(5);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(1);
/// Names a library that is loaded before all others.
const PRELOAD: &str = "LD_PRELOAD";
/// Open files a process may have; a machine may allow fewer.
const FILES: u64 = 1 << 20;

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Processor time of all its threads.
    pub cpu: Duration,
    /// Resident memory, KiB.
    pub rss: u64,
    /// The most resident memory it ever had, KiB.
    pub peak_rss: u64,
    /// Threads.
    pub threads: u64,
    /// Open files.
    pub open_files: u64,
}

/// What a process may use.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Files it may have open, whatever it asks for.
    pub open_files: Option<u64>,
    /// The control group that it is in.
    pub group: Option<PathBuf>,
}

impl Limits {
    /// The beginning of a command line that runs the rest of it within the limits.
    fn prefix(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        if let Some(group) = &self.group {
            let join = r#"echo $$ > "$0" && exec "$@""#;
            words.extend(["sh".into(), "-c".into(), join.into(), group.join("cgroup.procs").into()]);
        }
        if let Some(files) = self.open_files {
            words.extend(["prlimit".into(), format!("--nofile={files}:{files}").into()]);
        }
        words
    }
}

/// A running process; it is ended when this is dropped, and dies with the namespace's thread.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` inside, as user and group `uid`. What it says goes to `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(netns: &Netns, name: &str, uid: u32, command: &Command, log: &Path) -> Result<Self> {
        Self::start_within(&Limits::default(), netns, name, uid, command, log)
    }

    /// As [`Process::start`], with limits on what it may use.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_within(
        limits: &Limits,
        netns: &Netns,
        name: &str,
        uid: u32,
        command: &Command,
        log: &Path,
    ) -> Result<Self> {
        let user = uid.to_string();
        let mut words = limits.prefix();
        words.push("setpriv".into());
        let mut wrapped = Command::new(&words[0]);
        wrapped.args(&words[1..]).args([
            "--pdeathsig",
            "KILL",
            "--reuid",
            &user,
            "--regid",
            &user,
            "--clear-groups",
            "--",
        ]);
        if let Some((_, Some(library))) = command.get_envs().find(|(name, _)| *name == PRELOAD) {
            // What is loaded first may make files: they are to be the program's, not those of who starts it.
            let mut said = OsString::from(format!("{PRELOAD}="));
            said.push(library);
            wrapped.arg("env").arg(said);
        }
        wrapped
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear()
            .envs(command.get_envs().filter(|(k, _)| *k != PRELOAD).filter_map(|(k, v)| Some((k, v?))))
            .stdin(Stdio::null())
            .stdout(File::create(log)?)
            .stderr(File::options().append(true).open(log)?);
        let child = netns.run(move || wrapped.spawn())?;
        let child = child.with_context(|| format!("cannot start {name} by setpriv (package util-linux)"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("a process id")?;
        kill_process(pid, signal).with_context(|| format!("{} has ended\n{}", self.name, self.said()))
    }

    /// Ends it at once, and waits for that.
    pub fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Waits for its end, for at most `limit`; says whether it came.
    pub fn ends_within(&mut self, limit: Duration) -> bool {
        let started = Instant::now();
        while self.is_running() {
            if started.elapsed() > limit {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        true
    }

    /// Waits until `condition` holds; fails when the process ends before or `limit` passes, with what it said last.
    ///
    /// # Errors
    /// As said.
    pub fn wait_until(&mut self, limit: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
        let started = Instant::now();
        while !condition() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended: {status}\n{}", self.name, self.said());
            }
            if started.elapsed() > limit {
                bail!("{} is not ready after {limit:?}\n{}", self.name, self.said());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// The last of what it said.
    pub fn said(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Where everything is that it said.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// When it has ended.
    pub fn usage(&self) -> Result<Usage> {
        let dir = PathBuf::from(format!("/proc/{}", self.pid()));
        let gone = || format!("{} has ended\n{}", self.name, self.said());
        let status = std::fs::read_to_string(dir.join("status")).with_context(gone)?;
        let number = |field: &str| -> u64 {
            let line = status.lines().find_map(|l| l.strip_prefix(field));
            line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        let open_files = std::fs::read_dir(dir.join("fd")).with_context(gone)?.count() as u64;
        Ok(Usage {
            cpu: cpu(&dir).with_context(gone)?,
            rss: number("VmRSS:"),
            peak_rss: number("VmHWM:"),
            threads: number("Threads:"),
            open_files,
        })
    }

    /// Tells it to end and waits for that.
    pub fn stop(&mut self) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid
            && self.is_running()
        {
            // One that has just ended is what is wanted.
            let _ = kill_process(pid, Signal::TERM);
            let started = Instant::now();
            while self.is_running() && started.elapsed() < GRACE {
                std::thread::sleep(LOOK);
            }
        }
        self.kill();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing waits for connections to drain in a bed that is taken down.
        self.kill();
    }
}

/// Processor time of all threads, to the nanosecond.
fn cpu(dir: &Path) -> Result<Duration> {
    let mut nanos = 0;
    for task in std::fs::read_dir(dir.join("task"))?.flatten() {
        // A thread may end meanwhile.
        let stat = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        nanos += stat.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanos))
}

/// Copies an executable to where any user may run it. Another process writes the copy: a file that this one had open
/// for writing could not be run while any of its threads starts a process.
///
/// # Errors
/// When it cannot be copied.
pub fn install(from: &Path, to: &Path) -> Result<()> {
    let output = Command::new("install").args(["-m", "755"]).arg(from).arg(to).output();
    let output = output.context("cannot run install (package coreutils)")?;
    if !output.status.success() {
        bail!("{}: {}", from.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Lets this process, and those it starts, open as many files as the machine allows.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn raise_file_limit() -> Result<()> {
    let most = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(FILES);
    setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) })?;
    Ok(())
}
