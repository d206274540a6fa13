//! Pods as the workload controllers see them: active, ready, available; which to delete first; adopting and releasing.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::object::{self, Key};
use super::plan::{Action, Plan};
use super::world::{Kind, World};

/// Has the pod ended (`Succeeded` or `Failed`)?
pub(crate) fn is_finished(pod: &Value) -> bool {
    matches!(object::text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// Does the pod count towards `replicas`: neither ended nor being deleted?
pub(crate) fn is_active(pod: &Value) -> bool {
    !is_finished(pod) && !object::is_deleting(pod)
}

/// Is the pod's `Ready` condition true?
pub(crate) fn is_ready(pod: &Value) -> bool {
    object::is_true(pod, "Ready")
}

/// The time from which a ready pod counts as available; `None` when it is not ready.
pub(crate) fn available_from(pod: &Value, min_ready_seconds: i64) -> Option<Timestamp> {
    if !is_ready(pod) {
        return None;
    }
    let since = object::condition(pod, "Ready").and_then(|ready| object::time(ready, "/lastTransitionTime"));
    Some(since.unwrap_or(Timestamp::UNIX_EPOCH) + SignedDuration::from_secs(min_ready_seconds))
}

/// Sorts so that the pods to delete first come first: unassigned, pending, not ready, then the youngest.
pub(crate) fn sort_for_deletion(pods: &mut [Arc<Value>]) {
    pods.sort_by(|a, b| {
        let rank = |pod: &Value| {
            (
                !object::text(pod, "/spec/nodeName").is_empty(),
                object::text(pod, "/status/phase") == "Running",
                is_ready(pod),
                object::int(pod, "/metadata/annotations/controller.kubernetes.io~1pod-deletion-cost")
                    .unwrap_or(0),
            )
        };
        rank(a)
            .cmp(&rank(b))
            .then_with(|| {
                object::text(b, "/metadata/creationTimestamp")
                    .cmp(object::text(a, "/metadata/creationTimestamp"))
            })
            .then_with(|| object::version(b).cmp(&object::version(a)))
    });
}

/// The pods an owner controls, adopting matching orphans and releasing those that no longer match (as writes in `plan`).
pub(crate) fn claim(
    world: &World,
    owner: &Value,
    api_version: &str,
    kind: &str,
    plan: &mut Plan,
) -> Vec<Arc<Value>> {
    let selector = owner.pointer("/spec/selector");
    let mut claimed = Vec::new();
    for pod in world.in_namespace(Kind::Pod, object::namespace(owner)) {
        let matches = object::selects(selector, pod);
        if object::is_controlled_by(pod, owner) {
            if matches || object::is_deleting(pod) {
                claimed.push(pod.clone());
            } else if !object::is_deleting(owner) {
                let others: Vec<_> = object::items(pod, "/metadata/ownerReferences")
                    .iter()
                    .filter(|reference| object::text(reference, "/uid") != object::uid(owner))
                    .collect();
                plan.push(Action::Patch(
                    Kind::Pod,
                    Key::of(pod),
                    json!({ "metadata": { "ownerReferences": others } }),
                ));
            }
        } else if matches
            && object::controller(pod).is_none()
            && is_active(pod)
            && !object::is_deleting(owner)
        {
            plan.push(Action::Patch(Kind::Pod, Key::of(pod), adoption(pod, owner, api_version, kind)));
            claimed.push(pod.clone());
        }
    }
    claimed
}

/// The merge patch that makes `owner` the controller of `object`.
pub(crate) fn adoption(object: &Value, owner: &Value, api_version: &str, kind: &str) -> Value {
    let mut owners = object::items(object, "/metadata/ownerReferences").to_vec();
    owners.push(object::controller_reference(owner, api_version, kind));
    json!({ "metadata": { "ownerReferences": owners } })
}

/// A pod from the template at `spec.template` of its owner.
pub(crate) fn from_template(
    owner: &Value,
    api_version: &str,
    kind: &str,
    extra_labels: &[(&str, &str)],
) -> Value {
    let template = owner.pointer("/spec/template").unwrap_or(&Value::Null);
    let mut metadata = template.get("metadata").cloned().unwrap_or_else(|| json!({}));
    if let Some(fields) = metadata.as_object_mut() {
        fields.retain(|key, _| matches!(key.as_str(), "labels" | "annotations" | "finalizers"));
        fields.insert("namespace".to_owned(), json!(object::namespace(owner)));
        fields.insert("generateName".to_owned(), json!(format!("{}-", object::name(owner))));
        fields.insert(
            "ownerReferences".to_owned(),
            json!([object::controller_reference(owner, api_version, kind)]),
        );
        let labels = fields.entry("labels").or_insert_with(|| json!({}));
        for (key, value) in extra_labels {
            labels[*key] = json!(value);
        }
    }
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
        "spec": template.get("spec").cloned().unwrap_or_else(|| json!({})),
    })
}
