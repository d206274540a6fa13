//! Objects for the planners' tests.

use std::sync::Arc;

use serde_json::{Value, json};

use super::object;
use super::world::{Kind, World};

/// A world of these objects.
pub(crate) fn world(objects: &[(Kind, &Value)]) -> World {
    let mut world = World::default();
    for (kind, object) in objects {
        world.apply(*kind, Arc::new((*object).clone()));
    }
    world
}

/// A pod template of app `web` with one container of this image.
pub(crate) fn template(image: &str) -> Value {
    json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "name": "main", "image": image }] } })
}

/// A Deployment `shop/web`.
pub(crate) fn deployment(replicas: i64, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "namespace": "shop", "name": "web", "uid": "deployment", "generation": 1, "resourceVersion": "1" },
        "spec": { "replicas": replicas, "selector": { "matchLabels": { "app": "web" } }, "template": template(image) },
    })
}

/// A ReplicaSet in `shop`, of an owner or free.
pub(crate) fn replica_set(name: &str, replicas: i64, owner: Option<&Value>) -> Value {
    let owners: Vec<_> =
        owner.map(|owner| object::controller_reference(owner, "apps/v1", "Deployment")).into_iter().collect();
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "namespace": "shop", "name": name, "uid": format!("uid-{name}"), "generation": 1, "resourceVersion": "2",
            "labels": { "app": "web" }, "ownerReferences": owners,
        },
        "spec": { "replicas": replicas, "selector": { "matchLabels": { "app": "web" } }, "template": template("a") },
    })
}

/// A running, not ready pod of a ReplicaSet.
pub(crate) fn pod_of(owner: &Value, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": "shop", "name": name, "uid": format!("uid-{name}"), "resourceVersion": "3",
            "labels": { "app": "web" },
            "ownerReferences": [object::controller_reference(owner, "apps/v1", "ReplicaSet")],
        },
        "spec": { "nodeName": "node", "containers": [{ "name": "main", "ports": [{ "name": "http", "containerPort": 8080 }] }] },
        "status": { "phase": "Running", "podIP": "10.42.0.5" },
    })
}

/// The pod, ready since the first of January 2026.
pub(crate) fn ready(mut pod: Value) -> Value {
    pod["status"]["conditions"] =
        json!([{ "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
    pod
}
