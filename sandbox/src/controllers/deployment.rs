//! Deployments: one ReplicaSet per pod template, rolled over by the strategy, with the revisions, annotations and
//! conditions that `kubectl rollout` and `kubectl wait` read. The rules are those of the Kubernetes deployment controller.

mod rollout;
mod status;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::object::{self, Key};
use super::plan::{Action, Plan};
use super::pods;
use super::world::{Kind, World};

const HASH_LABEL: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// ReplicaSets kept for `rollout undo` unless `spec.revisionHistoryLimit` says otherwise.
const HISTORY_LIMIT: i64 = 10;

/// A Deployment with what it controls, as one planning round sees it.
struct View<'a> {
    deployment: &'a Value,
    key: &'a Key,
    /// The ReplicaSet of the current template.
    current: Option<Arc<Value>>,
    /// The others, oldest first.
    old: Vec<Arc<Value>>,
    /// Pods of the old ReplicaSets that still exist, in whatever state.
    old_pods: usize,
    now: Timestamp,
}

/// Plans one Deployment.
pub(crate) fn plan(world: &World, key: &Key, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(deployment) = world.object(Kind::Deployment, key) else { return plan };
    if object::is_deleting(deployment) {
        return plan;
    }
    let view = observe(world, deployment, key, now, &mut plan);
    let paused = object::flag(deployment, "/spec/paused");
    match &view.current {
        Some(current) => {
            plan_annotations(&view, current, &mut plan);
            if !rollout::scale_event(&view, &mut plan) && !paused {
                rollout::advance(&view, current, &mut plan);
            }
        }
        None if paused => {
            rollout::scale_event(&view, &mut plan);
        }
        None => plan_creation(&view, &mut plan),
    }
    status::plan(&view, &mut plan);
    if status::is_complete(&view) {
        plan_cleanup(&view, &mut plan);
    }
    plan
}

fn observe<'a>(
    world: &World,
    deployment: &'a Value,
    key: &'a Key,
    now: Timestamp,
    plan: &mut Plan,
) -> View<'a> {
    let mut sets = Vec::new();
    for set in world.in_namespace(Kind::ReplicaSet, &key.namespace) {
        if object::is_controlled_by(set, deployment) {
            sets.push(set.clone());
        } else if object::controller(set).is_none()
            && !object::is_deleting(set)
            && object::selects(deployment.pointer("/spec/selector"), set)
        {
            let adoption = pods::adoption(set, deployment, "apps/v1", "Deployment");
            plan.push(Action::Patch(Kind::ReplicaSet, Key::of(set), adoption));
            sets.push(set.clone());
        }
    }
    sets.retain(|set| !object::is_deleting(set));
    sets.sort_by(|a, b| {
        let age =
            |set: &Value| (object::text(set, "/metadata/creationTimestamp").to_owned(), object::version(set));
        age(a).cmp(&age(b))
    });
    let wanted = bare_template(deployment);
    let found = sets.iter().position(|set| bare_template(set) == wanted);
    let current = found.map(|index| sets.remove(index));
    let old_pods = world
        .in_namespace(Kind::Pod, &key.namespace)
        .filter(|pod| !pods::is_finished(pod) && sets.iter().any(|set| object::is_controlled_by(pod, set)))
        .count();
    View { deployment, key, current, old: sets, old_pods, now }
}

/// The pod template without the label the controller adds.
fn bare_template(owner: &Value) -> Value {
    let mut template = owner.pointer("/spec/template").cloned().unwrap_or(Value::Null);
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH_LABEL);
    }
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|_, value| !value.is_null());
    }
    template
}

fn revision(object: &Value) -> i64 {
    object::annotation(object, REVISION).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// The annotations a ReplicaSet carries for its Deployment, `kubectl`'s own bookkeeping excepted.
fn inherited_annotations(deployment: &Value) -> Map<String, Value> {
    let skipped = [LAST_APPLIED, REVISION, REVISION_HISTORY, DESIRED, MAX];
    let all = object::map(deployment, "/metadata/annotations").cloned().unwrap_or_default();
    all.into_iter().filter(|(key, _)| !skipped.contains(&key.as_str())).collect()
}

fn plan_creation(view: &View<'_>, plan: &mut Plan) {
    let deployment = view.deployment;
    let template = bare_template(deployment);
    let hash = object::short_hash(&template, 10);
    let mut labelled = template;
    labelled["metadata"]["labels"][HASH_LABEL] = json!(hash);
    let mut selector = deployment.pointer("/spec/selector").cloned().unwrap_or_else(|| json!({}));
    selector["matchLabels"][HASH_LABEL] = json!(hash);
    let next = view.old.iter().map(|set| revision(set)).max().unwrap_or_default() + 1;
    let mut annotations = inherited_annotations(deployment);
    annotations.insert(REVISION.to_owned(), json!(next.to_string()));
    rollout::note_sizes(view, &mut annotations);
    let mut spec = json!({
        "replicas": rollout::initial_replicas(view), "selector": selector, "template": labelled,
    });
    if let Some(seconds) = object::int(deployment, "/spec/minReadySeconds").filter(|seconds| *seconds > 0) {
        spec["minReadySeconds"] = json!(seconds);
    }
    plan.push(Action::Create(
        Kind::ReplicaSet,
        json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "namespace": view.key.namespace, "name": format!("{}-{hash}", view.key.name),
                "labels": labelled["metadata"]["labels"], "annotations": annotations,
                "ownerReferences": [object::controller_reference(deployment, "apps/v1", "Deployment")],
            },
            "spec": spec,
        }),
    ));
    plan_own_revision(view, next, plan);
}

/// Gives the current ReplicaSet the newest revision (a rollback makes an old one the newest again) and mirrors it on
/// the Deployment.
fn plan_annotations(view: &View<'_>, current: &Value, plan: &mut Plan) {
    let newest_old = view.old.iter().map(|set| revision(set)).max().unwrap_or_default();
    let held = revision(current);
    let next = held.max(newest_old + 1);
    let mut wanted = inherited_annotations(view.deployment);
    if next != held {
        wanted.insert(REVISION.to_owned(), json!(next.to_string()));
        if held > 0 {
            let history = match object::annotation(current, REVISION_HISTORY) {
                Some(earlier) => format!("{earlier},{held}"),
                None => held.to_string(),
            };
            wanted.insert(REVISION_HISTORY.to_owned(), json!(history));
        }
    }
    let held_annotations = object::map(current, "/metadata/annotations");
    wanted.retain(|key, value| held_annotations.and_then(|held| held.get(key)) != Some(value));
    let mut patch = json!({});
    if !wanted.is_empty() {
        patch["metadata"]["annotations"] = Value::Object(wanted);
    }
    let min_ready = object::int(view.deployment, "/spec/minReadySeconds").unwrap_or_default();
    if object::int(current, "/spec/minReadySeconds").unwrap_or_default() != min_ready {
        patch["spec"]["minReadySeconds"] = json!(min_ready);
    }
    if patch != json!({}) {
        plan.push(Action::Patch(Kind::ReplicaSet, Key::of(current), patch));
    }
    plan_own_revision(view, next, plan);
}

fn plan_own_revision(view: &View<'_>, next: i64, plan: &mut Plan) {
    if revision(view.deployment) != next {
        let patch = json!({ "metadata": { "annotations": { REVISION: next.to_string() } } });
        plan.push(Action::Patch(Kind::Deployment, view.key.clone(), patch));
    }
}

fn plan_cleanup(view: &View<'_>, plan: &mut Plan) {
    let limit = object::int(view.deployment, "/spec/revisionHistoryLimit").unwrap_or(HISTORY_LIMIT);
    let mut idle: Vec<_> =
        view.old.iter().filter(|set| rollout::size(set) == 0 && reported(set, "replicas") == 0).collect();
    idle.sort_by_key(|set| revision(set));
    let surplus = idle.len().saturating_sub(usize::try_from(limit).unwrap_or_default());
    for set in idle.into_iter().take(surplus) {
        plan.push(Action::Delete(Kind::ReplicaSet, Key::of(set), object::uid(set).to_owned()));
    }
}

/// A count in a ReplicaSet's status.
fn reported(set: &Value, field: &str) -> i64 {
    object::int(set, &format!("/status/{field}")).unwrap_or_default()
}

#[cfg(test)]
mod tests;
