//! Reading raw Kubernetes objects.
//!
//! The sandbox keeps objects as JSON (typed structs drop unknown fields), so the controllers read them through these
//! accessors. A missing or mistyped field reads as absent: the API server has validated what is stored.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Namespace (empty for cluster-scoped objects) and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// Namespace, or empty.
    pub(crate) namespace: String,
    /// Name.
    pub(crate) name: String,
}

impl Key {
    /// A key from its two parts.
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The key of an object.
    pub(crate) fn of(object: &Value) -> Self {
        Self::new(namespace(object), name(object))
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The string at a JSON pointer, or empty.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The integer at a JSON pointer.
pub(crate) fn int(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

/// The boolean at a JSON pointer; absent is false.
pub(crate) fn flag(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).and_then(Value::as_bool).unwrap_or_default()
}

/// The array at a JSON pointer, or empty.
pub(crate) fn items<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The map at a JSON pointer.
pub(crate) fn map<'a>(object: &'a Value, pointer: &str) -> Option<&'a Map<String, Value>> {
    object.pointer(pointer).and_then(Value::as_object)
}

/// `metadata.name`.
pub(crate) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// `metadata.namespace`, or empty.
pub(crate) fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

/// `metadata.uid`.
pub(crate) fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

/// `metadata.generation`, 0 when absent.
pub(crate) fn generation(object: &Value) -> i64 {
    int(object, "/metadata/generation").unwrap_or_default()
}

/// `metadata.resourceVersion` as the number our API server issues; 0 when absent.
pub(crate) fn version(object: &Value) -> u64 {
    text(object, "/metadata/resourceVersion").parse().unwrap_or_default()
}

/// One annotation's value.
pub(crate) fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    map(object, "/metadata/annotations")?.get(key)?.as_str()
}

/// Is the object being deleted?
pub(crate) fn is_deleting(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null())
}

/// The time at a JSON pointer.
pub(crate) fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    object.pointer(pointer)?.as_str()?.parse().ok()
}

/// A timestamp as Kubernetes writes it: RFC 3339 with whole seconds.
pub(crate) fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The owner reference with `controller: true`.
pub(crate) fn controller(object: &Value) -> Option<&Value> {
    items(object, "/metadata/ownerReferences").iter().find(|owner| flag(owner, "/controller"))
}

/// Is `owner` the controller of `object`?
pub(crate) fn is_controlled_by(object: &Value, owner: &Value) -> bool {
    controller(object).is_some_and(|reference| text(reference, "/uid") == uid(owner))
}

/// An owner reference that makes `owner` the controller.
pub(crate) fn controller_reference(owner: &Value, api_version: &str, kind: &str) -> Value {
    json!({
        "apiVersion": api_version, "kind": kind, "name": name(owner), "uid": uid(owner),
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// Does a LabelSelector (`matchLabels` and `matchExpressions`) at `pointer` of `object` select these labels? An absent
/// or empty selector selects nothing, as for workload controllers.
pub(crate) fn selects(selector: Option<&Value>, target: &Value) -> bool {
    let Some(selector) = selector else { return false };
    let labels = map(target, "/metadata/labels");
    let value_of = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
    let exact = map(selector, "/matchLabels");
    let expressions = items(selector, "/matchExpressions");
    if exact.is_none_or(Map::is_empty) && expressions.is_empty() {
        return false;
    }
    exact.into_iter().flatten().all(|(key, value)| value_of(key) == value.as_str())
        && expressions.iter().all(|rule| {
            let found = value_of(text(rule, "/key"));
            let listed = || items(rule, "/values").iter().any(|value| value.as_str() == found);
            match text(rule, "/operator") {
                "In" => found.is_some() && listed(),
                "NotIn" => !(found.is_some() && listed()),
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}

/// Does a plain label map (a Service's `spec.selector`) select these labels? An empty map selects nothing.
pub(crate) fn selects_plainly(selector: Option<&Map<String, Value>>, target: &Value) -> bool {
    let Some(selector) = selector.filter(|selector| !selector.is_empty()) else { return false };
    let labels = map(target, "/metadata/labels");
    selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

/// A condition of an object by type.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    items(object, "/status/conditions").iter().find(|condition| text(condition, "/type") == kind)
}

/// Is a condition's status `True`?
pub(crate) fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| text(condition, "/status") == "True")
}

/// A merge patch that makes `status` the object's whole status: fields that are gone are nulled.
pub(crate) fn status_patch(old: &Value, status: Value) -> Value {
    let mut status = status;
    if let (Some(old), Some(new)) = (map(old, "/status"), status.as_object_mut()) {
        for key in old.keys() {
            new.entry(key.clone()).or_insert(Value::Null);
        }
    }
    json!({ "status": status })
}

/// FNV-1a over the canonical (sorted) JSON text, written in the alphabet Kubernetes uses for generated suffixes.
pub(crate) fn short_hash(value: &Value, length: usize) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut text = String::new();
    canonical(value, &mut text);
    let mut hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (0..length)
        .map(|_| {
            let letter = ALPHABET[(hash % 27) as usize];
            hash /= 27;
            char::from(letter)
        })
        .collect()
}

fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (key, value) in sorted {
                out.push_str(key);
                out.push(':');
                canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(values) => {
            out.push('[');
            for value in values {
                canonical(value, out);
                out.push(',');
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}
