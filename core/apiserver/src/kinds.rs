//! What the server knows of the built-in kinds: their fields, the shape of each, and how lists merge. One table, read once,
//! serves strict decoding, strategic-merge patches, server-side apply and the published OpenAPI documents.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// How the elements of a list are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListKind {
    /// Replaced whole.
    Atomic,
    /// Scalars, each at most once.
    Set,
    /// Objects told apart by these fields; strategic patches merge by the first.
    Map(Vec<&'static str>),
}

/// The shape of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    String,
    Bool,
    Int32,
    Int64,
    Double,
    Quantity,
    Time,
    MicroTime,
    IntOrString,
    Bytes,
    Any,
    /// An object of a named type; see [`find_type`].
    Ref(&'static str),
    Map {
        value: Box<Shape>,
        atomic: bool,
    },
    List {
        item: Box<Shape>,
        kind: ListKind,
    },
}

/// One field of a type.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) required: bool,
    /// Strategic patches of this field honour `$retainKeys`.
    pub(crate) retain_keys: bool,
    pub(crate) shape: Shape,
    /// Number in protobuf; `1.2` is field 2 of the message in field 1, which JSON does not show. Empty: unknown.
    pub(crate) number: &'static str,
}

/// One object type.
#[derive(Debug)]
pub(crate) struct Type {
    /// Short name, as `core.v1.Pod`.
    pub(crate) name: &'static str,
    /// Published name, as `io.k8s.api.core.v1.Pod`.
    pub(crate) definition: &'static str,
    /// Server-side apply treats the whole object as one value.
    pub(crate) atomic: bool,
    pub(crate) fields: BTreeMap<&'static str, Field>,
}

/// A top-level kind.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) type_name: &'static str,
}

#[derive(Debug, Default)]
struct Table {
    kinds: Vec<Kind>,
    types: BTreeMap<&'static str, Type>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| parse(include_str!("kinds/types.txt")));

/// The type of a built-in kind; `None` for kinds that are not built in.
pub(crate) fn type_of(api_version: &str, kind: &str) -> Option<&'static Type> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let found = kinds().iter().find(|k| k.group == group && k.version == version && k.kind == kind)?;
    find_type(found.type_name)
}

/// A type by its short name.
pub(crate) fn find_type(name: &str) -> Option<&'static Type> {
    TABLE.types.get(name)
}

/// Every built-in kind.
pub(crate) fn kinds() -> &'static [Kind] {
    &TABLE.kinds
}

/// Metadata of every object, custom ones included.
pub(crate) fn object_meta() -> Option<&'static Type> {
    find_type("meta.v1.ObjectMeta")
}

fn parse(text: &'static str) -> Table {
    let mut table = Table::default();
    let mut current = "";
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let words: Vec<&'static str> = line.split(' ').collect();
        match words.as_slice() {
            ["KIND", group, version, kind, type_name] => {
                let group = if *group == "-" { "" } else { group };
                table.kinds.push(Kind { group, version, kind, type_name });
            }
            ["TYPE", name, definition, rest @ ..] => {
                current = name;
                let atomic = rest.contains(&"atomic");
                table.types.insert(name, Type { name, definition, atomic, fields: BTreeMap::new() });
            }
            [field, shape, number @ ..] => {
                let (name, required) = field.strip_suffix('!').map_or((*field, false), |n| (n, true));
                let (shape, retain_keys) = shape.strip_prefix('&').map_or((*shape, false), |s| (s, true));
                let number = number.first().copied().unwrap_or_default();
                let field = Field { required, retain_keys, shape: parse_shape(shape), number };
                if let Some(owner) = table.types.get_mut(current) {
                    owner.fields.insert(name, field);
                }
            }
            _ => {}
        }
    }
    table
}

fn parse_shape(text: &'static str) -> Shape {
    let inner = |prefix: &str, suffix: char| text.strip_prefix(prefix).and_then(|t| t.strip_suffix(suffix));
    if let Some(value) = inner("!{", '}') {
        return Shape::Map { value: Box::new(parse_shape(value)), atomic: true };
    }
    if let Some(value) = inner("{", '}') {
        return Shape::Map { value: Box::new(parse_shape(value)), atomic: false };
    }
    if let Some(item) = inner("[*", ']') {
        return Shape::List { item: Box::new(parse_shape(item)), kind: ListKind::Set };
    }
    if let Some(list) = inner("[", ']') {
        // A list of lists has no keys of its own: the colon then belongs to the inner list.
        let (kind, item) = match list.split_once(':') {
            Some((keys, item)) if !keys.starts_with('[') => (ListKind::Map(keys.split(',').collect()), item),
            _ => (ListKind::Atomic, list),
        };
        return Shape::List { item: Box::new(parse_shape(item)), kind };
    }
    match text {
        "s" => Shape::String,
        "b" => Shape::Bool,
        "i" => Shape::Int32,
        "l" => Shape::Int64,
        "d" => Shape::Double,
        "q" => Shape::Quantity,
        "t" => Shape::Time,
        "u" => Shape::MicroTime,
        "x" => Shape::IntOrString,
        "y" => Shape::Bytes,
        _ => text.strip_prefix('@').map_or(Shape::Any, Shape::Ref),
    }
}
