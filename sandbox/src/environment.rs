//! The environment of a container: literal values, references, whole ConfigMaps and Secrets, `$(NAME)` expansion, and
//! the Services of its namespace. Pure.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use indexmap::IndexMap;
use serde_json::Value;

use crate::controllers::object;
use crate::downward;

/// Finds an object of the pod's namespace: (`ConfigMap` or `Secret`, name).
pub(crate) type Lookup<'a> = &'a dyn Fn(&str, &str) -> Option<Arc<Value>>;

/// A container's environment, in the order of its definition. `services` are those whose addresses it is told: of its
/// own namespace, and `default/kubernetes`.
///
/// # Errors
/// What is missing, in words for an Event.
pub(crate) fn environment<'a>(
    container: &Value,
    pod: &Value,
    services: impl Iterator<Item = &'a Value>,
    lookup: Lookup<'_>,
) -> Result<Vec<(String, String)>, String> {
    let mut variables: IndexMap<String, String> = IndexMap::new();
    let links = pod.pointer("/spec/enableServiceLinks").and_then(Value::as_bool) != Some(false);
    for service in services {
        let is_api = object::namespace(service) == "default" && object::name(service) == "kubernetes";
        if is_api || (links && object::namespace(service) == object::namespace(pod)) {
            add_service(service, &mut variables);
        }
    }
    for source in object::items(container, "/envFrom") {
        add_all(source, lookup, &mut variables)?;
    }
    for entry in object::items(container, "/env") {
        let name = object::text(entry, "/name");
        let value = match entry.get("valueFrom").filter(|source| !source.is_null()) {
            Some(source) => reference(source, container, pod, lookup)?,
            None => Some(expand(object::text(entry, "/value"), &variables)),
        };
        if let Some(value) = value {
            variables.insert(name.to_owned(), value);
        }
    }
    Ok(variables.into_iter().collect())
}

/// A command or argument with `$(NAME)` replaced by the environment's value, `$$(NAME)` left as `$(NAME)`, and unknown
/// names left alone.
pub(crate) fn expand_word(word: &str, environment: &[(String, String)]) -> String {
    expand(word, &environment.iter().cloned().collect())
}

fn expand(text: &str, variables: &IndexMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(escaped) = rest.strip_prefix("$$") {
            out.push('$');
            rest = escaped;
            continue;
        }
        let name = rest.strip_prefix("$(").and_then(|inner| inner.split_once(')'));
        match name {
            Some((name, after)) => {
                match variables.get(name) {
                    Some(value) => out.push_str(value),
                    None => out.push_str(&rest[..name.len() + 3]),
                }
                rest = after;
            }
            None => {
                out.push('$');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn add_service(service: &Value, variables: &mut IndexMap<String, String>) {
    let address = object::text(service, "/spec/clusterIP");
    let ports = object::items(service, "/spec/ports");
    if address.is_empty() || address == "None" || ports.is_empty() {
        return;
    }
    let prefix = object::name(service).to_ascii_uppercase().replace('-', "_");
    variables.insert(format!("{prefix}_SERVICE_HOST"), address.to_owned());
    for (index, port) in ports.iter().enumerate() {
        let number = object::int(port, "/port").unwrap_or_default().to_string();
        if index == 0 {
            variables.insert(format!("{prefix}_SERVICE_PORT"), number.clone());
        }
        let name = object::text(port, "/name").to_ascii_uppercase().replace('-', "_");
        if !name.is_empty() {
            variables.insert(format!("{prefix}_SERVICE_PORT_{name}"), number);
        }
    }
}

fn add_all(
    source: &Value,
    lookup: Lookup<'_>,
    variables: &mut IndexMap<String, String>,
) -> Result<(), String> {
    let prefix = object::text(source, "/prefix");
    for (field, kind) in [("configMapRef", "ConfigMap"), ("secretRef", "Secret")] {
        let Some(wanted) = source.get(field).filter(|wanted| !wanted.is_null()) else { continue };
        let name = object::text(wanted, "/name");
        let Some(found) = lookup(kind, name) else {
            if object::flag(wanted, "/optional") {
                continue;
            }
            return Err(missing(kind, name));
        };
        for (key, value) in object::map(&found, "/data").into_iter().flatten() {
            let text = value.as_str().unwrap_or_default();
            let value = if kind == "Secret" { decoded(text) } else { text.to_owned() };
            variables.insert(format!("{prefix}{key}"), value);
        }
    }
    Ok(())
}

fn reference(
    source: &Value,
    container: &Value,
    pod: &Value,
    lookup: Lookup<'_>,
) -> Result<Option<String>, String> {
    if let Some(field) = source.get("fieldRef") {
        return downward::field(pod, object::text(field, "/fieldPath")).map(Some);
    }
    if let Some(field) = source.get("resourceFieldRef") {
        return downward::resource(container, field).map(Some);
    }
    for (field, kind) in [("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")] {
        let Some(wanted) = source.get(field) else { continue };
        let (name, key) = (object::text(wanted, "/name"), object::text(wanted, "/key"));
        let optional = object::flag(wanted, "/optional");
        let Some(found) = lookup(kind, name) else {
            return if optional { Ok(None) } else { Err(missing(kind, name)) };
        };
        let value = object::map(&found, "/data").and_then(|data| data.get(key)).and_then(Value::as_str);
        return match value {
            Some(text) if kind == "Secret" => Ok(Some(decoded(text))),
            Some(text) => Ok(Some(text.to_owned())),
            None if optional => Ok(None),
            None => Err(format!("couldn't find key {key} in {kind} {}/{name}", object::namespace(pod))),
        };
    }
    Err("valueFrom names no source this node knows".to_owned())
}

fn missing(kind: &str, name: &str) -> String {
    format!("{} {name:?} not found", kind.to_ascii_lowercase())
}

fn decoded(text: &str) -> String {
    String::from_utf8_lossy(&STANDARD.decode(text).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests;
