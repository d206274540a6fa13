//! Rules for metadata, which every kind shares.

use super::{list, text};
use crate::error::FieldError;
use crate::selector::{is_dns_label, is_dns_subdomain, is_label_key, is_label_value};
use serde_json::{Value, json};

/// Finalizers without a domain.
const STANDARD_FINALIZERS: &[&str] = &["kubernetes", "orphan", "foregroundDeletion"];
/// Annotations of one object, keys and values together, in bytes.
const MAX_ANNOTATIONS: usize = 256 * 1024;

pub(super) const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
    '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
pub(super) const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
    start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
    character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is \
    '[a-z]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
    start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
    '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED_NAME: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
    alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// Everything wrong with a new object's metadata, whatever its kind. The name itself must be present and bounded; what it
/// may consist of depends on the kind.
pub(crate) fn metadata(object: &Value, namespaced: bool) -> Vec<FieldError> {
    let mut out = Vec::new();
    let metadata = &object["metadata"];
    let name = text(&metadata["name"]);
    if name.is_empty() {
        out.push(FieldError::required("metadata.name", "name or generateName is required"));
    } else if name.len() > 253 {
        out.push(FieldError::invalid(
            "metadata.name",
            &metadata["name"],
            "must be no more than 253 characters",
        ));
    }
    let namespace = text(&metadata["namespace"]);
    if namespaced && namespace.is_empty() {
        out.push(FieldError::required("metadata.namespace", ""));
    } else if !namespaced && !namespace.is_empty() {
        out.push(FieldError::forbidden("metadata.namespace", "not allowed on this type"));
    } else if namespaced && !is_dns_label(namespace) {
        out.push(FieldError::invalid("metadata.namespace", &metadata["namespace"], LABEL));
    }
    out.extend(labels_and_annotations(metadata, "metadata"));
    references(object, &mut out);
    out
}

/// Everything wrong with an update of metadata.
pub(super) fn metadata_update(old: &Value, new: &Value) -> Vec<FieldError> {
    let mut out = labels_and_annotations(&new["metadata"], "metadata");
    references(new, &mut out);
    for key in ["name", "namespace", "uid", "creationTimestamp"] {
        let (old, new) = (&old["metadata"][key], &new["metadata"][key]);
        if !new.is_null() && !old.is_null() && old != new {
            out.push(FieldError::invalid(format!("metadata.{key}"), new, "field is immutable"));
        }
    }
    out
}

fn references(object: &Value, out: &mut Vec<FieldError>) {
    let metadata = &object["metadata"];
    let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    // Definitions and custom objects have servers of their own, which are not so strict.
    let is_built_in =
        kind != "CustomResourceDefinition" && crate::kinds::type_of(api_version, kind).is_some();
    for (index, finalizer) in list(&metadata["finalizers"]).iter().enumerate() {
        if !is_label_key(text(finalizer)) {
            out.push(FieldError::invalid(format!("metadata.finalizers[{index}]"), finalizer, QUALIFIED_NAME));
        } else if is_built_in
            && !text(finalizer).contains('/')
            && !STANDARD_FINALIZERS.contains(&text(finalizer))
        {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            out.push(FieldError::invalid(format!("metadata.finalizers[{index}]"), finalizer, why));
        }
    }
    let mut controllers = 0;
    for owner in list(&metadata["ownerReferences"]) {
        let path = "metadata.ownerReferences";
        for key in ["apiVersion", "kind", "name", "uid"] {
            if text(&owner[key]).is_empty() {
                out.push(FieldError::invalid(format!("{path}.{key}"), &json!(""), "must not be empty"));
            }
        }
        controllers += i32::from(owner["controller"] == true);
    }
    if controllers > 1 {
        let why = "Only one reference can have Controller set to true";
        out.push(FieldError::invalid("metadata.ownerReferences", &metadata["ownerReferences"], why));
    }
}

/// Everything wrong with the labels and annotations of a metadata object at `path`.
pub(crate) fn labels_and_annotations(metadata: &Value, path: &str) -> Vec<FieldError> {
    let mut out = Vec::new();
    labels(&metadata["labels"], &format!("{path}.labels"), &mut out);
    let field = format!("{path}.annotations");
    let mut size = 0;
    for (key, value) in metadata["annotations"].as_object().into_iter().flatten() {
        size += key.len() + text(value).len();
        if !is_label_key(&key.to_lowercase()) {
            out.push(FieldError::invalid(field.clone(), &json!(key), QUALIFIED_NAME));
        }
    }
    if size > MAX_ANNOTATIONS {
        let message = format!("Too long: may not be more than {MAX_ANNOTATIONS} bytes");
        out.push(FieldError { reason: "FieldValueTooLong", field, message });
    }
    out
}

/// Everything wrong with a map of labels at `path`.
pub(super) fn labels(labels: &Value, path: &str, out: &mut Vec<FieldError>) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        if !is_label_key(key) {
            out.push(FieldError::invalid(path, &json!(key), QUALIFIED_NAME));
        }
        let label = text(value);
        if label.len() > 63 {
            out.push(FieldError::invalid(path, value, "must be no more than 63 bytes"));
        } else if !is_label_value(label) {
            out.push(FieldError::invalid(path, value, LABEL_VALUE));
        }
    }
}

/// What a name of this kind may consist of.
pub(super) fn name_of_kind(group: &str, kind: &str, object: &Value) -> Option<FieldError> {
    let value = &object["metadata"]["name"];
    let name = text(value);
    if name.is_empty() {
        return None;
    }
    let (right, why) = match (group, kind) {
        ("rbac.authorization.k8s.io", _) => {
            (!name.contains(['/', '%']) && !matches!(name, "." | ".."), "may not contain '/' or '%'")
        }
        ("", "Service") => {
            (is_dns_label(name) && name.starts_with(|c: char| c.is_ascii_lowercase()), LABEL_1035)
        }
        ("", "Namespace") => (is_dns_label(name), LABEL),
        _ => (is_dns_subdomain(name), SUBDOMAIN),
    };
    (!right).then(|| FieldError::invalid("metadata.name", value, why))
}
