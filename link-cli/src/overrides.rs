//! What an installation was told beyond the defaults, kept in a Secret so that an upgrade can say it again to the
//! defaults of its own version.

use crate::manifest::Manifest;
use crate::own_version;
use crate::render::to_yaml;
use base64::Engine;
use mesh_types::{annotations, labels};
use serde_json::{Map, Value, json};

/// Name of the Secret, and of its one key.
pub(crate) const SECRET: &str = "linkerd-config-overrides";

/// Where `values` differ from `defaults`. What is kept elsewhere stays out: certificates, keys and the version.
pub(crate) fn of(values: &Value, defaults: &Value) -> Value {
    let mut told = values.clone();
    for (parent, key) in
        [("", "identityTrustAnchorsPEM"), ("", "linkerdVersion"), ("/identity/issuer", "tls")]
    {
        let default = defaults.pointer(parent).and_then(|d| d.get(key)).cloned();
        if let (Some(map), Some(default)) = (told.pointer_mut(parent).and_then(Value::as_object_mut), default)
        {
            map.insert(key.to_owned(), default);
        }
    }
    difference(&told, defaults).unwrap_or_else(|| json!({}))
}

/// What has to be laid over `from` to make `to` of it; null takes a key away.
fn difference(to: &Value, from: &Value) -> Option<Value> {
    if to == from {
        return None;
    }
    let (Value::Object(to), Value::Object(from)) = (to, from) else { return Some(to.clone()) };
    let mut out = Map::new();
    for (key, value) in to {
        let changed = from.get(key).map_or(Some(value.clone()), |before| difference(value, before));
        if let Some(changed) = changed {
            out.insert(key.clone(), changed);
        }
    }
    for key in from.keys().filter(|key| !to.contains_key(*key)) {
        out.insert(key.clone(), Value::Null);
    }
    Some(Value::Object(out))
}

/// The Secret.
pub(crate) fn secret(namespace: &str, told: &Value) -> Manifest {
    let text = base64::engine::general_purpose::STANDARD.encode(to_yaml(told));
    let object = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": SECRET,
            "namespace": namespace,
            "labels": {
                "app.kubernetes.io/name": "controller",
                "app.kubernetes.io/part-of": "Linkerd",
                "app.kubernetes.io/version": own_version(),
                labels::CONTROL_PLANE_COMPONENT: "controller",
                labels::CONTROL_PLANE_NS: namespace,
            },
            "annotations": {annotations::CREATED_BY: format!("isthmus/cli {}", own_version())},
        },
        "data": {SECRET: text},
    });
    Manifest {
        text: format!(
            "# What this installation was told; meshctl upgrade says it again.\n{}",
            to_yaml(&object)
        ),
        object,
    }
}

#[cfg(test)]
mod tests;
