//! Requests in Kubernetes' protobuf encoding, which stock clients use for built-in kinds, turned into JSON. Answers are
//! always JSON, which every such client accepts.

#[cfg(test)]
mod tests;
mod wire;

use crate::error::ApiError;
use crate::kinds::{self, Shape, Type};
use base64::Engine as _;
use serde_json::{Map, Value, json};
use wire::{Field, fields};

/// Media type of the encoding.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// What an encoded object begins with.
const MAGIC: &[u8] = b"k8s\0";
/// Nesting beyond which a message is refused.
const MAX_DEPTH: usize = 64;

/// Numbers whose zero says something; elsewhere zero is how the encoding writes nothing.
const TELLING_ZEROS: &[&str] = &[
    "replicas",
    "minReplicas",
    "revisionHistoryLimit",
    "progressDeadlineSeconds",
    "terminationGracePeriodSeconds",
    "activeDeadlineSeconds",
    "gracePeriodSeconds",
    "runAsUser",
    "runAsGroup",
    "fsGroup",
    "parallelism",
    "completions",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "successfulJobsHistoryLimit",
    "failedJobsHistoryLimit",
    "partition",
    "tolerationSeconds",
    "expirationSeconds",
    "priority",
    "value",
];
/// Switches whose `false` says something.
const TELLING_FALSE: &[&str] = &[
    "automountServiceAccountToken",
    "enableServiceLinks",
    "optional",
    "privileged",
    "allowPrivilegeEscalation",
    "readOnlyRootFilesystem",
    "runAsNonRoot",
    "immutable",
    "controller",
    "blockOwnerDeletion",
    "suspend",
    "shareProcessNamespace",
    "setHostnameAsFQDN",
    "allocateLoadBalancerNodePorts",
    "hostUsers",
    "orphanDependents",
    "ready",
    "serving",
    "terminating",
    "manualSelector",
];

/// Decodes an object of a built-in kind. A field that is not known here is an error that names it: nothing is lost.
pub(crate) fn decode(body: &[u8]) -> Result<Value, ApiError> {
    let malformed = || ApiError::BadRequest("the body of the request is not a valid protobuf object".into());
    let envelope = body.strip_prefix(MAGIC).and_then(fields).ok_or_else(malformed)?;
    let part = |number: u32| envelope.iter().find(|f| f.number == number).and_then(Field::bytes);
    let meta = fields(part(1).unwrap_or_default()).ok_or_else(malformed)?;
    let text = |number: u32| {
        let bytes = meta.iter().find(|f| f.number == number).and_then(Field::bytes).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    };
    let (api_version, kind) = (text(1), text(2));
    let ty = match kind.as_str() {
        "DeleteOptions" => kinds::find_type("meta.v1.DeleteOptions"),
        _ => kinds::type_of(&api_version, &kind),
    };
    let Some(ty) = ty else {
        return Err(ApiError::UnsupportedMediaType(format!(
            "{kind} in version \"{api_version}\" is not accepted as {MEDIA_TYPE}: send application/json"
        )));
    };
    let (mut map, mut decoder) = (Map::new(), Decoder::default());
    decoder.message(ty, part(2).unwrap_or_default(), "", &mut map).ok_or_else(malformed)?;
    if let Some(unknown) = decoder.unknown.first() {
        return Err(ApiError::UnsupportedMediaType(format!(
            "{unknown} is not known as {MEDIA_TYPE}: send application/json"
        )));
    }
    map.insert("apiVersion".into(), json!(api_version));
    map.insert("kind".into(), json!(kind));
    Ok(Value::Object(map))
}

/// Decodes messages by the table of kinds. `None` from any of its functions: malformed.
#[derive(Default)]
struct Decoder {
    depth: usize,
    /// Fields that say something but have no name here.
    unknown: Vec<String>,
}

impl Decoder {
    fn message(&mut self, ty: &Type, bytes: &[u8], prefix: &str, map: &mut Map<String, Value>) -> Option<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        for field in fields(bytes)? {
            let path = format!("{prefix}{}", field.number);
            if let Some((name, known)) = ty.fields.iter().find(|(_, f)| f.number == path) {
                self.add(name, &known.shape, &field, map)?;
            } else if ty.fields.values().any(|f| f.number.starts_with(&format!("{path}."))) {
                self.message(ty, field.bytes()?, &format!("{path}."), map)?;
            } else if !field.is_zero() {
                self.unknown.push(format!("field {path} of {}", ty.definition));
            }
        }
        self.depth -= 1;
        Some(())
    }

    /// Adds one occurrence of a field: repeated ones gather into a list or map.
    fn add(
        &mut self,
        name: &str,
        shape: &Shape,
        field: &Field<'_>,
        map: &mut Map<String, Value>,
    ) -> Option<()> {
        match shape {
            Shape::List { item, .. } => {
                let list = map.entry(name).or_insert_with(|| json!([])).as_array_mut()?;
                match (item.as_ref(), field.bytes()) {
                    // Numbers may come packed.
                    (Shape::Int32 | Shape::Int64, Some(packed)) => {
                        list.extend(wire::varints(packed)?.into_iter().map(|n| json!(n.cast_signed())));
                    }
                    _ => list.extend(self.value(item, field)?),
                }
            }
            Shape::Map { value: shape, .. } => {
                let entry = fields(field.bytes()?)?;
                let key = entry.iter().find(|f| f.number == 1).and_then(Field::bytes).unwrap_or_default();
                let key = String::from_utf8_lossy(key).into_owned();
                let entry = match entry.iter().find(|f| f.number == 2) {
                    Some(field) => self.value(shape, field)?.unwrap_or_else(|| json!("")),
                    None => json!(""),
                };
                map.entry(name).or_insert_with(|| json!({})).as_object_mut()?.insert(key, entry);
            }
            _ => {
                if let Some(value) = self.value(shape, field)?
                    && says_something(name, &value)
                {
                    map.insert(name.to_owned(), value);
                }
            }
        }
        Some(())
    }

    /// One value; the inner `None` is no value.
    fn value(&mut self, shape: &Shape, field: &Field<'_>) -> Option<Option<Value>> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        Some(Some(match shape {
            Shape::String => json!(text(field.bytes()?)?),
            Shape::Bool => json!(field.varint()? != 0),
            Shape::Int32 | Shape::Int64 => json!(field.varint()?.cast_signed()),
            Shape::Double => json!(f64::from_bits(field.fixed()?)),
            Shape::Bytes => json!(base64::engine::general_purpose::STANDARD.encode(field.bytes()?)),
            Shape::Quantity => {
                let inner = fields(field.bytes()?)?;
                json!(text(inner.iter().find(|f| f.number == 1).and_then(Field::bytes).unwrap_or_default())?)
            }
            Shape::IntOrString => return int_or_string(field.bytes()?),
            Shape::Time | Shape::MicroTime => return time(field.bytes()?, *shape == Shape::MicroTime),
            // Raw JSON within a message of one field.
            Shape::Any => {
                let inner = fields(field.bytes()?)?;
                let raw = inner.iter().find(|f| f.number == 1).and_then(Field::bytes);
                let Some(raw) = raw else { return Some(None) };
                serde_json::from_slice(raw).ok()?
            }
            Shape::Ref(name) => {
                let mut inner = Map::new();
                if let Some(ty) = kinds::find_type(name) {
                    self.message(ty, field.bytes()?, "", &mut inner)?;
                }
                Value::Object(inner)
            }
            // A list that is a map's value travels as a message of one repeated field.
            Shape::List { item, .. } => {
                let mut items = Vec::new();
                for one in fields(field.bytes()?)?.iter().filter(|f| f.number == 1) {
                    items.extend(self.value(item, one)?);
                }
                Value::Array(items)
            }
            Shape::Map { .. } => return None,
        }))
    }
}

fn says_something(name: &str, value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty(),
        Value::Bool(false) => TELLING_FALSE.contains(&name),
        Value::Number(number) => number.as_f64() != Some(0.0) || TELLING_ZEROS.contains(&name),
        _ => true,
    }
}

fn int_or_string(bytes: &[u8]) -> Option<Option<Value>> {
    let inner = fields(bytes)?;
    let number = |n: u32| inner.iter().find(|f| f.number == n).and_then(Field::varint).unwrap_or_default();
    let text = inner.iter().find(|f| f.number == 3).and_then(Field::bytes).unwrap_or_default();
    Some(Some(match number(1) {
        1 => json!(String::from_utf8(text.to_vec()).ok()?),
        _ => json!(number(2).cast_signed()),
    }))
}

fn time(bytes: &[u8], micro: bool) -> Option<Option<Value>> {
    let inner = fields(bytes)?;
    if inner.is_empty() {
        return Some(None);
    }
    let number = |n: u32| inner.iter().find(|f| f.number == n).and_then(Field::varint).unwrap_or_default();
    let nanos = i32::try_from(number(2).cast_signed()).ok()?;
    let time = jiff::Timestamp::new(number(1).cast_signed(), nanos).ok()?;
    Some(Some(json!(if micro { format!("{time:.6}") } else { format!("{time:.0}") })))
}
