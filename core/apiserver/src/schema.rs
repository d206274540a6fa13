//! Structural schemas of custom resources: validation with Kubernetes' messages, pruning and defaulting.

mod format;
mod rules;
#[cfg(test)]
mod tests;

use crate::error::FieldError;
use regex::Regex;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// A version's schema, with its patterns and CEL rules compiled once.
#[derive(Debug)]
pub(crate) struct Schema {
    root: Value,
    patterns: HashMap<String, Regex>,
    rules: Option<kube_cel::CompiledSchema>,
}

impl Schema {
    /// Compiles an `openAPIV3Schema`. A pattern that does not compile is reported when the CRD is validated and matches
    /// everything here.
    pub(crate) fn compile(root: &Value) -> Self {
        let mut patterns = HashMap::new();
        let mut has_rules = false;
        visit(root, "", &mut |schema, _| {
            has_rules |= schema["x-kubernetes-validations"].as_array().is_some_and(|r| !r.is_empty());
            if let Some(pattern) = schema["pattern"].as_str()
                && let Ok(regex) = Regex::new(pattern)
            {
                patterns.insert(pattern.to_owned(), regex);
            }
        });
        let rules = has_rules.then(|| kube_cel::compile_schema(root));
        Self { root: root.clone(), patterns, rules }
    }

    /// The schema as written.
    pub(crate) fn root(&self) -> &Value {
        &self.root
    }

    /// Everything wrong with an object. CEL rules run only when its structure is right.
    pub(crate) fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut check = rules::Check::new(&self.patterns);
        check.object(&self.root, object, "", true);
        let errors = check.into_errors();
        match &self.rules {
            Some(compiled) if errors.is_empty() => cel_errors(compiled, object, old),
            _ => errors,
        }
    }

    /// Removes what the schema does not name. Returns the paths removed.
    pub(crate) fn prune(&self, object: &mut Value) -> Vec<String> {
        let mut pruned = Vec::new();
        prune(&self.root, object, "", true, &mut pruned);
        pruned
    }

    /// Fills in defaults.
    pub(crate) fn default(&self, object: &mut Value) {
        default(&self.root, object);
    }
}

/// Calls `f` for a schema and every schema within, with the dotted path of the values each describes.
pub(crate) fn visit(schema: &Value, path: &str, f: &mut impl FnMut(&Value, &str)) {
    f(schema, path);
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        visit(child, &join(path, name), f);
    }
    for (key, suffix) in [("items", "[*]"), ("additionalProperties", "[*]"), ("not", "")] {
        if schema[key].is_object() {
            visit(&schema[key], &format!("{path}{suffix}"), f);
        }
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        for child in schema[key].as_array().into_iter().flatten() {
            visit(child, path, f);
        }
    }
}

pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn flag(schema: &Value, name: &str) -> bool {
    schema[name].as_bool().unwrap_or(false)
}

fn cel_errors(compiled: &kube_cel::CompiledSchema, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let Err(errors) = kube_cel::Validator::new().validate_compiled(compiled, object, old) else {
        return Vec::new();
    };
    let at = |path: &str| {
        let pointer = format!("/{}", path.replace('[', "/").replace(']', "").replace('.', "/"));
        object.pointer(&pointer).cloned().unwrap_or(Value::Null)
    };
    let to_field = |error: kube_cel::ValidationError| {
        let field = error.field_path.trim_start_matches('.').to_owned();
        let value = match at(&field) {
            Value::Object(_) | Value::Null => json!("object"),
            Value::Array(_) => json!("array"),
            scalar => scalar,
        };
        match error.reason.as_deref() {
            Some("FieldValueForbidden") => FieldError::forbidden(field, &error.message),
            Some("FieldValueRequired") => FieldError::required(field, &error.message),
            Some("FieldValueDuplicate") => FieldError::duplicate(field, &value),
            _ => FieldError::invalid(field, &value, &error.message),
        }
    };
    errors.into_vec().into_iter().map(to_field).collect()
}

/// Fields every resource has, which no schema needs to name.
fn is_implicit(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind" | "metadata")
}

fn prune(schema: &Value, value: &mut Value, path: &str, resource: bool, pruned: &mut Vec<String>) {
    let keep_unknown = flag(schema, "x-kubernetes-preserve-unknown-fields");
    match value {
        Value::Object(map) => {
            let properties = schema["properties"].as_object();
            let additional = &schema["additionalProperties"];
            let embedded = resource || flag(schema, "x-kubernetes-embedded-resource");
            let mut unknown = Vec::new();
            for (name, child) in map.iter_mut() {
                let at = join(path, name);
                if embedded && is_implicit(name) {
                    continue;
                }
                if let Some(known) = properties.and_then(|p| p.get(name)) {
                    prune(known, child, &at, false, pruned);
                } else if additional.is_object() {
                    prune(additional, child, &at, false, pruned);
                } else if !keep_unknown && additional != &Value::Bool(true) {
                    unknown.push(name.clone());
                    pruned.push(at);
                }
            }
            for name in unknown {
                map.remove(&name);
            }
        }
        Value::Array(items) if schema["items"].is_object() => {
            for (index, item) in items.iter_mut().enumerate() {
                prune(&schema["items"], item, &format!("{path}[{index}]"), false, pruned);
            }
        }
        _ => {}
    }
}

fn default(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            default_properties(schema, map);
            if schema["additionalProperties"].is_object() {
                let named = |name: &str| schema["properties"].get(name).is_some();
                let others = map.iter_mut().filter(|(name, _)| !named(name));
                others.for_each(|(_, child)| default(&schema["additionalProperties"], child));
            }
        }
        Value::Array(items) if schema["items"].is_object() => {
            items.iter_mut().for_each(|item| default(&schema["items"], item));
        }
        _ => {}
    }
}

fn default_properties(schema: &Value, map: &mut Map<String, Value>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let given = property.get("default");
        // An explicit null where null is not allowed counts as absent, but only where there is a default.
        let absent = map.get(name).is_none_or(|v| v.is_null() && !flag(property, "nullable"));
        if absent && let Some(given) = given {
            map.insert(name.clone(), given.clone());
        }
        if let Some(child) = map.get_mut(name) {
            default(property, child);
        }
    }
}
