//! A network namespace with a thread that lives in it. Processes started by that thread die with it.

use anyhow::{Context as _, Result, anyhow};
use mesh_sys::Namespace;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use tokio_util::sync::CancellationToken;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace. It goes when this is dropped and no process runs in it any more.
pub struct Netns {
    name: String,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    tid: i32,
    stop: CancellationToken,
}

impl Netns {
    /// Makes an empty namespace with loopback up. `name` is for messages.
    ///
    /// # Errors
    /// When the kernel refuses: this needs root.
    pub fn create(name: &str) -> Result<Self> {
        let (jobs, todo) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            let made = mesh_sys::unshare(&[Namespace::Network]);
            let fine = made.is_ok();
            let tid = rustix::thread::gettid().as_raw_nonzero().get();
            if tell.send(made.map(|()| tid)).is_err() || !fine {
                return;
            }
            for job in todo {
                job();
            }
        })?;
        let made = told.recv().context("the namespace's thread ended")?;
        let tid = made.with_context(|| format!("cannot make the network namespace of the {name}"))?;
        let (name, stop) = (name.to_owned(), CancellationToken::new());
        let this = Self { name, jobs: Some(jobs), thread: Some(thread), tid, stop };
        this.ip(&["link", "set", "lo", "up"])?;
        // Many short connections: more client ports, and those in TIME_WAIT are used again.
        this.set("ipv4/ip_local_port_range", "10000 65535")?;
        this.set("ipv4/tcp_tw_reuse", "1")?;
        this.set("ipv4/ip_unprivileged_port_start", "0")?;
        Ok(this)
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The thread that holds the namespace, as `ip link … netns` takes it.
    pub fn tid(&self) -> i32 {
        self.tid
    }

    /// Runs `work` on the thread inside, and waits for it.
    ///
    /// # Errors
    /// When that thread has gone.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (tell, told) = mpsc::channel();
        let job = Box::new(move || drop(tell.send(work())));
        let jobs = self.jobs.as_ref().ok_or_else(|| anyhow!("the {}'s thread has gone", self.name))?;
        jobs.send(job).map_err(|_| anyhow!("the {}'s thread has gone", self.name))?;
        told.recv().with_context(|| format!("work inside the {} panicked", self.name))
    }

    /// Starts a thread inside that runs a future on a runtime of its own, until the future ends or the namespace is
    /// dropped. Whatever the future has started ends with it.
    ///
    /// # Errors
    /// When no thread or runtime can be made.
    pub fn spawn<F>(&self, make: impl FnOnce() -> F + Send + 'static) -> Result<JoinHandle<()>>
    where
        F: Future<Output = ()>,
    {
        let stop = self.stop.clone();
        let name = format!("{}-io", self.name);
        self.run(move || -> Result<JoinHandle<()>> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let thread = std::thread::Builder::new().name(name).spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = make() => {}
                    }
                });
            })?;
            Ok(thread)
        })?
    }

    /// Runs a command inside and answers with its standard output.
    ///
    /// # Errors
    /// When it cannot be run or fails, with what it said.
    pub fn output(&self, mut command: Command) -> Result<String> {
        self.run(move || {
            let shown = format!("{command:?}").replace('"', "");
            let done =
                command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {shown}"))?;
            if !done.status.success() {
                let said = [&done.stdout[..], &done.stderr[..]].concat();
                return Err(anyhow!("{shown}: {}\n{}", done.status, String::from_utf8_lossy(&said)));
            }
            Ok(String::from_utf8_lossy(&done.stdout).into_owned())
        })?
    }

    /// Runs `ip` inside.
    pub(crate) fn ip(&self, args: &[&str]) -> Result<()> {
        let mut command = Command::new("ip");
        command.args(args);
        self.output(command).map(drop)
    }

    /// Writes a setting below `/proc/sys/net`.
    pub(crate) fn set(&self, key: &str, value: &'static str) -> Result<()> {
        let path = Path::new("/proc/sys/net").join(key);
        let shown = path.display().to_string();
        self.run(move || std::fs::write(path, value))?.with_context(|| format!("cannot set {shown}"))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        self.stop.cancel();
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
