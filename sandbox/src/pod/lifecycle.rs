//! The life of a pod on its node, from top to bottom.

use std::sync::Arc;
use std::time::Duration;

use mesh_apiserver::DeleteOptions;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::container::{Keeper, Stop};
use super::context::Note;
use super::record::{Role, role_of_init};
use super::shared::{Place, Pod};
use super::unsupported;
use crate::controllers::object;

/// How soon a network or a volume that could not be made is tried again, unless a change is seen before.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Grace of a pod that names none.
const DEFAULT_GRACE: i64 = 30;

/// Runs a pod until it is gone from the API.
pub(crate) async fn run(pod: Arc<Pod>) {
    let _status = Task(tokio::spawn(write_statuses(pod.clone())));
    let unsupported = unsupported::fields(&pod.object());
    if !unsupported.is_empty() {
        let message = format!("The sandbox does not honour: {}", unsupported.join("; "));
        pod.tell(None, Note::warning("UnsupportedField", message));
    }
    let mut crew = Crew::default();
    tokio::select! {
        () = live(&pod, &mut crew) => {
            crew.stop(&pod, None).await;
            pod.write_status().await;
        }
        () = until_deleting(&pod) => {}
    }
    until_deleting(&pod).await;
    crew.stop(&pod, Some(grace(&pod.object()))).await;
    crew.refresher = None;
    leave(&pod).await;
}

async fn live(pod: &Arc<Pod>, crew: &mut Crew) {
    settle(pod).await;
    fill_volumes(pod).await;
    crew.refresher = Some(Task(tokio::spawn(keep_volumes(pod.clone()))));
    let object = pod.object();
    for spec in object::items(&object, "/spec/initContainers") {
        let role = role_of_init(spec);
        crew.hire(pod, spec, role);
        let name = object::text(spec, "/name");
        let done = |container: &super::record::Container| match role {
            Role::Sidecar => container.has_started || container.is_done,
            _ => container.is_done,
        };
        pod.until(|record| record.container(name).is_none_or(done)).await;
        if role == Role::Init && pod.read(|record| record.has_failed(name)) {
            return;
        }
    }
    for spec in object::items(&object, "/spec/containers") {
        crew.hire(pod, spec, Role::Main);
        // One after the other, each with its hook: a classic sidecar that comes first holds up the rest.
        let name = object::text(spec, "/name");
        pod.until(|record| record.container(name).is_none_or(super::record::Container::is_launched)).await;
    }
    pod.until(|record| record.containers.iter().all(|c| c.role != Role::Main || c.is_done)).await;
}

/// Gives the pod its network.
async fn settle(pod: &Arc<Pod>) {
    if object::flag(&pod.object(), "/spec/hostNetwork") {
        let network = &pod.context.network;
        pod.settle(Place { netns: network.netns().clone(), ip: network.net().node_ip(), network: None });
        return;
    }
    loop {
        let network = pod.context.network.clone();
        let attached = tokio::task::spawn_blocking(move || network.attach_pod()).await;
        match attached.map_err(|error| error.to_string()).and_then(|made| made.map_err(|e| e.to_string())) {
            Ok(network) => {
                pod.settle(Place {
                    netns: network.netns().clone(),
                    ip: network.ip(),
                    network: Some(network),
                });
                return;
            }
            Err(why) => {
                pod.tell(
                    None,
                    Note::warning("FailedCreatePodSandBox", format!("Failed to create pod sandbox: {why}")),
                );
                sleep(TRY_AGAIN).await;
            }
        }
    }
}

fn refresh(pod: &Pod) -> Result<(), String> {
    pod.volumes.lock().refresh(&pod.context, &pod.object(), pod.addresses())
}

async fn fill_volumes(pod: &Pod) {
    let mut changes = pod.context.config_changes.clone();
    loop {
        changes.mark_unchanged();
        let Err(why) = refresh(pod) else { return };
        pod.tell(None, Note::warning("FailedMount", why));
        tokio::select! {
            _ = changes.changed() => {}
            () = sleep(TRY_AGAIN) => {}
        }
    }
}

/// Keeps volumes true: configuration that changed, labels that changed, tokens that grow old.
async fn keep_volumes(pod: Arc<Pod>) {
    let mut changes = pod.context.config_changes.clone();
    let mut latest = pod.latest();
    loop {
        let renewal = pod.volumes.lock().next_renewal();
        let wait = renewal.map(|at| at.duration_since(jiff::Timestamp::now()));
        let wait = wait.map_or(Duration::MAX, |wait| wait.max(jiff::SignedDuration::ZERO).unsigned_abs());
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            changed = latest.changed() => if changed.is_err() { return },
            () = sleep(wait) => {}
        }
        if let Err(why) = refresh(&pod) {
            pod.tell(None, Note::warning("FailedMount", why));
            sleep(TRY_AGAIN).await;
        }
    }
}

async fn write_statuses(pod: Arc<Pod>) {
    let mut versions = pod.versions();
    while versions.changed().await.is_ok() {
        pod.write_status().await;
    }
}

async fn until_deleting(pod: &Pod) {
    let mut latest = pod.latest();
    let _ = latest.wait_for(|latest| latest.is_gone || object::is_deleting(&latest.object)).await;
}

async fn until_gone(pod: &Pod) {
    let mut latest = pod.latest();
    let _ = latest.wait_for(|latest| latest.is_gone).await;
}

fn grace(pod: &Value) -> Duration {
    let own = || object::int(pod, "/spec/terminationGracePeriodSeconds");
    let seconds =
        object::int(pod, "/metadata/deletionGracePeriodSeconds").or_else(own).unwrap_or(DEFAULT_GRACE);
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

/// Tells the end, takes the pod off the network and lets the object go.
async fn leave(pod: &Arc<Pod>) {
    pod.write_status().await;
    let detached = {
        let pod = pod.clone();
        tokio::task::spawn_blocking(move || {
            pod.place().and_then(|place| place.network.as_ref()?.detach().err())
        })
    };
    if let Ok(Some(error)) = detached.await {
        tracing::warn!(%error, "pod not taken off the network");
    }
    let directory = pod.context.runtime.here(pod.volumes.lock().directory());
    if let Err(error) = std::fs::remove_dir_all(&directory)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "volumes not removed");
    }
    let object = pod.object();
    let options = DeleteOptions {
        grace_period_seconds: Some(0),
        uid: Some(object::uid(&object).to_owned()),
        ..DeleteOptions::default()
    };
    let (namespace, name) = (object::namespace(&object), object::name(&object));
    if let Err(error) = pod.context.client.delete("pods", namespace, name, &options).await {
        tracing::debug!(%error, namespace, name, "pod not removed from the API");
    }
}

/// A task that ends with its handle.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The tasks that keep a pod's containers.
#[derive(Default)]
struct Crew {
    hands: Vec<Hand>,
    refresher: Option<Task>,
}

struct Hand {
    role: Role,
    stop: watch::Sender<Option<Stop>>,
    task: Task,
}

impl Crew {
    fn hire(&mut self, pod: &Arc<Pod>, spec: &Value, role: Role) {
        let (stop, stopped) = watch::channel(None);
        let keeper = Keeper { pod: pod.clone(), spec: spec.clone(), role, stop: stopped };
        self.hands.push(Hand { role, stop, task: Task(tokio::spawn(keeper.keep())) });
    }

    /// Stops the main containers together, then the sidecars from last to first. A pod that is gone from the API is not
    /// waited for.
    async fn stop(&mut self, pod: &Pod, grace: Option<Duration>) {
        let deadline = Instant::now() + grace.unwrap_or_else(|| self::grace(&pod.object()));
        let orderly = async {
            let (sidecars, others): (Vec<&mut Hand>, Vec<&mut Hand>) =
                self.hands.iter_mut().partition(|hand| hand.role == Role::Sidecar);
            for hand in &others {
                hand.stop.send_replace(Some(Stop { deadline }));
            }
            for hand in others {
                let _ = (&mut hand.task.0).await;
            }
            for hand in sidecars.into_iter().rev() {
                hand.stop.send_replace(Some(Stop { deadline }));
                let _ = (&mut hand.task.0).await;
            }
        };
        tokio::select! {
            () = orderly => {}
            () = until_gone(pod) => {}
        }
        for hand in &self.hands {
            if !hand.task.0.is_finished() {
                hand.stop.send_replace(Some(Stop { deadline: Instant::now() }));
            }
        }
        for hand in std::mem::take(&mut self.hands) {
            let mut hand = hand;
            if !hand.task.0.is_finished() {
                let _ = (&mut hand.task.0).await;
            }
        }
    }
}
