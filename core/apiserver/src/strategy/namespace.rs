//! Namespaces: their finalizer, their label, and that nothing is made in one that is going.

use crate::api::{Api, Target};
use crate::error::{ApiError, FieldError};
use crate::object;
use serde_json::{Value, json};

/// Label that carries a namespace's own name, for namespace selectors.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub(super) fn check_alive(api: &Api, target: &Target) -> Result<(), ApiError> {
    let Some(live) = api.peek("namespaces", "", &target.namespace) else {
        return Err(ApiError::NotFound { resource: "namespaces".into(), name: target.namespace.clone() });
    };
    if object::deleting(&live) {
        let cause = FieldError {
            reason: "NamespaceTerminating",
            field: "metadata.namespace".into(),
            message: format!("namespace {} is being terminated", target.namespace),
        };
        let refused = target.forbidden(format!(
            "unable to create new content in namespace {} because it is being terminated",
            target.namespace
        ));
        return Err(match refused {
            ApiError::ForbiddenAt { resource, name, message, .. } => {
                ApiError::ForbiddenAt { resource, name, message, causes: vec![cause] }
            }
            other => other,
        });
    }
    Ok(())
}

pub(super) fn begin(name: &str, body: &mut Value) {
    label(name, body);
    object::member_mut(body, "spec").insert("finalizers".into(), json!(["kubernetes"]));
    body["status"] = json!({"phase": "Active"});
}

/// The spec of a namespace (its finalizers) changes through `finalize` only.
pub(super) fn keep(before: &Value, new: &mut Value) {
    if let Some(map) = new.as_object_mut() {
        object::copy(before, "spec", map);
    }
    label(object::name(before), new);
}

fn label(name: &str, body: &mut Value) {
    let metadata = object::metadata_mut(body);
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    if labels.is_object() {
        labels[NAME_LABEL] = name.into();
    }
}
