//! The Events that `kubectl describe` shows for what the controllers did.

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use mesh_apiserver::LocalClient;
use serde_json::{Value, json};

use super::dirty::Target;
use super::object::{self, Key};
use super::plan::Action;
use super::world::{Kind, World};

/// Something worth telling about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    kind: Kind,
    key: Key,
    is_warning: bool,
    reason: &'static str,
    message: String,
}

/// What a write about to be made for a target is worth telling, if it succeeds.
pub(crate) fn of_action(world: &World, target: &Target, action: &Action) -> Option<Note> {
    let note = |kind, key: &Key, reason, message| {
        Some(Note { kind, key: key.clone(), is_warning: false, reason, message })
    };
    match (target, action) {
        (Target::Deployment(key), Action::Create(Kind::ReplicaSet, set)) => {
            let size = object::int(set, "/spec/replicas").unwrap_or_default();
            let message = format!("Scaled up replica set {} from 0 to {size}", object::name(set));
            note(Kind::Deployment, key, "ScalingReplicaSet", message)
        }
        (Target::Deployment(key), Action::Patch(Kind::ReplicaSet, set, patch)) => {
            let to = object::int(patch, "/spec/replicas")?;
            let from =
                object::int(world.object(Kind::ReplicaSet, set)?, "/spec/replicas").unwrap_or_default();
            let way = if to > from { "up" } else { "down" };
            let message = format!("Scaled {way} replica set {} from {from} to {to}", set.name);
            note(Kind::Deployment, key, "ScalingReplicaSet", message)
        }
        (Target::StatefulSet(key), Action::Delete(Kind::Pod, pod, _)) => {
            let message = format!("delete Pod {} in StatefulSet {} successful", pod.name, key.name);
            note(Kind::StatefulSet, key, "SuccessfulDelete", message)
        }
        (Target::ReplicaSet(_) | Target::DaemonSet(_), Action::Delete(Kind::Pod, pod, _)) => {
            let (kind, key) = pod_owner(target)?;
            note(kind, &key, "SuccessfulDelete", format!("Deleted pod: {}", pod.name))
        }
        _ => None,
    }
}

/// What a created pod is worth telling about its controller.
pub(crate) fn of_creation(target: &Target, pod: &Value) -> Option<Note> {
    let (kind, key) = pod_owner(target)?;
    let name = object::name(pod);
    let message = match kind {
        Kind::StatefulSet => format!("create Pod {name} in StatefulSet {} successful", key.name),
        _ => format!("Created pod: {name}"),
    };
    Some(Note { kind, key, is_warning: false, reason: "SuccessfulCreate", message })
}

/// What a refused pod is worth telling about its controller.
pub(crate) fn of_refusal(target: &Target, reason: &str) -> Option<Note> {
    let (kind, key) = pod_owner(target)?;
    let message = format!("Error creating: {reason}");
    Some(Note { kind, key, is_warning: true, reason: "FailedCreate", message })
}

fn pod_owner(target: &Target) -> Option<(Kind, Key)> {
    match target {
        Target::ReplicaSet(key) => Some((Kind::ReplicaSet, key.clone())),
        Target::StatefulSet(key) => Some((Kind::StatefulSet, key.clone())),
        Target::DaemonSet(key) => Some((Kind::DaemonSet, key.clone())),
        Target::Job(key) => Some((Kind::Job, key.clone())),
        _ => None,
    }
}

/// Writes an Event in the background. One that cannot be written is not worth more than a log line.
pub(crate) fn tell(client: &LocalClient, world: &World, note: Note) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let Some(subject) = world.object(note.kind, &note.key) else { return };
    let (api_version, kind, component) = match note.kind {
        Kind::Deployment => ("apps/v1", "Deployment", "deployment-controller"),
        Kind::ReplicaSet => ("apps/v1", "ReplicaSet", "replicaset-controller"),
        Kind::StatefulSet => ("apps/v1", "StatefulSet", "statefulset-controller"),
        Kind::DaemonSet => ("apps/v1", "DaemonSet", "daemonset-controller"),
        _ => ("batch/v1", "Job", "job-controller"),
    };
    let now = Timestamp::now();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let event = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {
            "namespace": note.key.namespace,
            "name": format!("{}.{:x}{number:04x}", note.key.name, now.as_microsecond()),
        },
        "involvedObject": {
            "apiVersion": api_version, "kind": kind, "namespace": note.key.namespace, "name": note.key.name,
            "uid": object::uid(subject),
        },
        "type": if note.is_warning { "Warning" } else { "Normal" },
        "reason": note.reason, "message": note.message, "count": 1,
        "firstTimestamp": object::stamp(now), "lastTimestamp": object::stamp(now),
        "source": { "component": component }, "reportingComponent": component, "reportingInstance": "",
    });
    let client = client.clone();
    tokio::spawn(async move {
        if let Err(error) = client.create("events", event).await {
            tracing::debug!(%error, "event not written");
        }
    });
}
