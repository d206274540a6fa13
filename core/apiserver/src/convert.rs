//! One object under several versions: custom resources change only their `apiVersion`; events are kept in the core
//! shape and shown in the newer one to clients of `events.k8s.io`.

#[cfg(test)]
mod tests;

use crate::object;
use crate::resource::ResourceDef;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::sync::Arc;

/// Core field → `events.k8s.io/v1` field.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("count", "deprecatedCount"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
];

/// A stored object as clients of `version` see it. Shares the value where nothing differs.
pub(crate) fn present(def: &ResourceDef, version: &str, stored: &Arc<Value>) -> Arc<Value> {
    match view(def, version, stored) {
        Cow::Borrowed(_) => stored.clone(),
        Cow::Owned(value) => Arc::new(value),
    }
}

/// As `present`, for a borrowed value.
pub(crate) fn view<'a>(def: &ResourceDef, version: &str, stored: &'a Value) -> Cow<'a, Value> {
    let api_version = def.api_version(version);
    if object::field(stored, "apiVersion") == api_version {
        return Cow::Borrowed(stored);
    }
    let mut value = stored.clone();
    value["apiVersion"] = api_version.into();
    if is_new_event(def) {
        rename(&mut value, EVENT_FIELDS.iter().copied());
    }
    Cow::Owned(value)
}

/// An object of a request as it is stored.
pub(crate) fn store(def: &ResourceDef, mut value: Value) -> Value {
    if is_new_event(def) {
        value["apiVersion"] = "v1".into();
        rename(&mut value, EVENT_FIELDS.iter().map(|(core, new)| (*new, *core)));
    } else {
        value["apiVersion"] = def.api_version(&def.storage_version).into();
    }
    value
}

fn is_new_event(def: &ResourceDef) -> bool {
    def.group == "events.k8s.io"
}

fn rename<'a>(value: &mut Value, fields: impl Iterator<Item = (&'a str, &'a str)>) {
    let Some(map) = value.as_object_mut() else { return };
    let moved: Map<String, Value> =
        fields.filter_map(|(from, to)| map.remove(from).map(|v| (to.to_owned(), v))).collect();
    map.extend(moved);
}
