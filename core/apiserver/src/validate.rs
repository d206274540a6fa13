//! What the API server makes of an object before it stores it: decoding strictly, filling in defaults, and refusing what is
//! wrong with the field errors Kubernetes gives.

mod config;
mod decode;
mod defaults;
mod meta;
mod network;
mod pods;
mod quantity;
mod rbac;
#[cfg(test)]
mod tests;
mod volumes;
mod webhooks;
mod workloads;

pub(crate) use decode::{decode, prune_unknown};
pub(crate) use defaults::default;
pub(crate) use meta::labels_and_annotations;

use crate::crd;
use crate::error::FieldError;
use serde_json::Value;

/// Everything wrong with a new, defaulted object of a built-in kind; of other kinds, with its metadata.
pub(crate) fn create(api_version: &str, kind: &str, namespaced: bool, object: &Value) -> Vec<FieldError> {
    let mut errors = meta::metadata(object, namespaced);
    errors.extend(meta::name_of_kind(group(api_version), kind, object));
    errors.extend(object_errors(api_version, kind, object, None));
    errors
}

/// Everything wrong with an update, both states defaulted.
pub(crate) fn update(api_version: &str, kind: &str, old: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors = meta::metadata_update(old, new);
    errors.extend(object_errors(api_version, kind, new, Some(old)));
    errors
}

fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

fn object_errors(api_version: &str, kind: &str, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let out = &mut errors;
    match (group(api_version), kind) {
        ("", "Pod") => pods::check(object, old, out),
        ("", "Service") => network::service(object, old, out),
        ("", "ConfigMap") => config::config_map(object, old, out),
        ("", "Secret") => config::secret(object, old, out),
        ("apps", "Deployment") => workloads::deployment(object, old, out),
        ("apps", "ReplicaSet" | "StatefulSet" | "DaemonSet") => workloads::set(kind, object, old, out),
        ("batch", "Job") => workloads::job(object, old, out),
        ("batch", "CronJob") => workloads::cron_job(object, out),
        ("coordination.k8s.io", "Lease") => config::lease(object, out),
        ("discovery.k8s.io", "EndpointSlice") => network::endpoint_slice(object, old, out),
        ("policy", "PodDisruptionBudget") => config::budget(object, out),
        ("scheduling.k8s.io", "PriorityClass") => config::priority_class(object, out),
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => rbac::role(kind, object, out),
        ("rbac.authorization.k8s.io", _) => rbac::binding(kind, object, old, out),
        (
            "admissionregistration.k8s.io",
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration",
        ) => {
            webhooks::check(object, out);
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => errors.extend(crd::check(object, old)),
        _ => {}
    }
    errors
}

/// The items of a list field; none when it is absent.
fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// An error for a value outside of a fixed set; an absent one is required.
fn one_of(out: &mut Vec<FieldError>, field: &str, value: &Value, supported: &[&str]) {
    match value.as_str() {
        Some(name) if supported.contains(&name) => {}
        None | Some("") => out.push(FieldError::required(field, "")),
        Some(_) => out.push(FieldError::unsupported(field, value, supported)),
    }
}

/// Like [`one_of`], but the field may be absent.
fn optional_one_of(out: &mut Vec<FieldError>, field: &str, value: &Value, supported: &[&str]) {
    if !value.is_null() {
        one_of(out, field, value, supported);
    }
}

fn not_negative(out: &mut Vec<FieldError>, field: &str, value: &Value) {
    if value.as_i64().is_some_and(|n| n < 0) {
        out.push(FieldError::invalid(field, value, "must be greater than or equal to 0"));
    }
}

fn port_number(out: &mut Vec<FieldError>, field: &str, value: &Value) {
    if !value.as_i64().is_some_and(|n| (1..=65535).contains(&n)) {
        out.push(FieldError::invalid(field, value, "must be between 1 and 65535, inclusive"));
    }
}

/// An IANA service name: at most 15 of `[a-z0-9-]`, with a letter, no hyphen at an end or next to another.
fn port_name(out: &mut Vec<FieldError>, field: &str, value: &Value) {
    let name = text(value);
    let bytes = name.as_bytes();
    let why = if bytes.is_empty() || bytes.len() > 15 {
        "must be no more than 15 characters"
    } else if !bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-') {
        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"
    } else if !bytes.iter().any(u8::is_ascii_lowercase) {
        "must contain at least one letter (a-z)"
    } else if name.contains("--") {
        "must not contain consecutive hyphens"
    } else if name.starts_with('-') || name.ends_with('-') {
        "must not begin or end with a hyphen"
    } else {
        return;
    };
    out.push(FieldError::invalid(field, value, why));
}

/// A port by number or by name.
fn port_reference(out: &mut Vec<FieldError>, field: &str, value: &Value) {
    if value.is_string() { port_name(out, field, value) } else { port_number(out, field, value) }
}

fn immutable(out: &mut Vec<FieldError>, field: &str, new: &Value, old: &Value) {
    if new != old {
        out.push(FieldError::invalid(field, new, "field is immutable"));
    }
}
