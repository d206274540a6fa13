//! Everything that a cluster's API holds, so that what somebody left behind can be told.

use crate::Cluster;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::collections::BTreeMap;

/// Objects without what changes by itself, by kind, namespace and name.
#[derive(Debug, Clone, PartialEq)]
pub struct Objects(BTreeMap<String, Value>);

/// Kinds whose objects come and go by themselves.
const PASSING: &[&str] =
    &["events", "events.events.k8s.io", "leases.coordination.k8s.io", "componentstatuses"];

/// Parts of an object that change by themselves.
const VOLATILE: &[&str] = &["resourceVersion", "generation", "managedFields", "uid", "creationTimestamp"];

impl Objects {
    /// All of a cluster's.
    ///
    /// # Errors
    /// kubectl's words.
    pub fn of(cluster: &Cluster) -> Result<Self> {
        let kinds = cluster.kubectl(&["api-resources", "--verbs=list", "-o", "name"])?;
        let kinds: Vec<&str> = kinds.lines().map(str::trim).filter(|k| !PASSING.contains(k)).collect();
        let all = cluster.get(&["--all-namespaces", &kinds.join(",")])?;
        let mut objects = BTreeMap::new();
        for object in all["items"].as_array().context("no list")? {
            let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let (kind, name) = (text("/kind"), text("/metadata/name"));
            // Versions of one kind are one object.
            let group = text("/apiVersion").rsplit_once('/').map_or("", |(group, _)| group);
            let namespace = text("/metadata/namespace");
            let mut kept = object.clone();
            if let Some(fields) = kept.as_object_mut() {
                fields.retain(|field, _| field != "status" && field != "apiVersion");
            }
            if let Some(metadata) = kept["metadata"].as_object_mut() {
                metadata.retain(|field, _| !VOLATILE.contains(&field.as_str()));
            }
            objects.insert(format!("{kind}.{group} {namespace}/{name}"), kept);
        }
        Ok(Self(objects))
    }

    /// What differs from an earlier look, a line for each object.
    pub fn changes_since(&self, before: &Self) -> Vec<String> {
        let gone = before.0.keys().filter(|key| !self.0.contains_key(*key)).map(|key| format!("gone: {key}"));
        let other = self.0.iter().filter_map(|(key, object)| match before.0.get(key) {
            None => Some(format!("left behind: {key}")),
            Some(earlier) if earlier != object => Some(format!("changed: {key}\n  {earlier}\n  {object}")),
            Some(_) => None,
        });
        gone.chain(other).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn objects(of: &[(&str, Value)]) -> Objects {
        Objects(of.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
    }

    #[test]
    fn what_came_went_or_changed_is_told() {
        let before = objects(&[("a", json!(1)), ("b", json!(1)), ("c", json!(1))]);
        let after = objects(&[("b", json!(2)), ("c", json!(1)), ("d", json!(1))]);
        assert_eq!(after.changes_since(&before), ["gone: a", "changed: b\n  1\n  2", "left behind: d"]);
        assert!(before.changes_since(&before).is_empty());
    }
}
