//! Validation of a value against a structural schema, with the messages Kubernetes gives.

use super::{flag, format, join};
use crate::error::FieldError;
use crate::validate;
use regex::Regex;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// One validation run, gathering every error.
pub(super) struct Check<'a> {
    patterns: &'a HashMap<String, Regex>,
    errors: Vec<FieldError>,
}

fn type_invalid(path: &str, value: &Value, expected: &str) -> FieldError {
    let found = type_name(value);
    FieldError {
        reason: "FieldValueTypeInvalid",
        ..FieldError::invalid(
            path,
            &Value::String(found.into()),
            format!("{path} in body must be of type {expected}: \"{found}\""),
        )
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

impl<'a> Check<'a> {
    pub(super) fn new(patterns: &'a HashMap<String, Regex>) -> Self {
        Self { patterns, errors: Vec::new() }
    }

    pub(super) fn into_errors(self) -> Vec<FieldError> {
        self.errors
    }

    /// Validates a value; `resource` marks the root, whose metadata is validated elsewhere.
    pub(super) fn object(&mut self, schema: &Value, value: &Value, path: &str, resource: bool) {
        if value.is_null() && (flag(schema, "nullable") || schema.get("type").is_none()) {
            return;
        }
        if !self.right_type(schema, value, path) {
            return;
        }
        match value {
            Value::Object(map) => self.properties(schema, map, path, resource),
            Value::Array(items) => self.items(schema, items, path),
            Value::String(text) => self.text(schema, text, path),
            Value::Number(_) => self.number(schema, value, path),
            _ => {}
        }
        self.enumeration(schema, value, path);
        self.combinations(schema, value, path, resource);
    }

    fn right_type(&mut self, schema: &Value, value: &Value, path: &str) -> bool {
        if flag(schema, "x-kubernetes-int-or-string") {
            let right = value.is_string() || value.is_i64() || value.is_u64();
            if !right {
                self.errors.push(type_invalid(path, value, "integer,string"));
            }
            return right;
        }
        let Some(expected) = schema["type"].as_str() else { return true };
        let integral = |v: &Value| v.is_i64() || v.is_u64() || v.as_f64().is_some_and(|f| f.fract() == 0.0);
        let right = match expected {
            "integer" => value.is_number() && integral(value),
            "number" => value.is_number(),
            expected => type_name(value) == expected,
        };
        if !right {
            self.errors.push(type_invalid(path, value, expected));
        }
        right
    }

    fn properties(&mut self, schema: &Value, map: &Map<String, Value>, path: &str, resource: bool) {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !map.contains_key(name) {
                self.errors.push(FieldError::required(join(path, name), ""));
            }
        }
        self.count(schema, ("minProperties", "maxProperties", "properties"), map.len(), path);
        let embedded = flag(schema, "x-kubernetes-embedded-resource");
        if embedded {
            self.embedded(map, path);
        }
        let properties = schema["properties"].as_object();
        for (name, child) in map {
            if resource && name == "metadata" {
                self.root_metadata(&schema["properties"]["metadata"], child);
                continue;
            }
            if let Some(known) = properties.and_then(|p| p.get(name)) {
                self.object(known, child, &join(path, name), false);
            } else if schema["additionalProperties"].is_object() && !(embedded && super::is_implicit(name)) {
                self.object(&schema["additionalProperties"], child, &join(path, name), false);
            }
        }
    }

    /// A CRD may restrict `metadata.name` and `metadata.generateName` only.
    fn root_metadata(&mut self, schema: &Value, metadata: &Value) {
        for name in ["name", "generateName"] {
            if let (Some(rule), Some(value)) = (schema["properties"].get(name), metadata.get(name)) {
                self.object(rule, value, &format!("metadata.{name}"), false);
            }
        }
    }

    fn embedded(&mut self, map: &Map<String, Value>, path: &str) {
        for name in ["apiVersion", "kind"] {
            if map.get(name).and_then(Value::as_str).is_none_or(str::is_empty) {
                self.errors.push(FieldError::required(join(path, name), "must not be empty"));
            }
        }
        if let Some(metadata) = map.get("metadata") {
            let prefix = join(path, "metadata");
            let errors = validate::labels_and_annotations(metadata, &prefix);
            self.errors.extend(errors);
        }
    }

    fn items(&mut self, schema: &Value, items: &[Value], path: &str) {
        self.count(schema, ("minItems", "maxItems", "items"), items.len(), path);
        if schema["items"].is_object() {
            for (index, item) in items.iter().enumerate() {
                self.object(&schema["items"], item, &format!("{path}[{index}]"), false);
            }
        }
        let identity = |item: &Value| match schema["x-kubernetes-list-type"].as_str() {
            Some("set") => Some(item.clone()),
            Some("map") => {
                let keys = schema["x-kubernetes-list-map-keys"].as_array()?;
                let entry = |k: &str| (k.to_owned(), item[k].clone());
                Some(Value::Object(keys.iter().filter_map(Value::as_str).map(entry).collect()))
            }
            _ => None,
        };
        let mut seen: Vec<Value> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let Some(identity) = identity(item) else { return };
            if seen.contains(&identity) {
                self.errors.push(FieldError::duplicate(format!("{path}[{index}]"), &identity));
            } else {
                seen.push(identity);
            }
        }
    }

    fn text(&mut self, schema: &Value, text: &str, path: &str) {
        let value = Value::String(text.to_owned());
        let length = text.chars().count() as u64;
        if let Some(least) = schema["minLength"].as_u64().filter(|l| length < *l) {
            let why = format!("{path} in body should be at least {least} chars long");
            self.errors.push(FieldError::invalid(path, &value, why));
        }
        if let Some(most) = schema["maxLength"].as_u64().filter(|m| length > *m) {
            let message = format!("Too long: may not be more than {most} bytes");
            self.errors.push(FieldError { reason: "FieldValueTooLong", field: path.to_owned(), message });
        }
        if let Some(pattern) = schema["pattern"].as_str()
            && self.patterns.get(pattern).is_some_and(|regex| !regex.is_match(text))
        {
            let why = format!("{path} in body should match '{pattern}'");
            self.errors.push(FieldError::invalid(path, &value, why));
        }
        if let Some(name) = schema["format"].as_str()
            && !format::matches(name, text)
        {
            let why = format!("{path} in body must be of type {name}: \"{text}\"");
            self.errors.push(FieldError::invalid(path, &value, why));
        }
    }

    fn number(&mut self, schema: &Value, value: &Value, path: &str) {
        let number = value.as_f64().unwrap_or_default();
        let mut refuse = |why: String| {
            self.errors.push(FieldError::invalid(path, value, format!("{path} in body should be {why}")));
        };
        if let Some(least) = schema["minimum"].as_f64() {
            if flag(schema, "exclusiveMinimum") && number <= least {
                refuse(format!("greater than {least}"));
            } else if number < least {
                refuse(format!("greater than or equal to {least}"));
            }
        }
        if let Some(most) = schema["maximum"].as_f64() {
            if flag(schema, "exclusiveMaximum") && number >= most {
                refuse(format!("less than {most}"));
            } else if number > most {
                refuse(format!("less than or equal to {most}"));
            }
        }
        if let Some(step) = schema["multipleOf"].as_f64().filter(|s| *s != 0.0)
            && ((number / step).round() * step - number).abs() > f64::EPSILON * number.abs().max(1.0)
        {
            refuse(format!("a multiple of {step}"));
        }
        if schema["format"] == "int32" && value.as_i64().is_none_or(|n| i32::try_from(n).is_err()) {
            refuse("of type int32".into());
        }
    }

    fn count(&mut self, schema: &Value, (min, max, what): (&str, &str, &str), count: usize, path: &str) {
        let count = count as u64;
        if let Some(least) = schema[min].as_u64().filter(|l| count < *l) {
            let why = format!("{path} in body should have at least {least} {what}");
            self.errors.push(FieldError::invalid(path, &Value::from(count), why));
        }
        if let Some(most) = schema[max].as_u64().filter(|m| count > *m) {
            let message = format!("Too many: {count}: must have at most {most} {what}");
            self.errors.push(FieldError { reason: "FieldValueTooMany", field: path.to_owned(), message });
        }
    }

    fn enumeration(&mut self, schema: &Value, value: &Value, path: &str) {
        let Some(allowed) = schema["enum"].as_array() else { return };
        if !allowed.contains(value) {
            let names: Vec<String> =
                allowed.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            self.errors.push(FieldError::unsupported(path, value, &names));
        }
    }

    fn combinations(&mut self, schema: &Value, value: &Value, path: &str, resource: bool) {
        let fits = |branch: &Value| {
            let mut check = Check::new(self.patterns);
            check.object(branch, value, path, resource);
            check.errors.is_empty()
        };
        let branches = |key: &str| schema[key].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut why = None;
        if schema["anyOf"].is_array() && !branches("anyOf").iter().any(fits) {
            why = Some("must validate at least one schema (anyOf)");
        }
        if schema["oneOf"].is_array() {
            match branches("oneOf").iter().filter(|b| fits(b)).count() {
                1 => {}
                0 => why = Some("must validate one and only one schema (oneOf). Found none valid"),
                _ => why = Some("must validate one and only one schema (oneOf). Found 2 valid alternatives"),
            }
        }
        if schema["not"].is_object() && fits(&schema["not"]) {
            why = Some("must not validate the schema (not)");
        }
        if let Some(why) = why {
            let shown = if value.is_object() || value.is_array() {
                Value::String(type_name(value).into())
            } else {
                value.clone()
            };
            let name = if path.is_empty() { "\"\"" } else { path };
            self.errors.push(FieldError::invalid(path, &shown, format!("{name} {why}")));
        }
        for branch in branches("allOf") {
            self.object(branch, value, path, resource);
        }
    }
}
