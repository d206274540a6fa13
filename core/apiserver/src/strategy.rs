//! What each built-in kind adds to a plain create, update or delete: the admission plugins and the registry strategies
//! that a cluster's clients rely on.

pub(crate) mod definition;
mod namespace;
mod pod;
mod privilege;
mod secret;
mod service;
mod workload;

pub(crate) use privilege::check_privileges;
pub(crate) use secret::fill_token as fill_token_secret;

use crate::allocate::Guard;
use crate::api::{Api, Target, Write};
use crate::error::ApiError;
use crate::object;
use crate::resource::ResourceDef;
use serde_json::{Value, json};

/// Before the mutating webhooks, and again after one of them changed the object.
pub(crate) fn admit_create(
    api: &Api,
    _write: &Write<'_>,
    target: &Target,
    body: &mut Value,
) -> Result<(), ApiError> {
    if target.def.namespaced {
        namespace::check_alive(api, target)?;
    }
    match target.table().as_str() {
        "pods" => {
            pod::attach_account(api, target, body)?;
            pod::tolerate_node_trouble(body);
            pod::resolve_priority(api, target, body)
        }
        "secrets" => {
            secret::merge_string_data(body);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// After the webhooks; what the webhooks could not have decided.
pub(crate) fn prepare_create(api: &Api, target: &Target, body: &mut Value) -> Result<(), ApiError> {
    if keeps_status(&target.def, &target.version)
        && target.def.kind != "Node"
        && let Some(map) = body.as_object_mut()
    {
        map.remove("status");
    }
    if counts_generations(&target.def) {
        object::metadata_mut(body).insert("generation".into(), json!(1));
    }
    match target.table().as_str() {
        "pods" => pod::begin(body),
        "jobs.batch" => workload::select_own_pods(body),
        "daemonsets.apps" => workload::note_template_generation(body),
        "namespaces" => namespace::begin(&target.name, body),
        "secrets" => secret::fill_token(api, body),
        "customresourcedefinitions.apiextensions.k8s.io" => definition::establish(api, target, body, None)?,
        _ => {}
    }
    if body.get("status").is_none()
        && target.def.custom.is_none()
        && let Some(status) = workload::first_status(&target.def)
    {
        body["status"] = status;
    }
    Ok(())
}

/// As `admit_create`, for updates.
pub(crate) fn admit_update(
    _api: &Api,
    _write: &Write<'_>,
    target: &Target,
    before: &Value,
    new: &mut Value,
) -> Result<(), ApiError> {
    match target.table().as_str() {
        "secrets" => secret::merge_string_data(new),
        "services" if target.subresource.is_empty() => service::carry(before, new),
        _ => {}
    }
    Ok(())
}

/// As `prepare_create`, for updates.
pub(crate) fn prepare_update(
    api: &Api,
    target: &Target,
    before: &Value,
    new: &mut Value,
) -> Result<(), ApiError> {
    match target.table().as_str() {
        "namespaces" if target.subresource.is_empty() => namespace::keep(before, new),
        "secrets" => secret::fill_token(api, new),
        "customresourcedefinitions.apiextensions.k8s.io" if target.subresource.is_empty() => {
            definition::establish(api, target, new, Some(before))?;
        }
        _ => {}
    }
    Ok(())
}

/// Under the allocator's lock, just before the write.
pub(crate) fn allocate(
    api: &Api,
    guard: &Guard<'_>,
    target: &Target,
    body: &mut Value,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    if target.table() == "services" && target.subresource.is_empty() {
        return service::allocate(api, guard, target, body, old);
    }
    Ok(())
}

/// Refuses deletes that a cluster refuses.
pub(crate) fn admit_delete(target: &Target) -> Result<(), ApiError> {
    let protected = ["default", "kube-system", "kube-public"];
    if target.table() == "namespaces" && protected.contains(&target.name.as_str()) {
        return Err(target.forbidden("this namespace may not be deleted"));
    }
    Ok(())
}

/// Whether an object whose deletion has begun has nothing left to wait for.
pub(crate) fn deletion_complete(def: &ResourceDef, object: &Value) -> bool {
    let grace = object.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64);
    let held = def.kind == "Namespace" && !object::items(object, "/spec/finalizers").is_empty();
    object::deleting(object) && object::finalizers(object).is_empty() && grace.unwrap_or(0) == 0 && !held
}

/// Whether the status is written through its own subresource only.
pub(crate) fn keeps_status(def: &ResourceDef, version: &str) -> bool {
    match &def.custom {
        Some(crd) => crd.has_status(version),
        None => def.has_subresource("status"),
    }
}

/// Whether `metadata.generation` counts changes of intent.
pub(crate) fn counts_generations(def: &ResourceDef) -> bool {
    (def.custom.is_some()
        || matches!(
            def.group.as_str(),
            "apps"
                | "batch"
                | "policy"
                | "networking.k8s.io"
                | "admissionregistration.k8s.io"
                | "apiextensions.k8s.io"
                | "discovery.k8s.io"
        )
        || matches!(def.kind.as_str(), "ReplicationController" | "PriorityClass")
        || (def.group.is_empty() && def.kind == "Pod"))
        && def.kind != "ControllerRevision"
}

/// Whether anything but metadata and status differs.
pub(crate) fn intent_changed(def: &ResourceDef, before: &Value, new: &Value) -> bool {
    let (Some(before), Some(new)) = (before.as_object(), new.as_object()) else { return true };
    let status_apart = def.has_subresource("status");
    let intent = |name: &String| name != "metadata" && !(status_apart && name == "status");
    before.keys().chain(new.keys()).filter(|n| intent(n)).any(|n| before.get(n) != new.get(n))
}

/// Whether a deletion begun shows a grace period: not where the end is a controller's business.
pub(crate) fn has_grace_period(def: &ResourceDef) -> bool {
    !matches!(
        (def.group.as_str(), def.kind.as_str()),
        ("", "Namespace") | ("apiextensions.k8s.io", "CustomResourceDefinition")
    )
}

/// Whether a delete answers the object as it was, rather than that it is gone.
pub(crate) fn returns_deleted(def: &ResourceDef) -> bool {
    def.group.is_empty()
        && matches!(
            def.kind.as_str(),
            "Pod"
                | "Service"
                | "ServiceAccount"
                | "ResourceQuota"
                | "PodTemplate"
                | "PersistentVolume"
                | "PersistentVolumeClaim"
        )
}

/// Seconds between the mark and the end of an object.
pub(crate) fn grace_period(def: &ResourceDef, object: &Value, asked: Option<i64>) -> i64 {
    if def.kind == "Pod" && def.group.is_empty() { pod::grace_period(object, asked) } else { 0 }
}

/// Marks a kind makes of its own when deletion begins.
pub(crate) fn mark_deleting(def: &ResourceDef, object: &mut Value) {
    if def.kind == "Namespace" && def.group.is_empty() {
        object::member_mut(object, "status").insert("phase".into(), "Terminating".into());
    }
}
