//! A Deployment's status: counts, and the conditions `Available`, `Progressing` and `ReplicaFailure`.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::super::object;
use super::super::plan::{Action, Plan};
use super::super::world::Kind;
use super::{View, reported, rollout};

/// Seconds without progress after which a rollout has failed, unless `spec.progressDeadlineSeconds` says otherwise.
const PROGRESS_DEADLINE: i64 = 600;

struct Counts {
    replicas: i64,
    updated: i64,
    ready: i64,
    available: i64,
}

fn count(view: &View<'_>) -> Counts {
    let sum =
        |field: &str| view.old.iter().chain(view.current.as_ref()).map(|set| reported(set, field)).sum();
    Counts {
        replicas: sum("replicas"),
        updated: view.current.as_ref().map_or(0, |set| reported(set, "replicas")),
        ready: sum("readyReplicas"),
        available: sum("availableReplicas"),
    }
}

/// Do all replicas run the current template, are all available, and is nothing left of the old?
pub(super) fn is_complete(view: &View<'_>) -> bool {
    let counts = count(view);
    let wanted = rollout::size(view.deployment);
    view.current.is_some()
        && counts.updated == wanted
        && counts.replicas == wanted
        && counts.available == wanted
}

/// Plans the status write, if anything differs.
pub(super) fn plan(view: &View<'_>, plan: &mut Plan) {
    let counts = count(view);
    let wanted: i64 = view.old.iter().chain(view.current.as_ref()).map(|set| rollout::size(set)).sum();
    let mut status = json!({ "observedGeneration": object::generation(view.deployment) });
    for (field, value) in [
        ("replicas", counts.replicas),
        ("updatedReplicas", counts.updated),
        ("readyReplicas", counts.ready),
        ("availableReplicas", counts.available),
        ("unavailableReplicas", (wanted - counts.available).max(0)),
    ] {
        if value > 0 {
            status[field] = json!(value);
        }
    }
    let mut conditions = vec![available(view, &counts)];
    conditions.extend(progressing(view, &counts, plan));
    conditions.extend(replica_failure(view));
    status["conditions"] = json!(conditions);
    if view.deployment.get("status") != Some(&status) {
        let patch = object::status_patch(view.deployment, status);
        plan.push(Action::PatchStatus(Kind::Deployment, view.key.clone(), patch));
    }
}

/// A condition; the times of an unchanged one are kept.
fn condition(view: &View<'_>, kind: &str, status: &str, reason: &str, message: &str, touched: bool) -> Value {
    let now = object::stamp(view.now);
    let old = object::condition(view.deployment, kind);
    let same = |field: &str, value: &str| old.is_some_and(|old| object::text(old, field) == value);
    let keep = |field: &str| old.map_or(now.as_str(), |old| object::text(old, field)).to_owned();
    let unchanged =
        same("/status", status) && same("/reason", reason) && same("/message", message) && !touched;
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastUpdateTime": if unchanged { keep("/lastUpdateTime") } else { now.clone() },
        "lastTransitionTime": if same("/status", status) { keep("/lastTransitionTime") } else { now.clone() },
    })
}

fn available(view: &View<'_>, counts: &Counts) -> Value {
    if counts.available >= rollout::minimum_available(view) {
        let message = "Deployment has minimum availability.";
        condition(view, "Available", "True", "MinimumReplicasAvailable", message, false)
    } else {
        let message = "Deployment does not have minimum availability.";
        condition(view, "Available", "False", "MinimumReplicasUnavailable", message, false)
    }
}

fn progressing(view: &View<'_>, counts: &Counts, plan: &mut Plan) -> Option<Value> {
    let deadline = object::int(view.deployment, "/spec/progressDeadlineSeconds").unwrap_or(PROGRESS_DEADLINE);
    if deadline >= i64::from(i32::MAX) {
        return None;
    }
    let old = object::condition(view.deployment, "Progressing");
    let reason = old.map_or("", |old| object::text(old, "/reason"));
    let subject = view.current.as_ref().map_or_else(
        || format!("Deployment {:?}", view.key.name),
        |set| format!("ReplicaSet {:?}", object::name(set)),
    );
    let set = |status, reason, message: &str, touched| {
        Some(condition(view, "Progressing", status, reason, message, touched))
    };
    if object::flag(view.deployment, "/spec/paused") {
        return set("Unknown", "DeploymentPaused", "Deployment is paused", false);
    }
    if is_complete(view) {
        return set(
            "True",
            "NewReplicaSetAvailable",
            &format!("{subject} has successfully progressed."),
            false,
        );
    }
    let Some(current) = &view.current else {
        let hash = object::short_hash(&super::bare_template(view.deployment), 10);
        let message = format!("Created new replica set \"{}-{hash}\"", view.key.name);
        return set("True", "NewReplicaSetCreated", &message, true);
    };
    if reason == "DeploymentPaused" {
        return set("Unknown", "DeploymentResumed", "Deployment is resumed", false);
    }
    let was_complete_with_it = reason == "NewReplicaSetAvailable"
        && old.is_some_and(|old| object::text(old, "/message").contains(object::name(current)));
    if was_complete_with_it
        && reported(current, "replicas") == rollout::size(current)
        && counts.updated == counts.replicas
    {
        return old.cloned();
    }
    if has_moved(view, counts) {
        return set("True", "ReplicaSetUpdated", &format!("{subject} is progressing."), true);
    }
    let since = old.and_then(|old| object::time(old, "/lastUpdateTime")).unwrap_or(view.now);
    let expires = since + SignedDuration::from_secs(deadline);
    if reason == "ProgressDeadlineExceeded" || view.now >= expires {
        return set(
            "False",
            "ProgressDeadlineExceeded",
            &format!("{subject} has timed out progressing."),
            false,
        );
    }
    plan.look_again(expires);
    match old {
        Some(old) if reason != "NewReplicaSetAvailable" && reason != "DeploymentResumed" => Some(old.clone()),
        _ => set("True", "ReplicaSetUpdated", &format!("{subject} is progressing."), true),
    }
}

/// Has the rollout moved since the status was last written?
fn has_moved(view: &View<'_>, counts: &Counts) -> bool {
    let was = |field: &str| object::int(view.deployment, &format!("/status/{field}")).unwrap_or_default();
    counts.updated > was("updatedReplicas")
        || counts.ready > was("readyReplicas")
        || counts.available > was("availableReplicas")
        || counts.replicas - counts.updated < was("replicas") - was("updatedReplicas")
}

fn replica_failure(view: &View<'_>) -> Option<Value> {
    let failed =
        view.current.iter().chain(&view.old).find_map(|set| object::condition(set, "ReplicaFailure"))?;
    let (reason, message) = (object::text(failed, "/reason"), object::text(failed, "/message"));
    Some(condition(view, "ReplicaFailure", "True", reason, message, false))
}
