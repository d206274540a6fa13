//! One container from its first start to its last end.

mod backoff;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::context::Note;
use super::hook;
use super::image;
use super::launch;
use super::probe::{Probe, Target, Verdict};
use super::record::{Ended, Role, State};
use super::shared::{Pod, Running};
use crate::container::{Exit, LogFile, Process, StartError, Streams};
use crate::controllers::object;
use backoff::Backoff;

/// How soon an image or a configuration that was missing is looked for again, unless a change is seen before.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long the last lines of a container are waited for once it has ended.
const LAST_LINES: Duration = Duration::from_secs(1);
/// The most of a termination message that is kept, in bytes, as the kubelet.
const MESSAGE_LIMIT: usize = 4096;
/// The most of a log that stands in for a termination message, in bytes, as the kubelet.
const LOG_MESSAGE_LIMIT: usize = 2048;
const TERM: u8 = 15;
const KILL: u8 = 9;

/// The order to stop, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stop {
    /// When patience ends.
    pub(super) deadline: Instant,
}

/// Keeps one container.
pub(super) struct Keeper {
    /// Its pod.
    pub(super) pod: Arc<Pod>,
    /// Its spec.
    pub(super) spec: Value,
    /// What it is for.
    pub(super) role: Role,
    /// The order to stop.
    pub(super) stop: watch::Receiver<Option<Stop>>,
}

/// What came of one attempt.
enum Outcome {
    /// It was told to stop.
    Stopped,
    /// It could not even be started for want of something.
    Blocked,
    /// It ran, or failed to start, and may run again.
    Ended(Duration),
    /// It ran and is done.
    Done,
}

impl Keeper {
    /// Runs the container as often as its policy wants, until it is done or told to stop.
    pub(super) async fn keep(mut self) {
        let mut backoff = Backoff::default();
        loop {
            if self.stop.borrow().is_some() {
                break;
            }
            match self.attempt().await {
                Outcome::Stopped | Outcome::Done => break,
                Outcome::Blocked => {
                    let mut changes = self.pod.context.config_changes.clone();
                    changes.mark_unchanged();
                    tokio::select! {
                        _ = changes.changed() => {}
                        () = sleep(LOOK_AGAIN) => {}
                        _ = stopped(&mut self.stop) => break,
                    }
                }
                Outcome::Ended(ran) => {
                    let delay = backoff.next(ran);
                    self.wait_for_restart(delay);
                    if timeout(delay, stopped(&mut self.stop)).await.is_ok() {
                        break;
                    }
                    self.update(|container| container.restarts += 1);
                }
            }
        }
        self.update(|container| container.is_done = true);
    }

    fn name(&self) -> &str {
        object::text(&self.spec, "/name")
    }

    fn update(&self, change: impl FnOnce(&mut super::record::Container)) {
        self.pod.update(|record| {
            if let Some(container) = record.container_mut(self.name()) {
                change(container);
            }
        });
    }

    fn tell(&self, note: Note) {
        self.pod.tell(Some(self.name()), note);
    }

    fn wait_for_restart(&self, delay: Duration) {
        let pod = self.pod.object();
        let message = format!(
            "back-off {delay:?} restarting failed container={} pod={}_{}({})",
            self.name(),
            object::name(&pod),
            object::namespace(&pod),
            object::uid(&pod)
        );
        if !delay.is_zero() {
            let text =
                format!("Back-off restarting failed container {} in pod {}", self.name(), object::name(&pod));
            self.tell(Note::warning("BackOff", text));
        }
        self.update(|container| {
            if let State::Ended(ended) = &container.state {
                container.last = Some(ended.clone());
            }
            if !delay.is_zero() {
                container.state = State::Waiting("CrashLoopBackOff", message);
            }
        });
    }

    fn runs_again(&self, code: i32) -> bool {
        match (self.role, object::text(&self.pod.object(), "/spec/restartPolicy")) {
            (Role::Sidecar, _) => true,
            (_, "Never") => false,
            (Role::Main, "OnFailure") | (Role::Init, _) => code != 0,
            (Role::Main, _) => true,
        }
    }

    async fn attempt(&mut self) -> Outcome {
        let pod = self.pod.object();
        let image = match image::resolve(&pod, &self.spec, &self.pod.context.bin_dirs) {
            Ok(image) => image,
            Err(why) => {
                self.block_on_image(&why);
                return Outcome::Blocked;
            }
        };
        self.update(|container| container.image_id = image.id());
        let orders = match launch::launch(&self.pod, &pod, &self.spec, &image) {
            Ok(orders) => orders,
            Err(why) => {
                self.tell(Note::warning("Failed", format!("Error: {why}")));
                self.update(|container| container.state = State::Waiting("CreateContainerConfigError", why));
                return Outcome::Blocked;
            }
        };
        let text =
            format!("Container image \"{}\" already present on machine", object::text(&self.spec, "/image"));
        self.tell(Note::normal("Pulled", text));
        let restart = self.pod.read(|record| record.container(self.name()).map_or(0, |c| c.restarts));
        let id = format!("sandbox://{}/{}/{restart}", object::uid(&pod), self.name());
        self.update(|container| container.id.clone_from(&id));
        let from = Timestamp::now();
        match self.start(orders.clone(), restart).await {
            Ok((process, log)) => {
                let running = Running { process: Arc::new(process), launch: orders };
                let stopped = self.attend(&running, from).await;
                let exit = running.process.wait().await;
                self.pod.set_running(self.name(), None);
                // The state tells followers of the log that it is complete.
                let _ = timeout(LAST_LINES, log.join_all()).await;
                let message = self.last_words(exit, restart);
                self.ended(
                    exit.code,
                    if exit.code == 0 { "Completed" } else { "Error" },
                    message,
                    (from, id),
                    stopped,
                )
            }
            Err(error) => {
                self.tell(Note::warning(
                    "Failed",
                    format!("Error: failed to start container {:?}: {error}", self.name()),
                ));
                self.ended(error.code, "StartError", error.message, (from, id), false)
            }
        }
    }

    fn block_on_image(&self, why: &str) {
        let text = format!("Failed to pull image \"{}\": {why}", object::text(&self.spec, "/image"));
        self.tell(Note::warning("Failed", text));
        self.update(|container| {
            // The first look is an error; later ones are waiting, as the kubelet's are.
            let is_first =
                matches!(container.state, State::Waiting("ContainerCreating" | "PodInitializing", _));
            let reason = if is_first { "ErrImagePull" } else { "ImagePullBackOff" };
            container.state = State::Waiting(reason, why.to_owned());
        });
    }

    async fn start(
        &self,
        orders: crate::container::spec::Launch,
        restart: u64,
    ) -> Result<(Process, JoinSet<()>), StartError> {
        let failed = |error: std::io::Error| StartError { message: format!("log: {error}"), code: 128 };
        let log = LogFile::create(&self.pod.log_dir(), self.name(), restart).map_err(failed)?;
        let mut pumps = JoinSet::new();
        let (output, pump) = log.stream("stdout").map_err(failed)?;
        pumps.spawn(async { drop(pump.await) });
        let (error, pump) = log.stream("stderr").map_err(failed)?;
        pumps.spawn(async { drop(pump.await) });
        let streams = Streams { input: None, output, error };
        let process = Process::start(&self.pod.context.runtime, orders, self.pod.netns(), streams).await?;
        Ok((process, pumps))
    }

    /// Stays with a running container until it ends or must end; true when it was told to stop.
    async fn attend(&mut self, running: &Running, from: Timestamp) -> bool {
        self.pod.set_running(self.name(), Some(running.clone()));
        self.update(|container| container.state = State::Running(from));
        self.tell(Note::normal("Created", format!("Created container: {}", self.name())));
        self.tell(Note::normal("Started", format!("Started container {}", self.name())));
        let target = Target {
            ip: self.pod.addresses().pod,
            container: self.spec.clone(),
            running: running.clone(),
            runtime: self.pod.context.runtime.clone(),
        };
        let (complain, mut complaints) = mpsc::channel(1);
        let mut watchers = JoinSet::new();
        watchers.spawn(watch(self.pod.clone(), self.spec.clone(), target.clone(), complain));
        tokio::select! {
            _ = running.process.wait() => false,
            _ = stopped(&mut self.stop) => {
                watchers.abort_all();
                self.tell(Note::normal("Killing", format!("Stopping container {}", self.name())));
                self.end(running, &target, None).await;
                true
            }
            Some(Complaint { reason, grace }) = complaints.recv() => {
                watchers.abort_all();
                self.tell(Note::normal("Killing", reason));
                let own = object::int(&self.pod.object(), "/spec/terminationGracePeriodSeconds").unwrap_or(30);
                let grace = grace.unwrap_or(Duration::from_secs(u64::try_from(own).unwrap_or_default()));
                self.end(running, &target, Some(Instant::now() + grace)).await;
                self.stop.borrow().is_some()
            }
        }
    }

    /// Asks a container to end, and makes it. Without a deadline of its own, the one of the order to stop holds, which
    /// may yet come closer.
    async fn end(&mut self, running: &Running, target: &Target, deadline: Option<Instant>) {
        let given = |stop: &watch::Receiver<Option<Stop>>| stop.borrow().map(|stop| stop.deadline);
        let first = deadline.or_else(|| given(&self.stop)).unwrap_or_else(Instant::now);
        if let Some(handler) = hook::handler(&self.spec, "preStop") {
            let outcome = tokio::select! {
                outcome = timeout_at(first, hook::run(handler, target)) => outcome,
                _ = running.process.wait() => return,
                _ = self.stop.changed() => Ok(Ok(())),
            };
            if let Ok(Err(why)) = outcome {
                self.tell(Note::warning("FailedPreStopHook", format!("PreStopHook failed: {why}")));
            }
        }
        running.process.signal(TERM);
        loop {
            let deadline = deadline.into_iter().chain(given(&self.stop)).min().unwrap_or(first);
            tokio::select! {
                _ = running.process.wait() => return,
                () = tokio::time::sleep_until(deadline) => break,
                changed = self.stop.changed() => if changed.is_err() { break },
            }
        }
        running.process.signal(KILL);
        running.process.wait().await;
    }

    fn ended(
        &self,
        code: i32,
        reason: &'static str,
        message: String,
        (from, id): (Timestamp, String),
        stopped: bool,
    ) -> Outcome {
        let again = !stopped && self.runs_again(code);
        let to = Timestamp::now();
        self.update(|container| {
            container.state = State::Ended(Ended { code, reason, message, from, to, id });
            container.is_ready = false;
            container.is_up = false;
            container.has_started = false;
            container.is_done = !again;
        });
        match (stopped, again) {
            (true, _) => Outcome::Stopped,
            (_, true) => Outcome::Ended(to.duration_since(from).unsigned_abs()),
            _ => Outcome::Done,
        }
    }

    /// What the container left in its termination log, or if its policy says so the end of its log.
    fn last_words(&self, exit: Exit, restart: u64) -> String {
        let path = self.pod.context.runtime.here(&launch::termination_log(&self.pod, self.name()));
        let own = std::fs::read(path).unwrap_or_default();
        let own = String::from_utf8_lossy(&own[..own.len().min(MESSAGE_LIMIT)]).into_owned();
        let policy = object::text(&self.spec, "/terminationMessagePolicy");
        if !own.is_empty() || exit.code == 0 || policy != "FallbackToLogsOnError" {
            return own;
        }
        let log = std::fs::read(LogFile::path(&self.pod.log_dir(), self.name(), restart)).unwrap_or_default();
        let tail =
            String::from_utf8_lossy(&log[log.len().saturating_sub(2 * LOG_MESSAGE_LIMIT)..]).into_owned();
        let lines: Vec<&str> = tail.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).collect();
        let text = lines.join("\n");
        let start =
            (text.len().saturating_sub(LOG_MESSAGE_LIMIT)..=text.len()).find(|at| text.is_char_boundary(*at));
        text[start.unwrap_or_default()..].to_owned()
    }
}

/// Waits for the order to stop.
async fn stopped(stop: &mut watch::Receiver<Option<Stop>>) -> Option<Stop> {
    // A dropped sender means that the pod is being dropped, which stops everything too.
    stop.wait_for(Option::is_some).await.ok().and_then(|stop| *stop)
}

/// Why a container must end.
struct Complaint {
    reason: String,
    grace: Option<Duration>,
}

/// The hook and the probes of a running container, in their order.
async fn watch(pod: Arc<Pod>, spec: Value, target: Target, complain: mpsc::Sender<Complaint>) {
    let name = object::text(&spec, "/name").to_owned();
    if let Some(handler) = hook::handler(&spec, "postStart")
        && let Err(why) = hook::run(handler, &target).await
    {
        pod.tell(Some(&name), Note::warning("FailedPostStartHook", format!("PostStartHook failed: {why}")));
        let reason = format!("Container {name} failed its postStart hook");
        let _ = complain.send(Complaint { reason, grace: None }).await;
        return;
    }
    pod.update(|record| {
        if let Some(container) = record.container_mut(&name) {
            container.is_up = true;
        }
    });
    if let Some(probe) = Probe::of(&spec, "startupProbe") {
        let mut failed = false;
        probe
            .watch(&target, true, |verdict| match verdict {
                Verdict::Success => false,
                Verdict::Failure(why) => {
                    unhealthy(&pod, &name, "Startup", &why);
                    true
                }
                Verdict::Failed(why) => {
                    unhealthy(&pod, &name, "Startup", &why);
                    failed = true;
                    false
                }
            })
            .await;
        if failed {
            let reason = format!("Container {name} failed startup probe, will be restarted");
            let _ = complain.send(Complaint { reason, grace: probe.grace }).await;
            return;
        }
    }
    let readiness = Probe::of(&spec, "readinessProbe");
    pod.update(|record| {
        if let Some(container) = record.container_mut(&name) {
            container.has_started = true;
            container.is_ready = readiness.is_none();
        }
    });
    tokio::join!(
        watch_readiness(&pod, &name, readiness, &target),
        watch_liveness(&pod, &name, Probe::of(&spec, "livenessProbe"), &target, complain),
    );
}

fn unhealthy(pod: &Pod, container: &str, kind: &str, why: &str) {
    pod.tell(Some(container), Note::warning("Unhealthy", format!("{kind} probe failed: {why}")));
}

async fn watch_readiness(pod: &Pod, name: &str, probe: Option<Probe>, target: &Target) {
    let Some(probe) = probe else { return };
    let set = |is_ready: bool| {
        let known = pod.read(|record| record.container(name).map(|container| container.is_ready));
        if known != Some(is_ready) {
            pod.update(|record| {
                if let Some(container) = record.container_mut(name) {
                    container.is_ready = is_ready;
                }
            });
        }
    };
    probe
        .watch(target, true, |verdict| {
            match verdict {
                Verdict::Success => set(true),
                Verdict::Failure(why) => unhealthy(pod, name, "Readiness", &why),
                Verdict::Failed(why) => {
                    unhealthy(pod, name, "Readiness", &why);
                    set(false);
                }
            }
            true
        })
        .await;
}

async fn watch_liveness(
    pod: &Pod,
    name: &str,
    probe: Option<Probe>,
    target: &Target,
    complain: mpsc::Sender<Complaint>,
) {
    let Some(probe) = probe else {
        // Keeps the channel open for as long as the other probes run.
        return complain.closed().await;
    };
    let mut failed = false;
    probe
        .watch(target, false, |verdict| match verdict {
            Verdict::Success => true,
            Verdict::Failure(why) => {
                unhealthy(pod, name, "Liveness", &why);
                true
            }
            Verdict::Failed(why) => {
                unhealthy(pod, name, "Liveness", &why);
                failed = true;
                false
            }
        })
        .await;
    if failed {
        let reason = format!("Container {name} failed liveness probe, will be restarted");
        let _ = complain.send(Complaint { reason, grace: probe.grace }).await;
    }
}
