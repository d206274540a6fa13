//! Decoding by the table of built-in fields: wrong types, unknown fields, and dropping what the kind does not have.

use crate::error::ApiError;
use crate::kinds::{self, Shape, Type};
use crate::schema::join;
use base64::Engine as _;
use serde_json::{Map, Value, json};

/// Checks that every known field of a built-in kind has its type: 400 otherwise. Unknown fields are no error here.
pub(crate) fn decode(api_version: &str, kind: &str, object: &Value) -> Result<(), ApiError> {
    let metadata = || check_shape(&Shape::Ref("meta.v1.ObjectMeta"), &object["metadata"], "metadata");
    let checked = match kinds::type_of(api_version, kind) {
        Some(ty) => check_type(ty, object, ""),
        None => metadata(),
    };
    let version = api_version.rsplit('/').next().unwrap_or_default();
    checked.map_err(|why| {
        ApiError::BadRequest(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"))
    })
}

/// Removes the fields a built-in kind does not have, nulls, and empty lists and maps, as decoding into its type would. Returns the paths of the
/// unknown ones, as `spec.containers[0].imagePul`. Of other kinds, only metadata is looked at.
pub(crate) fn prune_unknown(api_version: &str, kind: &str, object: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    match kinds::type_of(api_version, kind) {
        Some(ty) => prune_type(ty, object, "", &mut unknown),
        None => {
            if let (Some(ty), Some(metadata)) = (kinds::object_meta(), object.get_mut("metadata")) {
                prune_type(ty, metadata, "metadata", &mut unknown);
            }
        }
    }
    unknown
}

fn prune_type(ty: &Type, value: &mut Value, path: &str, unknown: &mut Vec<String>) {
    let Value::Object(map) = value else { return };
    let mut doomed = Vec::new();
    for (name, child) in map.iter_mut() {
        let at = join(path, name);
        match ty.fields.get(name.as_str()) {
            Some(field) if child.is_null() || (!field.required && is_empty(&field.shape, child)) => {
                doomed.push(name.clone());
            }
            Some(field) => prune_shape(&field.shape, child, &at, unknown),
            // Every object may carry them, lists' items too.
            None if path.is_empty() && matches!(name.as_str(), "apiVersion" | "kind") => {}
            None => {
                doomed.push(name.clone());
                unknown.push(at);
            }
        }
    }
    for name in doomed {
        map.remove(&name);
    }
}

/// Whether Go's `omitempty` leaves it out: an empty list or map, but not an empty struct.
fn is_empty(shape: &Shape, value: &Value) -> bool {
    match (shape, value) {
        (Shape::List { .. }, Value::Array(items)) => items.is_empty(),
        (Shape::Map { .. }, Value::Object(map)) => map.is_empty(),
        _ => false,
    }
}

fn prune_shape(shape: &Shape, value: &mut Value, path: &str, unknown: &mut Vec<String>) {
    match (shape, value) {
        (Shape::Ref(name), value) => {
            if let Some(ty) = kinds::find_type(name) {
                prune_type(ty, value, path, unknown);
            }
        }
        (Shape::List { item, .. }, Value::Array(items)) => {
            for (index, child) in items.iter_mut().enumerate() {
                prune_shape(item, child, &format!("{path}[{index}]"), unknown);
            }
        }
        // Quantities are read from numbers and written as text.
        (Shape::Quantity, value @ Value::Number(_)) => *value = json!(value.to_string()),
        (Shape::Map { value: entry, .. }, Value::Object(map)) => {
            for (name, child) in map.iter_mut() {
                if child.is_null() && **entry == Shape::String {
                    *child = json!("");
                }
                prune_shape(entry, child, &join(path, name), unknown);
            }
        }
        _ => {}
    }
}

fn check_type(ty: &Type, value: &Value, path: &str) -> Result<(), String> {
    let map = expect_object(value, path, ty.name.rsplit('.').next().unwrap_or_default())?;
    for (name, child) in map {
        if let Some(field) = ty.fields.get(name.as_str()) {
            check_shape(&field.shape, child, &join(path, name))?;
        }
    }
    Ok(())
}

fn expect_object<'a>(value: &'a Value, path: &str, what: &str) -> Result<&'a Map<String, Value>, String> {
    value.as_object().ok_or_else(|| mismatch(value, path, what))
}

fn mismatch(value: &Value, path: &str, wanted: &str) -> String {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    format!("json: cannot unmarshal {found} into Go struct field {path} of type {wanted}")
}

fn check_shape(shape: &Shape, value: &Value, path: &str) -> Result<(), String> {
    if value.is_null() {
        return Ok(());
    }
    let expect = |right: bool, wanted: &str| if right { Ok(()) } else { Err(mismatch(value, path, wanted)) };
    match shape {
        Shape::Any => Ok(()),
        Shape::String => expect(value.is_string(), "string"),
        Shape::Bool => expect(value.is_boolean(), "bool"),
        Shape::Int32 => expect(value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()), "int32"),
        Shape::Int64 => expect(value.is_i64(), "int64"),
        Shape::Double => expect(value.is_number(), "float64"),
        Shape::IntOrString => expect(value.is_string() || value.is_i64(), "intstr.IntOrString"),
        Shape::Quantity => {
            expect(value.is_string() || value.is_number(), "resource.Quantity")?;
            match value.as_str().map(super::quantity::parse) {
                Some(None) => Err(format!("{path}: {}", super::quantity::FORMAT)),
                _ => Ok(()),
            }
        }
        Shape::Time | Shape::MicroTime => {
            expect(value.is_string(), "string")?;
            let text = super::text(value);
            if text.parse::<jiff::Timestamp>().is_ok() {
                Ok(())
            } else {
                Err(format!("{path}: parsing time \"{text}\" as \"2006-01-02T15:04:05Z07:00\": cannot parse"))
            }
        }
        Shape::Bytes => {
            expect(value.is_string(), "[]uint8")?;
            let decoded = base64::engine::general_purpose::STANDARD.decode(super::text(value));
            decoded.map(drop).map_err(|error| format!("{path}: illegal base64 data: {error}"))
        }
        Shape::Ref(name) => kinds::find_type(name).map_or(Ok(()), |ty| check_type(ty, value, path)),
        Shape::List { item, .. } => {
            let items = value.as_array().ok_or_else(|| mismatch(value, path, "[]"))?;
            items.iter().enumerate().try_for_each(|(i, v)| check_shape(item, v, &format!("{path}[{i}]")))
        }
        Shape::Map { value: entry, .. } => {
            let map = expect_object(value, path, "map")?;
            map.iter().try_for_each(|(name, v)| check_shape(entry, v, &join(path, name)))
        }
    }
}
