//! What server-side apply must know of a value: whether it merges field by field, item by item, or not at all. From the
//! table of built-in types or a custom resource's schema.

use crate::kinds::{self, ListKind, Shape, Type};
use crate::resource::ResourceDef;
use serde_json::{Map, Value};

/// The type of a value, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Typing<'a> {
    Type(&'static Type),
    Shape(&'static Shape),
    /// The root of a custom object: its schema, with built-in metadata.
    Custom(&'a Value),
    Schema(&'a Value),
    /// Unknown: objects merge, lists are replaced.
    Free,
}

/// How a value merges.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Structure<'a> {
    /// Replaced whole.
    Leaf,
    /// Field by field.
    Fields,
    /// As a set of scalars.
    Set,
    /// As a map of objects by these keys.
    Keyed(Vec<&'a str>),
}

impl<'a> Typing<'a> {
    /// The type of objects of a resource in one version.
    pub(crate) fn of(def: &'a ResourceDef, version: &str) -> Self {
        match &def.custom {
            Some(crd) => crd.schema(version).map_or(Self::Free, Self::Custom),
            None => kinds::type_of(&def.api_version(version), &def.kind).map_or(Self::Free, Self::Type),
        }
    }

    /// How a value of this type merges.
    pub(crate) fn structure(self, value: &Value) -> Structure<'a> {
        match (self.resolve(), value) {
            (Self::Type(ty), Value::Object(_)) if ty.atomic => Structure::Leaf,
            (Self::Shape(Shape::Map { atomic: true, .. }), _) => Structure::Leaf,
            (Self::Shape(Shape::List { kind, .. }), Value::Array(_)) => match kind {
                ListKind::Atomic => Structure::Leaf,
                ListKind::Set => Structure::Set,
                ListKind::Map(keys) => Structure::Keyed(keys.clone()),
            },
            (Self::Schema(schema), Value::Array(_)) => match schema["x-kubernetes-list-type"].as_str() {
                Some("set") => Structure::Set,
                Some("map") => {
                    let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
                    Structure::Keyed(keys.filter_map(Value::as_str).collect())
                }
                _ => Structure::Leaf,
            },
            (Self::Schema(schema), Value::Object(_)) if schema["x-kubernetes-map-type"] == "atomic" => {
                Structure::Leaf
            }
            (_, Value::Object(_)) => Structure::Fields,
            _ => Structure::Leaf,
        }
    }

    fn resolve(self) -> Self {
        match self {
            Self::Shape(Shape::Ref(name)) => kinds::find_type(name).map_or(Self::Free, Self::Type),
            other => other,
        }
    }

    /// The type of a field.
    pub(crate) fn field(self, name: &str) -> Self {
        match self.resolve() {
            Self::Type(ty) => ty.fields.get(name).map_or(Self::Free, |f| Self::Shape(&f.shape)),
            Self::Shape(Shape::Map { value, .. }) => Self::Shape(value),
            Self::Custom(_) if name == "metadata" => kinds::object_meta().map_or(Self::Free, Self::Type),
            Self::Custom(schema) | Self::Schema(schema) => {
                let known = schema["properties"].get(name);
                let other = Some(&schema["additionalProperties"]).filter(|a| a.is_object());
                known.or(other).map_or(Self::Free, Self::Schema)
            }
            _ => Self::Free,
        }
    }

    /// The type of a list's items.
    pub(crate) fn item(self) -> Self {
        match self.resolve() {
            Self::Shape(Shape::List { item, .. }) => Self::Shape(item),
            Self::Schema(schema) if schema["items"].is_object() => Self::Schema(&schema["items"]),
            _ => Self::Free,
        }
    }

    /// The name of a keyed list's item, as `{"containerPort":80,"protocol":"TCP"}`. Absent keys take their default.
    pub(crate) fn item_key(self, keys: &[&str], item: &Value) -> String {
        let default = |key: &str| match self.item() {
            Self::Schema(schema) => schema["properties"][key].get("default").cloned(),
            _ if key == "protocol" => Some(Value::from("TCP")),
            _ => None,
        };
        let named = keys.iter().filter_map(|k| {
            let value = item.get(*k).filter(|v| !v.is_null()).cloned().or_else(|| default(k))?;
            Some(((*k).to_owned(), value))
        });
        Value::Object(named.collect::<Map<_, _>>()).to_string()
    }
}
