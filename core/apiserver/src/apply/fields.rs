//! Sets of fields: paths of `f:name`, `k:{…}` and `v:…` elements, as `FieldsV1` writes them.

use crate::typing::{Structure, Typing};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Steps from the root, each as `FieldsV1` writes it.
pub(super) type Path = Vec<String>;

/// Paths nobody owns: the server alone sets them, or they name the object.
const UNOWNED: &[&[&str]] = &[
    &["f:apiVersion"],
    &["f:kind"],
    &["f:metadata"],
    &["f:metadata", "f:name"],
    &["f:metadata", "f:namespace"],
    &["f:metadata", "f:uid"],
    &["f:metadata", "f:resourceVersion"],
    &["f:metadata", "f:generation"],
    &["f:metadata", "f:creationTimestamp"],
    &["f:metadata", "f:selfLink"],
    &["f:metadata", "f:managedFields"],
];

/// A set of fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FieldSet(BTreeSet<Path>);

impl FieldSet {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Path> {
        self.0.iter()
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).cloned().collect())
    }

    pub(super) fn minus(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).cloned().collect())
    }

    pub(super) fn intersection<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Path> {
        self.0.intersection(&other.0)
    }

    /// Whether it holds this path or one below it.
    pub(super) fn reaches(&self, path: &[String]) -> bool {
        self.0.range(path.to_vec()..).next().is_some_and(|p| p.starts_with(path))
    }

    /// Reads a `FieldsV1`.
    pub(super) fn decode(fields: &Value) -> Self {
        fn walk(node: &Value, path: &mut Path, set: &mut BTreeSet<Path>) {
            for (step, child) in node.as_object().into_iter().flatten() {
                if step == "." {
                    set.insert(path.clone());
                    continue;
                }
                path.push(step.clone());
                if child.as_object().is_none_or(Map::is_empty) {
                    set.insert(path.clone());
                } else {
                    walk(child, path, set);
                }
                path.pop();
            }
        }
        let mut set = BTreeSet::new();
        walk(fields, &mut Vec::new(), &mut set);
        Self(set)
    }

    /// Writes a `FieldsV1`.
    pub(super) fn encode(&self) -> Value {
        #[derive(Default)]
        struct Node<'a> {
            member: bool,
            children: BTreeMap<&'a str, Node<'a>>,
        }
        fn write(node: &Node<'_>) -> Value {
            let mut map: Map<String, Value> =
                node.children.iter().map(|(step, child)| ((*step).to_owned(), write(child))).collect();
            if node.member && !map.is_empty() {
                map.insert(".".into(), Value::Object(Map::new()));
            }
            Value::Object(map)
        }
        let mut root = Node::default();
        for path in &self.0 {
            let mut node = &mut root;
            for step in path {
                node = node.children.entry(step).or_default();
            }
            node.member = true;
        }
        write(&root)
    }
}

/// The leaves of an object, with their values; items of keyed lists are there too, without one.
#[derive(Debug)]
pub(super) struct Leaves<'a>(BTreeMap<Path, Option<&'a Value>>);

impl<'a> Leaves<'a> {
    pub(super) fn of(typing: Typing<'_>, object: &'a Value) -> Self {
        let mut leaves = BTreeMap::new();
        walk(typing, object, &mut Vec::new(), &mut leaves);
        for path in UNOWNED {
            leaves.remove(&path.iter().map(|s| (*s).to_owned()).collect::<Path>());
        }
        // The list of managers is no field: drop whatever its own structure left behind.
        leaves.retain(|path, _| path.get(1).is_none_or(|s| s != "f:managedFields"));
        Self(leaves)
    }

    pub(super) fn into_set(self) -> FieldSet {
        FieldSet(self.0.into_keys().collect())
    }

    /// Paths here that `before` lacks or has another value at.
    pub(super) fn changed_since(&self, before: &Leaves<'_>) -> FieldSet {
        let changed = self.0.iter().filter(|(path, value)| before.0.get(*path) != Some(*value));
        FieldSet(changed.map(|(path, _)| path.clone()).collect())
    }

    /// Paths here that `after` lacks.
    pub(super) fn missing_in(&self, after: &Leaves<'_>) -> FieldSet {
        FieldSet(self.0.keys().filter(|path| !after.0.contains_key(*path)).cloned().collect())
    }
}

fn walk<'a>(
    typing: Typing<'_>,
    value: &'a Value,
    path: &mut Path,
    leaves: &mut BTreeMap<Path, Option<&'a Value>>,
) {
    let mut descend = |step: String, typing: Typing<'_>, child: &'a Value, item: bool| {
        path.push(step);
        if item {
            leaves.insert(path.clone(), None);
        }
        walk(typing, child, path, leaves);
        path.pop();
    };
    match (typing.structure(value), value) {
        (Structure::Fields, Value::Object(map)) if !map.is_empty() => {
            for (name, child) in map {
                descend(format!("f:{name}"), typing.field(name), child, false);
            }
        }
        (Structure::Keyed(keys), Value::Array(items)) => {
            for item in items {
                descend(format!("k:{}", typing.item_key(&keys, item)), typing.item(), item, true);
            }
        }
        (Structure::Set, Value::Array(items)) => {
            for item in items {
                descend(format!("v:{item}"), Typing::Free, item, false);
            }
        }
        _ if path.is_empty() => {}
        _ => {
            leaves.insert(path.clone(), Some(value));
        }
    }
}

/// A path as people read it: `.spec.ports[port=80,protocol="TCP"].name`.
pub(super) fn display(path: &[String]) -> String {
    let mut shown = String::new();
    for step in path {
        match step.split_once(':') {
            Some(("f", name)) => shown = format!("{shown}.{name}"),
            Some(("k", keys)) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let keys: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
                shown = format!("{shown}[{}]", keys.join(","));
            }
            Some(("v", value)) => shown = format!("{shown}[={value}]"),
            _ => {}
        }
    }
    shown
}
