//! The CustomResourceDefinition object itself: its defaults, what can be wrong with it, and its status.

use super::{text, texts};
use crate::error::FieldError;
use crate::schema;
use crate::selector::{is_dns_label, is_dns_subdomain};
use serde_json::{Value, json};

/// Fills in what the API server fills in.
pub(crate) fn default(crd: &mut Value) {
    let Some(spec) = crd.get_mut("spec").filter(|s| s.is_object()) else { return };
    let kind = text(&spec["names"]["kind"]);
    if spec["names"].is_object() {
        if text(&spec["names"]["singular"]).is_empty() {
            spec["names"]["singular"] = json!(kind.to_lowercase());
        }
        if text(&spec["names"]["listKind"]).is_empty() && !kind.is_empty() {
            spec["names"]["listKind"] = json!(format!("{kind}List"));
        }
    }
    if spec["conversion"].is_null() {
        spec["conversion"] = json!({"strategy": "None"});
    }
}

/// Everything wrong with a CustomResourceDefinition; `old` is what an update replaces.
pub(crate) fn check(crd: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &crd["spec"];
    check_names(crd, &mut errors);
    match spec["scope"].as_str() {
        Some("Namespaced" | "Cluster") => {}
        None | Some("") => errors.push(FieldError::required("spec.scope", "")),
        _ => errors.push(FieldError::unsupported("spec.scope", &spec["scope"], &["Cluster", "Namespaced"])),
    }
    check_versions(spec, &mut errors);
    match spec["conversion"]["strategy"].as_str() {
        None | Some("None") => {}
        Some("Webhook") => errors.push(FieldError::forbidden(
            "spec.conversion.strategy",
            "conversion webhooks are not served here; use None and keep the versions' schemas compatible",
        )),
        _ => errors.push(FieldError::unsupported(
            "spec.conversion.strategy",
            &spec["conversion"]["strategy"],
            &["None", "Webhook"],
        )),
    }
    if let Some(old) = old {
        for path in ["/spec/group", "/spec/names/plural", "/spec/names/kind", "/spec/scope"] {
            if crd.pointer(path) != old.pointer(path) {
                let value = crd.pointer(path).cloned().unwrap_or_default();
                let field = path.trim_start_matches('/').replace('/', ".");
                errors.push(FieldError::invalid(field, &value, "field is immutable"));
            }
        }
    }
    errors
}

fn check_names(crd: &Value, errors: &mut Vec<FieldError>) {
    let (spec, names) = (&crd["spec"], &crd["spec"]["names"]);
    let (group, plural) = (text(&spec["group"]), text(&names["plural"]));
    if group.is_empty() {
        errors.push(FieldError::required("spec.group", ""));
    } else if !is_dns_subdomain(&group) || !group.contains('.') {
        errors.push(FieldError::invalid(
            "spec.group",
            &spec["group"],
            "should be a domain with at least one dot",
        ));
    }
    if plural.is_empty() {
        errors.push(FieldError::required("spec.names.plural", ""));
    }
    if text(&names["kind"]).is_empty() {
        errors.push(FieldError::required("spec.names.kind", ""));
    }
    for key in ["plural", "singular"] {
        let name = text(&names[key]);
        if !name.is_empty() && !is_dns_label(&name) {
            let why = "a DNS-1035 label must consist of lower case alphanumeric characters or '-'";
            errors.push(FieldError::invalid(format!("spec.names.{key}"), &names[key], why));
        }
    }
    let expected = format!("{plural}.{group}");
    if !plural.is_empty() && !group.is_empty() && crd["metadata"]["name"] != expected.as_str() {
        let why = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid("metadata.name", &crd["metadata"]["name"], why));
    }
}

fn check_versions(spec: &Value, errors: &mut Vec<FieldError>) {
    let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if versions.iter().filter(|v| v["storage"] == true).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid("spec.versions", &json!(versions.len()), why));
    }
    let mut seen = Vec::new();
    for (index, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{index}]");
        let name = text(&version["name"]);
        if !is_dns_label(&name) {
            let why = "a DNS-1035 label must consist of lower case alphanumeric characters or '-'";
            errors.push(FieldError::invalid(format!("{path}.name"), &version["name"], why));
        }
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), &version["name"]));
        }
        seen.push(name);
        let root = &version["schema"]["openAPIV3Schema"];
        if root.is_object() {
            check_schema(root, &format!("{path}.schema.openAPIV3Schema"), errors);
        } else {
            errors
                .push(FieldError::required(format!("{path}.schema.openAPIV3Schema"), "schemas are required"));
        }
        let scale = &version["subresources"]["scale"];
        for (key, prefix) in [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")] {
            if scale.is_object() && !text(&scale[key]).starts_with(prefix) {
                let why = format!("should be a json path under {prefix}");
                errors.push(FieldError::invalid(
                    format!("{path}.subresources.scale.{key}"),
                    &scale[key],
                    why,
                ));
            }
        }
    }
}

/// Structural rules: every value has a type, patterns and CEL rules compile.
fn check_schema(root: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if root["type"] != "object" {
        errors.push(FieldError::invalid(format!("{path}.type"), &root["type"], "must be object at the root"));
    }
    check_types(root, path, errors);
    schema::visit(root, "", &mut |node, at| {
        let place =
            |key: &str| if at.is_empty() { format!("{path}.{key}") } else { format!("{path}[{at}].{key}") };
        if let Some(pattern) = node["pattern"].as_str()
            && let Err(error) = regex::Regex::new(pattern)
        {
            errors.push(FieldError::invalid(place("pattern"), &node["pattern"], error));
        }
        for (index, rule) in node["x-kubernetes-validations"].as_array().into_iter().flatten().enumerate() {
            let source = text(&rule["rule"]);
            if let Err(error) = kube_cel::cel::Program::compile(&source) {
                let field = place(&format!("x-kubernetes-validations[{index}].rule"));
                errors.push(FieldError::invalid(
                    field,
                    &rule["rule"],
                    format!("compilation failed: {error}"),
                ));
            }
        }
        let list = node["x-kubernetes-list-type"].as_str();
        if list == Some("map") && texts(&node["x-kubernetes-list-map-keys"]).is_empty() {
            let why = "required if x-kubernetes-list-type is map";
            errors.push(FieldError::required(place("x-kubernetes-list-map-keys"), why));
        }
    });
}

/// Outside of `allOf`, `anyOf`, `oneOf` and `not`, every node must say its type.
fn check_types(node: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let typeless_allowed =
        node["x-kubernetes-int-or-string"] == true || node["x-kubernetes-preserve-unknown-fields"] == true;
    match node["type"].as_str() {
        None | Some("") if typeless_allowed => {}
        None | Some("") => {
            errors.push(FieldError::required(
                format!("{path}.type"),
                "must not be empty for specified object fields",
            ));
        }
        Some("array" | "boolean" | "integer" | "number" | "object" | "string") => {}
        Some(_) => errors.push(FieldError::unsupported(
            format!("{path}.type"),
            &node["type"],
            &["array", "boolean", "integer", "number", "object", "string"],
        )),
    }
    if node["type"] == "array" && !node["items"].is_object() {
        errors.push(FieldError::required(format!("{path}.items"), "must be specified"));
    }
    for (name, child) in node["properties"].as_object().into_iter().flatten() {
        check_types(child, &format!("{path}.properties[{name}]"), errors);
    }
    for key in ["items", "additionalProperties"] {
        if node[key].is_object() {
            check_types(&node[key], &format!("{path}.{key}"), errors);
        }
    }
}

/// A CustomResourceDefinition with the status the API server gives it: names accepted unless `taken`, which is told a
/// group, a kind and a plural name; established at once. `now` is an RFC 3339 time.
pub(crate) fn with_status(crd: &Value, taken: &dyn Fn(&str, &str, &str) -> bool, now: &str) -> Value {
    let mut crd = crd.clone();
    let spec = crd["spec"].clone();
    let names = &spec["names"];
    let conflict = taken(&text(&spec["group"]), &text(&names["kind"]), &text(&names["plural"]));
    let old = crd["status"].clone();
    let condition = |kind: &str, status: bool, reason: &str, message: &str| {
        let status = if status { "True" } else { "False" };
        let old = old["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == kind);
        let since =
            old.filter(|c| c["status"] == status).map_or(json!(now), |c| c["lastTransitionTime"].clone());
        json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since})
    };
    let established = old["conditions"]
        .as_array()
        .is_some_and(|all| all.iter().any(|c| c["type"] == "Established" && c["status"] == "True"));
    let conditions = if conflict && !established {
        let message = format!("\"{}\" is already in use", text(&names["plural"]));
        json!([
            condition("NamesAccepted", false, "PluralConflict", &message),
            condition("Established", false, "NotAccepted", "not all names are accepted"),
        ])
    } else {
        json!([
            condition("NamesAccepted", true, "NoConflicts", "no conflicts found"),
            condition("Established", true, "InitialNamesAccepted", "the initial names have been accepted"),
        ])
    };
    let versions = spec["versions"].as_array().into_iter().flatten();
    let storage = versions.filter(|v| v["storage"] == true).map(|v| text(&v["name"])).next();
    let mut stored = texts(&old["storedVersions"]);
    if let Some(storage) = storage.filter(|s| !stored.contains(s)) {
        stored.push(storage);
    }
    crd["status"] = json!({
        "acceptedNames": if conflict && !established { old["acceptedNames"].clone() } else { names.clone() },
        "conditions": conditions,
        "storedVersions": stored,
    });
    if crd["status"]["acceptedNames"].is_null() {
        crd["status"]["acceptedNames"] = json!({"kind": "", "plural": ""});
    }
    crd
}
