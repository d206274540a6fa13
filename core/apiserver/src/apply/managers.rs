//! `metadata.managedFields`, read and written.

use super::Owner;
use super::fields::FieldSet;
use serde_json::{Value, json};

/// What one manager owns by one operation.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) manager: String,
    pub(super) operation: String,
    pub(super) api_version: String,
    pub(super) subresource: String,
    pub(super) time: String,
    pub(super) fields: FieldSet,
}

impl Entry {
    pub(super) fn new(owner: &Owner<'_>, operation: &str, api_version: &str, fields: FieldSet) -> Self {
        Self {
            manager: owner.manager.to_owned(),
            operation: operation.to_owned(),
            api_version: api_version.to_owned(),
            subresource: owner.subresource.to_owned(),
            time: owner.now.to_owned(),
            fields,
        }
    }

    /// Whether these fields were applied rather than updated.
    pub(super) fn applies(&self) -> bool {
        self.operation == "Apply"
    }

    fn read(entry: &Value) -> Self {
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        Self {
            manager: text("manager"),
            operation: text("operation"),
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: text("time"),
            fields: FieldSet::decode(&entry["fieldsV1"]),
        }
    }

    fn write(&self) -> Value {
        let mut entry = json!({
            "manager": self.manager, "operation": self.operation, "apiVersion": self.api_version,
            "fieldsType": "FieldsV1", "fieldsV1": self.fields.encode(),
        });
        for (key, value) in [("subresource", &self.subresource), ("time", &self.time)] {
            if !value.is_empty() {
                entry[key] = json!(value);
            }
        }
        entry
    }
}

/// Everyone who owns fields of an object.
#[derive(Debug, Default)]
pub(super) struct Managers(Vec<Entry>);

impl Managers {
    pub(super) fn read(object: &Value) -> Self {
        let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
        Self(entries.map(Entry::read).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter()
    }

    pub(super) fn find(&self, which: impl Fn(&Entry) -> bool) -> Option<&Entry> {
        self.0.iter().find(|e| which(e))
    }

    /// Fields owned by anyone else.
    pub(super) fn union_except(&self, which: impl Fn(&Entry) -> bool) -> FieldSet {
        let others = self.0.iter().filter(|e| !which(e));
        others.fold(FieldSet::default(), |all, entry| all.union(&entry.fields))
    }

    /// Takes fields from everyone else.
    pub(super) fn release_except(&mut self, which: impl Fn(&Entry) -> bool, fields: &FieldSet) {
        for entry in self.0.iter_mut().filter(|e| !which(e)) {
            entry.fields = entry.fields.minus(fields);
        }
    }

    pub(super) fn replace(&mut self, which: impl Fn(&Entry) -> bool, entry: Entry) {
        self.0.retain(|e| !which(e));
        self.0.push(entry);
    }

    /// Writes the list: appliers first, then by time and name. Who owns nothing is left out, appliers excepted.
    pub(super) fn write(mut self, object: &mut Value) {
        self.0.retain(|e| e.applies() || !e.fields.is_empty());
        self.0.sort_by(|a, b| {
            let key =
                |e: &Entry| (e.operation.clone(), e.time.clone(), e.manager.clone(), e.subresource.clone());
            key(a).cmp(&key(b))
        });
        let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
        if self.0.is_empty() {
            metadata.remove("managedFields");
        } else {
            metadata.insert("managedFields".into(), self.0.iter().map(Entry::write).collect());
        }
    }
}
