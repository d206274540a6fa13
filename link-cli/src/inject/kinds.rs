//! Which kinds concern injection, and where their pod templates are.

use mesh_injector::annotations_of;
use mesh_types::{annotations, labels};
use serde_json::{Map, Value};

/// What of an object concerns injection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// It makes pods from the template at this JSON pointer (empty: it is a pod).
    Workload(&'static str),
    /// Its annotations are read.
    Annotated,
}

impl Shape {
    /// The part of an object that injection changes: the pod template, or the object itself.
    pub(super) fn part(self, object: &Value) -> Option<&Value> {
        object.pointer(self.pointer())
    }

    /// The same, to change it.
    pub(super) fn part_mut(self, object: &mut Value) -> Option<&mut Value> {
        object.pointer_mut(self.pointer())
    }

    fn pointer(self) -> &'static str {
        match self {
            Self::Workload(template) => template,
            Self::Annotated => "",
        }
    }
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

/// The annotation that says what `uninject` has to put back, where taking the mesh's own things away is not enough: a
/// JSON object of annotation keys with the values they had, null for none. Most workloads need none.
const BEFORE: &str = "isthmus.dev/before-inject";

/// The name under which sidecars are written into workloads.
pub(super) const CREATOR: &str = "isthmus/cli";

/// Whether the sidecar was written into this pod template by `inject --manual`.
pub(super) fn is_by_hand(part: &Value) -> bool {
    annotations_of(part).get(annotations::CREATED_BY).is_some_and(|by| by.starts_with(CREATOR))
}

/// Takes out everything that injection puts into a pod template, a Namespace or a Service, so that it is what it was.
pub(super) fn strip(part: &mut Value, service: bool) {
    let named = |names: &'static [&str]| {
        move |item: &Value| !item["name"].as_str().is_some_and(|n| names.contains(&n))
    };
    const CONTAINERS: &[&str] =
        &[mesh_injector::PROXY_CONTAINER, mesh_injector::INIT_CONTAINER, mesh_injector::VALIDATOR_CONTAINER];
    const VOLUMES: &[&str] = &[mesh_injector::IDENTITY_VOLUME, mesh_injector::TOKEN_VOLUME];
    for (list, names) in [("initContainers", CONTAINERS), ("containers", CONTAINERS), ("volumes", VOLUMES)] {
        let Some(spec) = part.get_mut("spec").and_then(Value::as_object_mut) else { break };
        if let Some(items) = spec.get_mut(list).and_then(Value::as_array_mut) {
            items.retain(named(names));
            if items.is_empty() {
                spec.remove(list);
            }
        }
    }
    retain(part, "labels", |key| {
        ![labels::CONTROL_PLANE_NS, labels::WORKLOAD_NS].contains(&key)
            && !key.starts_with(labels::PROXY_OWNER_PREFIX)
    });
    let before = annotations_of(part)
        .get(BEFORE)
        .and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok());
    retain(part, "annotations", |key| !is_ours(key, service));
    for (key, value) in before.into_iter().flatten() {
        part["metadata"]["annotations"][key] = value;
    }
    let annotations = part.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.retain(|_, value| !value.is_null());
    }
    retain(part, "annotations", |_| true);
    if part["metadata"].as_object().is_some_and(Map::is_empty)
        && let Some(object) = part.as_object_mut()
    {
        object.remove("metadata");
    }
}

/// Notes what [`strip`] could not find out by itself: settings that were there before, and what is added beside ours.
pub(super) fn remember(before: &Value, after: &mut Value, service: bool) {
    if before == after {
        return;
    }
    let mut original = before.clone();
    if annotations_of(before).contains_key(BEFORE) || is_by_hand(before) {
        strip(&mut original, service);
    }
    let mut stripped = after.clone();
    retain(&mut stripped, "annotations", |key| key != BEFORE);
    strip(&mut stripped, service);
    let (original, stripped) = (annotations_of(&original), annotations_of(&stripped));
    let keys = original.keys().chain(stripped.keys());
    // Whether a workload asked for injection before is not put back: what comes out of `uninject` asks for none.
    let differs = keys.filter(|k| *k != annotations::INJECT && original.get(*k) != stripped.get(*k));
    let record: Map<String, Value> =
        differs.map(|k| (k.clone(), original.get(k).map_or(Value::Null, |v| v.as_str().into()))).collect();
    retain(after, "annotations", |key| key != BEFORE);
    if !record.is_empty() {
        after["metadata"]["annotations"][BEFORE] = Value::Object(record).to_string().into();
    }
}

/// Annotations that ask for injection, set it, or tell of it. Opaque ports of a Service matter to its clients, meshed
/// or not.
fn is_ours(key: &str, service: bool) -> bool {
    let told = [
        annotations::INJECT,
        annotations::CREATED_BY,
        annotations::PROXY_VERSION,
        annotations::TRUST_ROOT_SHA256,
        BEFORE,
    ];
    let settings = [annotations::CONFIG_PREFIX, "config.alpha.linkerd.io/", "config.beta.linkerd.io/"];
    told.contains(&key) || !service && settings.iter().any(|prefix| key.starts_with(prefix))
}

/// Keeps some entries of a map in the metadata; a map without any goes too.
fn retain(object: &mut Value, map: &str, keep: impl Fn(&str) -> bool) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    if let Some(entries) = metadata.get_mut(map).and_then(Value::as_object_mut) {
        entries.retain(|key, _| keep(key));
        if entries.is_empty() {
            metadata.remove(map);
        }
    }
}
