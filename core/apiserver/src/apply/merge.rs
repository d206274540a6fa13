//! Merging a configuration into an object, and removing what is no longer applied.

use super::fields::FieldSet;
use crate::typing::{Structure, Typing};
use serde_json::{Map, Value};

/// The object with a configuration laid over it.
pub(super) fn merge(typing: Typing<'_>, live: &Value, config: &Value) -> Value {
    match (typing.structure(config), live, config) {
        (Structure::Fields, Value::Object(live), Value::Object(config)) => {
            let mut merged = live.clone();
            for (name, value) in config {
                let value = match live.get(name) {
                    Some(old) => merge(typing.field(name), old, value),
                    None => value.clone(),
                };
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        (Structure::Keyed(keys), Value::Array(live), Value::Array(config)) => {
            let key = |item: &Value| typing.item_key(&keys, item);
            let merged = config.iter().map(|item| {
                let old = live.iter().find(|old| key(old) == key(item));
                (key(item), old.map_or_else(|| item.clone(), |old| merge(typing.item(), old, item)))
            });
            Value::Array(interleave(merged.collect(), live.iter().map(|i| (key(i), i.clone())).collect()))
        }
        (Structure::Set, Value::Array(live), Value::Array(config)) => {
            let keyed = |item: &Value| (item.to_string(), item.clone());
            let merged = config.iter().map(keyed).collect();
            Value::Array(interleave(merged, live.iter().map(keyed).collect()))
        }
        _ => config.clone(),
    }
}

/// The configured items in their order, with the live ones they do not name kept in place: each stays before the first
/// configured item that followed it.
fn interleave(configured: Vec<(String, Value)>, live: Vec<(String, Value)>) -> Vec<Value> {
    let index = |key: &str| live.iter().position(|(k, _)| k == key);
    let mut rest = live.iter().filter(|(key, _)| configured.iter().all(|(k, _)| k != key)).peekable();
    let mut merged = Vec::new();
    for (key, value) in &configured {
        if let Some(place) = index(key) {
            while let Some((_, item)) = rest.next_if(|(k, _)| index(k).is_some_and(|i| i < place)) {
                merged.push(item.clone());
            }
        }
        merged.push(value.clone());
    }
    merged.extend(rest.map(|(_, item)| item.clone()));
    merged
}

/// Removes fields from an object, except what `kept` still names. Objects and lists that this empties go too.
pub(super) fn remove(typing: Typing<'_>, object: &mut Value, doomed: &FieldSet, kept: &FieldSet) {
    // Deepest first, so that an item goes after its fields.
    for path in doomed.iter().rev().filter(|p| !kept.reaches(p)) {
        remove_path(typing, object, path);
    }
}

fn remove_path(typing: Typing<'_>, value: &mut Value, path: &[String]) {
    let Some((step, rest)) = path.split_first() else { return };
    match (step.split_once(':'), value) {
        (Some(("f", name)), Value::Object(map)) => remove_field(typing, map, name, rest),
        (Some(("k", key)), value @ Value::Array(_)) => {
            let Structure::Keyed(keys) = typing.structure(value) else { return };
            let Value::Array(items) = value else { return };
            let Some(at) = items.iter().position(|i| typing.item_key(&keys, i) == key) else { return };
            if rest.is_empty() {
                items.remove(at);
            } else if let Some(item) = items.get_mut(at)
                && !is_key_field(&keys, rest)
            {
                remove_path(typing.item(), item, rest);
            }
        }
        (Some(("v", text)), Value::Array(items)) => {
            let doomed: Option<Value> = serde_json::from_str(text).ok();
            items.retain(|item| Some(item) != doomed.as_ref());
        }
        _ => {}
    }
}

/// Whether a path within an item is one of the fields that name the item: these go only with it.
fn is_key_field(keys: &[&str], rest: &[String]) -> bool {
    matches!(rest, [only] if only.strip_prefix("f:").is_some_and(|name| keys.contains(&name)))
}

fn remove_field(typing: Typing<'_>, map: &mut Map<String, Value>, name: &str, rest: &[String]) {
    if rest.is_empty() {
        map.remove(name);
        return;
    }
    let Some(child) = map.get_mut(name) else { return };
    remove_path(typing.field(name), child, rest);
    let emptied = child.as_object().is_some_and(Map::is_empty) || child.as_array().is_some_and(Vec::is_empty);
    if emptied {
        map.remove(name);
    }
}

/// Takes out fields that are null: applying null is not applying.
pub(super) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
