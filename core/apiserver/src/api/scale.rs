//! The `/scale` subresource of workloads and of custom resources that declare one.

use super::patch::{PatchRequest, patch_value};
use super::{ATTEMPTS, Api, Target, Write, Written};
use crate::error::{ApiError, FieldError};
use crate::object;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Where a kind keeps what Scale shows, as JSON pointers.
struct Paths {
    spec: String,
    status: String,
    selector: Option<String>,
}

impl Api {
    pub(crate) fn scale(&self, target: &Target) -> Result<Value, ApiError> {
        let object = self.get(&target.whole(), "")?;
        Ok(render(&paths(target)?, &object))
    }

    pub(super) async fn update_scale(
        &self,
        write: &Write<'_>,
        target: &Target,
        scale: &Value,
    ) -> Result<Written, ApiError> {
        let paths = paths(target)?;
        let whole = target.whole();
        let replicas = replicas_of(target, scale)?;
        for _ in 0..ATTEMPTS {
            let old = self.stored(&whole)?;
            let given = object::resource_version(scale);
            if !given.is_empty() && given != object::resource_version(&old) {
                return Err(target.modified());
            }
            let mut new = (*self.presented(&whole, &old)).clone();
            set(&mut new, &paths.spec, json!(replicas));
            if let Some(written) = self.replace(write, &whole, &old, new, true).await? {
                let object = Arc::new(render(&paths, &written.object));
                return Ok(Written { object, ..written });
            }
        }
        Err(target.modified())
    }

    pub(super) async fn patch_scale(
        &self,
        write: &Write<'_>,
        target: &Target,
        patch: &PatchRequest,
    ) -> Result<Written, ApiError> {
        let mut scale = self.scale(target)?;
        let before = object::resource_version(&scale).to_owned();
        patch_value(&mut scale, patch)?;
        if object::resource_version(&scale) == before {
            // The patch did not ask for a revision: whatever is newest will do.
            object::metadata_mut(&mut scale).remove("resourceVersion");
        }
        self.update_scale(write, target, &scale).await
    }
}

fn replicas_of(target: &Target, scale: &Value) -> Result<i64, ApiError> {
    match scale.pointer("/spec/replicas") {
        None => Ok(0),
        Some(value) => value.as_i64().filter(|n| *n >= 0).ok_or_else(|| {
            let why = "must be greater than or equal to 0";
            ApiError::Invalid {
                kind: "Scale.autoscaling".into(),
                name: target.name.clone(),
                causes: vec![FieldError::invalid("spec.replicas", value, why)],
            }
        }),
    }
}

fn paths(target: &Target) -> Result<Paths, ApiError> {
    let Some(crd) = &target.def.custom else {
        return Ok(Paths {
            spec: "/spec/replicas".into(),
            status: "/status/replicas".into(),
            selector: None,
        });
    };
    let paths = crd.scale(&target.version).ok_or(ApiError::NoSuchResource)?;
    let pointer = |dotted: &str| dotted.replace('.', "/");
    Ok(Paths {
        spec: pointer(&paths.spec_replicas),
        status: pointer(&paths.status_replicas),
        selector: Some(paths.selector.as_deref().map(pointer).unwrap_or_default()),
    })
}

fn render(paths: &Paths, object: &Value) -> Value {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64);
    let selector = match &paths.selector {
        Some(pointer) if !pointer.is_empty() => object::text(object, pointer).to_owned(),
        Some(_) => String::new(),
        None => selector_text(object.pointer("/spec/selector")),
    };
    let mut metadata = Map::new();
    for name in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        object::copy(&object["metadata"], name, &mut metadata);
    }
    let default = if paths.selector.is_none() { 1 } else { 0 };
    let mut status = json!({"replicas": number(&paths.status).unwrap_or(0)});
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": number(&paths.spec).unwrap_or(default)},
        "status": status,
    })
}

/// A label selector object as the string form of it.
fn selector_text(selector: Option<&Value>) -> String {
    let Some(selector) = selector.and_then(Value::as_object) else { return String::new() };
    let nested = selector.contains_key("matchLabels") || selector.contains_key("matchExpressions");
    let labels = if nested { selector.get("matchLabels").and_then(Value::as_object) } else { Some(selector) };
    let mut parts: Vec<String> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| value.as_str().map(|v| format!("{key}={v}")))
        .collect();
    for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
        let key = object::field(expression, "key");
        let values = object::strings(expression, "values").collect::<Vec<_>>().join(",");
        parts.push(match object::field(expression, "operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        });
    }
    parts.join(",")
}

fn set(value: &mut Value, pointer: &str, to: Value) {
    let mut at = value;
    for segment in pointer.split('/').skip(1) {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[segment];
    }
    *at = to;
}
