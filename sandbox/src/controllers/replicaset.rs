//! ReplicaSets: as many active pods of the template as `spec.replicas` says.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::object::{self, Key};
use super::plan::{Action, Plan};
use super::pods;
use super::world::{Kind, World};

/// Pods created or deleted in one plan; the rest follows when these are seen.
const BURST: usize = 500;

/// Plans one ReplicaSet.
pub(crate) fn plan(world: &World, key: &Key, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(set) = world.object(Kind::ReplicaSet, key) else { return plan };
    let claimed = pods::claim(world, set, "apps/v1", "ReplicaSet", &mut plan);
    let mut active: Vec<_> = claimed.into_iter().filter(|pod| pods::is_active(pod)).collect();
    if object::is_deleting(set) {
        return plan;
    }
    let wanted = usize::try_from(object::int(set, "/spec/replicas").unwrap_or(1)).unwrap_or_default();
    plan_status(world, set, &active, now, &mut plan);
    if active.len() < wanted {
        for _ in 0..(wanted - active.len()).min(BURST) {
            plan.push(Action::Create(Kind::Pod, pods::from_template(set, "apps/v1", "ReplicaSet", &[])));
        }
    } else if active.len() > wanted {
        let surplus = (active.len() - wanted).min(BURST);
        pods::sort_for_deletion(&mut active);
        for pod in active.iter().take(surplus) {
            plan.push(Action::Delete(Kind::Pod, Key::of(pod), object::uid(pod).to_owned()));
        }
    }
    plan
}

fn plan_status(
    world: &World,
    set: &Value,
    active: &[std::sync::Arc<Value>],
    now: Timestamp,
    plan: &mut Plan,
) {
    let min_ready = object::int(set, "/spec/minReadySeconds").unwrap_or_default();
    let ready = active.iter().filter(|pod| pods::is_ready(pod)).count();
    let mut available = 0;
    for from in active.iter().filter_map(|pod| pods::available_from(pod, min_ready)) {
        if min_ready == 0 || from <= now {
            available += 1;
        } else {
            plan.look_again(from);
        }
    }
    let labels = set.pointer("/spec/template/metadata/labels").and_then(Value::as_object);
    let labelled = active.iter().filter(|pod| object::selects_plainly(labels, pod)).count();
    let mut status = json!({ "replicas": active.len(), "observedGeneration": object::generation(set) });
    for (field, count) in
        [("fullyLabeledReplicas", labelled), ("readyReplicas", ready), ("availableReplicas", available)]
    {
        if count > 0 {
            status[field] = json!(count);
        }
    }
    if let Some(message) = world.failure(Kind::ReplicaSet, &Key::of(set)) {
        let since = object::condition(set, "ReplicaFailure")
            .map_or_else(|| object::stamp(now), |old| object::text(old, "/lastTransitionTime").to_owned());
        status["conditions"] = json!([{
            "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message,
            "lastTransitionTime": since,
        }]);
    }
    if set.get("status") != Some(&status) {
        plan.push(Action::PatchStatus(Kind::ReplicaSet, Key::of(set), object::status_patch(set, status)));
    }
}

#[cfg(test)]
mod tests;
