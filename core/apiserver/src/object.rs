//! Reading and stamping the metadata of raw objects.

use serde_json::{Map, Value, json};

/// An empty object to lend out where a map is missing.
static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);

/// A string at a JSON pointer, or the empty string.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A string member, or the empty string.
pub(crate) fn field<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn meta<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get("metadata").map(|m| field(m, name)).unwrap_or_default()
}

pub(crate) fn name(value: &Value) -> &str {
    meta(value, "name")
}

pub(crate) fn namespace(value: &Value) -> &str {
    meta(value, "namespace")
}

pub(crate) fn uid(value: &Value) -> &str {
    meta(value, "uid")
}

pub(crate) fn resource_version(value: &Value) -> &str {
    meta(value, "resourceVersion")
}

/// Whether deletion has begun.
pub(crate) fn deleting(value: &Value) -> bool {
    !meta(value, "deletionTimestamp").is_empty()
}

/// The string elements of an array member.
pub(crate) fn strings<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a str> {
    value.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// The elements of an array at a pointer.
pub(crate) fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

pub(crate) fn finalizers(value: &Value) -> Vec<&str> {
    items(value, "/metadata/finalizers").iter().filter_map(Value::as_str).collect()
}

pub(crate) fn owners(value: &Value) -> &[Value] {
    items(value, "/metadata/ownerReferences")
}

pub(crate) fn owner_uids(value: &Value) -> impl Iterator<Item = &str> {
    owners(value).iter().map(|o| field(o, "uid"))
}

pub(crate) fn labels(value: &Value) -> &Map<String, Value> {
    value.pointer("/metadata/labels").and_then(Value::as_object).unwrap_or(&EMPTY)
}

pub(crate) fn annotation<'a>(value: &'a Value, key: &str) -> &'a str {
    value.pointer("/metadata/annotations").map(|a| field(a, key)).unwrap_or_default()
}

/// `metadata`, made an object if it is not one. A value that is no object stays as it is: it was refused before.
pub(crate) fn metadata_mut(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    member_mut(value, "metadata")
}

/// A member that is an object, made one if it is not.
pub(crate) fn member_mut<'a>(value: &'a mut Value, name: &str) -> &'a mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    let member = &mut value[name];
    if !member.is_object() {
        *member = json!({});
    }
    #[allow(clippy::expect_used)] // made an object just above
    member.as_object_mut().expect("an object")
}

/// Sets or, for `None`, removes a member of an object.
pub(crate) fn put(map: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    match value {
        Some(value) => map.insert(name.to_owned(), value),
        None => map.remove(name),
    };
}

/// Sets `name` to what it is in `from`, or removes it.
pub(crate) fn copy(from: &Value, name: &str, to: &mut Map<String, Value>) {
    put(to, name, from.get(name).cloned());
}

pub(crate) fn set_resource_version(value: &mut Value, revision: u64) {
    metadata_mut(value).insert("resourceVersion".into(), Value::String(revision.to_string()));
}

pub(crate) fn copy_resource_version(from: &Value, to: &mut Value) {
    let version = resource_version(from).to_owned();
    metadata_mut(to).insert("resourceVersion".into(), Value::String(version));
}

/// A time as Kubernetes writes `metav1.Time`: whole seconds, UTC.
pub(crate) fn time(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A random version 4 UUID.
pub(crate) fn new_uid() -> String {
    let r: u128 = rand::random();
    let r = (r & !(0xf << 76)) | (0x4 << 76);
    let r = (r & !(0x3 << 62)) | (0x2 << 62);
    let hex = format!("{r:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// `length` characters of the alphabet Kubernetes draws generated names from (no vowels, no look-alikes).
pub(crate) fn random_suffix(length: usize) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    (0..length).map(|_| char::from(ALPHABET[rand::random_range(0..ALPHABET.len())])).collect()
}
