//! Workloads: what the server adds to a new one, and the status it begins with.

use crate::object;
use crate::resource::ResourceDef;
use serde_json::{Value, json};

/// Label by which a Job knows its pods.
const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
/// Annotation that DaemonSets carry since before there was a generation.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// The status of a new object whose type has fields that are always written.
pub(super) fn first_status(def: &ResourceDef) -> Option<Value> {
    Some(match (def.group.as_str(), def.kind.as_str()) {
        ("", "Service") | ("networking.k8s.io", "Ingress") => json!({"loadBalancer": {}}),
        ("", "ReplicationController") | ("apps", "ReplicaSet") => json!({"replicas": 0}),
        ("apps", "Deployment") | ("batch", "Job" | "CronJob") => json!({}),
        ("apps", "StatefulSet") => json!({"availableReplicas": 0, "replicas": 0}),
        ("apps", "DaemonSet") => json!({
            "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
        }),
        ("policy", "PodDisruptionBudget") => json!({
            "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0,
        }),
        ("autoscaling", "HorizontalPodAutoscaler") => json!({"currentMetrics": null, "desiredReplicas": 0}),
        _ => return None,
    })
}

/// Unless it names its pods itself, a Job selects them by its own uid.
pub(super) fn select_own_pods(job: &mut Value) {
    if job["spec"]["manualSelector"] == true || !job["spec"]["template"].is_object() {
        return;
    }
    let (name, uid) = (object::name(job).to_owned(), object::uid(job).to_owned());
    let template = object::metadata_mut(&mut job["spec"]["template"]);
    let labels = template.entry("labels").or_insert_with(|| json!({}));
    for (key, value) in [
        ("controller-uid", &uid),
        (CONTROLLER_UID, &uid),
        ("job-name", &name),
        ("batch.kubernetes.io/job-name", &name),
    ] {
        labels[key] = value.as_str().into();
    }
    let labels = labels.clone();
    job["spec"]["selector"]["matchLabels"][CONTROLLER_UID] = uid.into();
    if job["metadata"]["labels"].as_object().is_none_or(serde_json::Map::is_empty) {
        job["metadata"]["labels"] = labels;
    }
}

/// A new DaemonSet's template is its first.
pub(super) fn note_template_generation(set: &mut Value) {
    let annotations = object::metadata_mut(set).entry("annotations").or_insert_with(|| json!({}));
    if annotations.is_object() {
        annotations[TEMPLATE_GENERATION] = "1".into();
    }
}
