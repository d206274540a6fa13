//! Rules for ConfigMaps, Secrets, Leases, budgets and classes of priority.

use super::{not_negative, text};
use crate::error::FieldError;
use serde_json::Value;

/// Data of one ConfigMap or Secret, in bytes.
const MAX_SIZE: usize = 1024 * 1024;
const KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME', \
    or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

fn keys(data: &Value, path: &str, out: &mut Vec<FieldError>) -> usize {
    let mut size = 0;
    for (key, value) in data.as_object().into_iter().flatten() {
        let right = (1..=253).contains(&key.len())
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
            && !matches!(key.as_str(), "." | "..");
        if !right {
            out.push(FieldError::invalid(format!("{path}[{key}]"), &Value::String(key.clone()), KEY));
        }
        size += text(value).len();
    }
    size
}

fn bounded(size: usize, path: &str, out: &mut Vec<FieldError>) {
    if size > MAX_SIZE {
        let message = format!("Too long: may not be more than {MAX_SIZE} bytes");
        out.push(FieldError { reason: "FieldValueTooLong", field: path.into(), message });
    }
}

fn frozen(object: &Value, old: Option<&Value>, fields: &[&str], out: &mut Vec<FieldError>) {
    let Some(old) = old.filter(|o| o["immutable"] == true) else { return };
    if object["immutable"] != true {
        out.push(FieldError::forbidden("immutable", "field is immutable when `immutable` is set"));
    }
    for field in fields {
        if object[*field] != old[*field] {
            out.push(FieldError::forbidden(*field, "field is immutable when `immutable` is set"));
        }
    }
}

pub(super) fn config_map(object: &Value, old: Option<&Value>, out: &mut Vec<FieldError>) {
    let size = keys(&object["data"], "data", out) + keys(&object["binaryData"], "binaryData", out);
    for key in object["binaryData"].as_object().into_iter().flatten().map(|(k, _)| k) {
        if object["data"].get(key).is_some() {
            let why = "duplicate of key present in data";
            out.push(FieldError::invalid(format!("binaryData[{key}]"), &Value::String(key.clone()), why));
        }
    }
    bounded(size, "", out);
    frozen(object, old, &["data", "binaryData"], out);
}

pub(super) fn secret(object: &Value, old: Option<&Value>, out: &mut Vec<FieldError>) {
    // Encoded: four characters for three bytes.
    bounded(keys(&object["data"], "data", out) / 4 * 3, "data", out);
    let has = |key: &str| object["data"].get(key).is_some();
    let needed: &[&str] = match object["type"].as_str().unwrap_or_default() {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    for key in needed.iter().filter(|k| !has(k)) {
        out.push(FieldError::required(format!("data[{key}]"), ""));
    }
    let account = &object["metadata"]["annotations"]["kubernetes.io/service-account.name"];
    if object["type"] == "kubernetes.io/service-account-token" && text(account).is_empty() {
        out.push(FieldError::required("metadata.annotations[kubernetes.io/service-account.name]", ""));
    }
    if let Some(old) = old {
        super::immutable(out, "type", &object["type"], &old["type"]);
    }
    frozen(object, old, &["data"], out);
}

pub(super) fn lease(object: &Value, out: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    if spec["leaseDurationSeconds"].as_i64().is_some_and(|n| n <= 0) {
        let value = &spec["leaseDurationSeconds"];
        out.push(FieldError::invalid("spec.leaseDurationSeconds", value, "must be greater than 0"));
    }
    not_negative(out, "spec.leaseTransitions", &spec["leaseTransitions"]);
    if !text(&spec["preferredHolder"]).is_empty() && text(&spec["strategy"]).is_empty() {
        let why = "may only be specified if `strategy` is defined";
        out.push(FieldError::forbidden("spec.preferredHolder", why));
    }
}

pub(super) fn budget(object: &Value, out: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
        let why = "minAvailable and maxUnavailable cannot be both set";
        out.push(FieldError::invalid("spec", spec, why));
    }
}

pub(super) fn priority_class(object: &Value, out: &mut Vec<FieldError>) {
    const SYSTEM: [&str; 2] = ["system-cluster-critical", "system-node-critical"];
    const HIGHEST: i64 = 1_000_000_000;
    let name = text(&object["metadata"]["name"]);
    if name.starts_with("system-") {
        if !SYSTEM.contains(&name) {
            let why = format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: {name} is not a \
                 known system priority class"
            );
            out.push(FieldError::forbidden("metadata.name", why));
        }
    } else if object["value"].as_i64().is_some_and(|value| value > HIGHEST) {
        let why = format!("maximum allowed value of a user defined priority is {HIGHEST}");
        out.push(FieldError::forbidden("value", why));
    }
}
