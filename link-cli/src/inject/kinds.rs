//! Which kinds concern injection, and where their pod templates are.

use mesh_types::{annotations, labels};
use serde_json::Value;

/// What of an object concerns injection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// It makes pods from the template at this JSON pointer (empty: it is a pod).
    Workload(&'static str),
    /// Its annotations are read.
    Annotated,
}

fn shape_of(object: &Value) -> Option<Shape> {
    match object["kind"].as_str()? {
        "Pod" => Some(Shape::Workload("")),
        "CronJob" => Some(Shape::Workload("/spec/jobTemplate/spec/template")),
        "Deployment" | "ReplicationController" | "ReplicaSet" | "Job" | "DaemonSet" | "StatefulSet" => {
            Some(Shape::Workload("/spec/template"))
        }
        "Namespace" | "Service" => Some(Shape::Annotated),
        _ => None,
    }
}

/// Calls `visit` for each object that concerns injection, also those within Lists.
pub(super) fn each(document: &mut Value, visit: &mut impl FnMut(&mut Value, Shape)) {
    let is_list = document["kind"].as_str().is_some_and(|k| k.ends_with("List"));
    if is_list && let Some(items) = document.get_mut("items").and_then(Value::as_array_mut) {
        items.iter_mut().for_each(|item| each(item, visit));
    } else if let Some(shape) = shape_of(document) {
        visit(document, shape);
    }
}

/// `kind/name` for people.
pub(super) fn name_of(object: &Value) -> String {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    format!("{}/{}", text(&object["kind"]).to_lowercase(), text(&object["metadata"]["name"]))
}

/// Takes out everything that injection puts into a pod template.
pub(super) fn strip(pod: &mut Value) {
    let named = |prefix: &'static [&str]| {
        move |item: &Value| !item["name"].as_str().is_some_and(|n| prefix.contains(&n))
    };
    const CONTAINERS: &[&str] =
        &[mesh_injector::PROXY_CONTAINER, mesh_injector::INIT_CONTAINER, mesh_injector::VALIDATOR_CONTAINER];
    const VOLUMES: &[&str] = &[mesh_injector::IDENTITY_VOLUME, mesh_injector::TOKEN_VOLUME];
    for (list, names) in [("initContainers", CONTAINERS), ("containers", CONTAINERS), ("volumes", VOLUMES)] {
        let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return };
        if let Some(items) = spec.get_mut(list).and_then(Value::as_array_mut) {
            items.retain(named(names));
            if items.is_empty() {
                spec.remove(list);
            }
        }
    }
    retain(pod, "labels", |key| {
        ![labels::CONTROL_PLANE_NS, labels::WORKLOAD_NS].contains(&key)
            && !key.starts_with(labels::PROXY_OWNER_PREFIX)
    });
    strip_annotations(pod);
}

/// Takes out the annotations that ask for injection, set it, or tell of it.
pub(super) fn strip_annotations(object: &mut Value) {
    let ours = [
        annotations::INJECT,
        annotations::CREATED_BY,
        annotations::PROXY_VERSION,
        annotations::TRUST_ROOT_SHA256,
    ];
    // Opaque ports of a Service matter to its clients, meshed or not.
    let service = object["kind"] == "Service";
    retain(object, "annotations", |key| {
        let config =
            key.starts_with(annotations::CONFIG_PREFIX) || key.starts_with("config.alpha.linkerd.io/");
        !ours.contains(&key) && (service || !config)
    });
}

fn retain(object: &mut Value, map: &str, keep: impl Fn(&str) -> bool) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    if let Some(entries) = metadata.get_mut(map).and_then(Value::as_object_mut) {
        entries.retain(|key, _| keep(key));
        if entries.is_empty() {
            metadata.remove(map);
        }
    }
}
