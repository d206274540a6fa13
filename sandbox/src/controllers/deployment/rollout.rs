//! How a Deployment moves its replicas between ReplicaSets.

use serde_json::{Map, Value, json};

use super::super::object::{self, Key};
use super::super::plan::{Action, Plan};
use super::super::world::Kind;
use super::{DESIRED, MAX, View, reported};

/// `spec.replicas` of a Deployment or ReplicaSet.
pub(super) fn size(owner: &Value) -> i64 {
    object::int(owner, "/spec/replicas").unwrap_or(1)
}

fn is_recreate(view: &View<'_>) -> bool {
    object::text(view.deployment, "/spec/strategy/type") == "Recreate"
}

/// An absolute number or a percentage of the replicas.
fn amount(value: Option<&Value>, total: i64, round_up: bool) -> i64 {
    match value {
        Some(Value::String(text)) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or_default();
            if round_up { (total * percent + 99) / 100 } else { total * percent / 100 }
        }
        Some(number) => number.as_i64().unwrap_or_default(),
        None if round_up => (total * 25 + 99) / 100,
        None => total * 25 / 100,
    }
}

/// How many pods above, and how many available pods below `spec.replicas` the strategy allows. Both zero would never
/// move, so then one may be unavailable.
fn allowances(view: &View<'_>) -> (i64, i64) {
    if is_recreate(view) {
        return (0, 0);
    }
    let total = size(view.deployment);
    let rolling = |field: &str| view.deployment.pointer(&format!("/spec/strategy/rollingUpdate/{field}"));
    let surge = amount(rolling("maxSurge"), total, true);
    let unavailable = amount(rolling("maxUnavailable"), total, false);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable.min(total)) }
}

/// Available pods the strategy guarantees.
pub(super) fn minimum_available(view: &View<'_>) -> i64 {
    if is_recreate(view) { size(view.deployment) } else { size(view.deployment) - allowances(view).1 }
}

/// The size a new ReplicaSet starts with.
pub(super) fn initial_replicas(view: &View<'_>) -> i64 {
    let wanted = size(view.deployment);
    if is_recreate(view) {
        return if view.old_pods > 0 || view.old.iter().any(|set| size(set) > 0) { 0 } else { wanted };
    }
    let running: i64 = view.old.iter().map(|set| size(set)).sum();
    (wanted + allowances(view).0 - running).clamp(0, wanted)
}

/// The annotations that let a later round notice that the Deployment itself was scaled.
pub(super) fn note_sizes(view: &View<'_>, annotations: &mut Map<String, Value>) {
    let wanted = size(view.deployment);
    annotations.insert(DESIRED.to_owned(), json!(wanted.to_string()));
    annotations.insert(MAX.to_owned(), json!((wanted + allowances(view).0).to_string()));
}

fn scale(view: &View<'_>, set: &Value, replicas: i64, plan: &mut Plan) {
    let mut annotations = Map::new();
    note_sizes(view, &mut annotations);
    annotations.retain(|key, value| object::annotation(set, key) != value.as_str());
    let mut patch = json!({});
    if size(set) != replicas {
        patch["spec"]["replicas"] = json!(replicas);
    }
    if !annotations.is_empty() {
        patch["metadata"]["annotations"] = Value::Object(annotations);
    }
    if patch != json!({}) {
        plan.push(Action::Patch(Kind::ReplicaSet, Key::of(set), patch));
    }
}

/// When `spec.replicas` changed (also in the middle of a rollout, also while paused), spreads the change over the
/// ReplicaSets in proportion to their size. Returns whether it did.
pub(super) fn scale_event(view: &View<'_>, plan: &mut Plan) -> bool {
    let wanted = size(view.deployment);
    let all: Vec<&Value> = view.old.iter().chain(view.current.as_ref()).map(|set| &**set).collect();
    let active: Vec<&Value> = all.into_iter().filter(|set| size(set) > 0).collect();
    let known = |set: &Value| object::annotation(set, DESIRED).and_then(|text| text.parse::<i64>().ok());
    if !active.iter().any(|set| known(set).is_some_and(|desired| desired != wanted)) {
        return false;
    }
    if let [only] = active[..] {
        scale(view, only, wanted, plan);
        return true;
    }
    if is_recreate(view) {
        return false;
    }
    let total: i64 = active.iter().map(|set| size(set)).sum();
    let target = if wanted > 0 { wanted + allowances(view).0 } else { 0 };
    let mut left = target - total;
    let mut sizes: Vec<i64> = Vec::new();
    for set in &active {
        let share = size(set) * target / total.max(1) - size(set);
        let share = if left > 0 { share.clamp(0, left) } else { share.clamp(left, 0) };
        left -= share;
        sizes.push(size(set) + share);
    }
    if let Some(last) = sizes.last_mut() {
        *last = (*last + left).max(0);
    }
    for (set, replicas) in active.iter().zip(sizes) {
        scale(view, set, replicas, plan);
    }
    true
}

/// Moves the rollout one step on.
pub(super) fn advance(view: &View<'_>, current: &Value, plan: &mut Plan) {
    if is_recreate(view) {
        recreate(view, current, plan);
    } else if !grow_current(view, current, plan) {
        shrink_old(view, current, plan);
    }
}

fn recreate(view: &View<'_>, current: &Value, plan: &mut Plan) {
    for set in view.old.iter().filter(|set| size(set) > 0) {
        scale(view, set, 0, plan);
    }
    if view.old_pods == 0 && view.old.iter().all(|set| size(set) == 0) {
        scale(view, current, size(view.deployment), plan);
    }
}

/// Sizes the current ReplicaSet up to what the surge allows (or down). Returns whether the size changed.
fn grow_current(view: &View<'_>, current: &Value, plan: &mut Plan) -> bool {
    let wanted = size(view.deployment);
    let held = size(current);
    let total: i64 = view.old.iter().map(|set| size(set)).sum::<i64>() + held;
    let next = if held >= wanted {
        wanted
    } else {
        held + (wanted + allowances(view).0 - total).clamp(0, wanted - held)
    };
    scale(view, current, next, plan);
    next != held
}

/// Sizes the old ReplicaSets down as far as enough pods stay available, replicas that are not healthy first.
fn shrink_old(view: &View<'_>, current: &Value, plan: &mut Plan) {
    let minimum = minimum_available(view);
    let total: i64 = view.old.iter().map(|set| size(set)).sum::<i64>() + size(current);
    let unavailable_current = size(current) - reported(current, "availableReplicas");
    let mut removable = (total - minimum - unavailable_current).max(0);
    let mut sizes: Vec<i64> = view.old.iter().map(|set| size(set)).collect();
    for (set, held) in view.old.iter().zip(&mut sizes) {
        let unhealthy = (*held - reported(set, "availableReplicas")).clamp(0, removable);
        *held -= unhealthy;
        removable -= unhealthy;
    }
    let available: i64 = view.old.iter().map(|set| reported(set, "availableReplicas")).sum::<i64>()
        + reported(current, "availableReplicas");
    let mut surplus = (available - minimum).max(0);
    for (set, held) in view.old.iter().zip(&mut sizes) {
        let healthy = (*held).min(reported(set, "availableReplicas"));
        let fewer = healthy.min(surplus);
        *held -= fewer;
        surplus -= fewer;
    }
    for (set, replicas) in view.old.iter().zip(sizes) {
        if replicas != size(set) {
            scale(view, set, replicas, plan);
        }
    }
}
