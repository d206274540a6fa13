//! Server-side apply, and who owns which field. Follows structured-merge-diff: the sets of fields each manager owns are
//! compared with what a request changes; appliers conflict, everyone else takes over.

mod fields;
mod managers;
mod merge;
#[cfg(test)]
mod tests;

use crate::error::{ApiError, FieldError};
use crate::resource::ResourceDef;
use crate::typing::Typing;
use fields::{FieldSet, Leaves, display};
use managers::{Entry, Managers};
use serde_json::{Value, json};

/// Who makes a change, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner<'a> {
    /// Field manager, as `kubectl`.
    pub manager: &'a str,
    /// Subresource the change went through, or empty.
    pub subresource: &'a str,
    /// RFC 3339 time, whole seconds.
    pub now: &'a str,
}

/// Applies a configuration to the live object (`None`: creates it) and returns the object to store, with its
/// `managedFields`. Fails with 409 when fields that others own would change, unless `force`.
pub(crate) fn apply(
    def: &ResourceDef,
    version: &str,
    live: Option<&Value>,
    config: &Value,
    owner: &Owner<'_>,
    force: bool,
) -> Result<Value, ApiError> {
    if config["metadata"]
        .get("managedFields")
        .is_some_and(|m| !m.is_null() && m.as_array().is_none_or(|a| !a.is_empty()))
    {
        return Err(ApiError::BadRequest("metadata.managedFields must be nil".into()));
    }
    let typing = Typing::of(def, version);
    let config = applicable(def, config, owner.subresource);
    let empty = json!({});
    let base = live.unwrap_or(&empty);
    let mut managers = Managers::read(base);
    let api_version = def.api_version(version);
    let before = Leaves::of(typing, base);
    let wanted = Leaves::of(typing, &config).into_set();
    let mine = |entry: &Entry| {
        entry.applies() && entry.manager == owner.manager && entry.subresource == owner.subresource
    };

    let mut merged = merge::merge(typing, base, &config);
    let last = managers.find(mine).map(|e| e.fields.clone()).unwrap_or_default();
    let others = managers.union_except(mine);
    merge::remove(typing, &mut merged, &last.minus(&wanted), &wanted.union(&others));

    let after = Leaves::of(typing, &merged);
    let (changed, removed) = (after.changed_since(&before), before.missing_in(&after));
    if !force {
        let conflicts = conflicts(&managers, mine, &changed);
        if !conflicts.is_empty() {
            return Err(ApiError::ApplyConflict(conflicts));
        }
    }
    managers.release_except(mine, &changed.union(&removed));
    if wanted != last || !changed.is_empty() || !removed.is_empty() || live.is_none() {
        managers.replace(mine, Entry::new(owner, "Apply", &api_version, wanted));
    }
    managers.write(&mut merged);
    Ok(merged)
}

/// The part of a configuration that may be applied: what the server alone sets is taken out.
fn applicable(def: &ResourceDef, config: &Value, subresource: &str) -> Value {
    let mut config = config.clone();
    let Some(map) = config.as_object_mut() else { return config };
    if subresource == "status" {
        map.retain(|key, _| matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
        if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata
                .retain(|key, _| matches!(key.as_str(), "name" | "namespace" | "uid" | "resourceVersion"));
        }
    } else if def.has_subresource("status") {
        map.remove("status");
    }
    if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
        for key in ["managedFields", "creationTimestamp", "generation", "selfLink"] {
            metadata.remove(key);
        }
    }
    merge::drop_nulls(&mut config);
    config
}

fn conflicts(managers: &Managers, mine: impl Fn(&Entry) -> bool, changed: &FieldSet) -> Vec<FieldError> {
    let mut conflicts = Vec::new();
    for entry in managers.iter().filter(|e| !mine(e)) {
        for path in entry.fields.intersection(changed) {
            let mut message = format!("conflict with \"{}\"", entry.manager);
            if !entry.subresource.is_empty() {
                message = format!("{message} with subresource \"{}\"", entry.subresource);
            }
            message = format!("{message} using {}", entry.api_version);
            if !entry.applies() && !entry.time.is_empty() {
                message = format!("{message} at {}", entry.time);
            }
            conflicts.push(FieldError { reason: "FieldManagerConflict", field: display(path), message });
        }
    }
    conflicts
}

/// Records in `new` who owns what after a create (`live` absent), update or patch: the fields it changes pass to the owner.
/// The last step before the object is stored. `managedFields` sent empty are reset, as Kubernetes does.
pub(crate) fn track(
    def: &ResourceDef,
    version: &str,
    live: Option<&Value>,
    new: &mut Value,
    owner: &Owner<'_>,
) {
    let typing = Typing::of(def, version);
    let empty = json!({});
    let base = live.unwrap_or(&empty);
    let sent = new["metadata"].get("managedFields");
    let mut managers = match sent.and_then(Value::as_array) {
        // `[]` or `[{}]` asks for a reset.
        Some(entries) if entries.iter().all(|e| e.as_object().is_some_and(serde_json::Map::is_empty)) => {
            Managers::default()
        }
        Some(_) => Managers::read(new),
        None => Managers::read(base),
    };
    let reset = sent.is_some_and(Value::is_array) && managers.is_empty();
    let (before, after) = (Leaves::of(typing, base), Leaves::of(typing, new));
    let (changed, removed) = (after.changed_since(&before), before.missing_in(&after));
    let mine = |e: &Entry| !e.applies() && e.manager == owner.manager && e.subresource == owner.subresource;
    managers.release_except(mine, &changed.union(&removed));
    if !changed.is_empty() || !removed.is_empty() {
        let held = managers.find(mine).map(|e| e.fields.clone()).unwrap_or_default();
        let fields = held.union(&changed).minus(&removed);
        if !(reset && live.is_some()) {
            managers.replace(mine, Entry::new(owner, "Update", &def.api_version(version), fields));
        }
    }
    managers.write(new);
}

/// Undoes a change that is nothing but new times of managers, so that repeating a request stores nothing.
pub(crate) fn settle(old: &Value, new: &mut Value) {
    let timeless = |entries: &Value| -> Vec<Value> {
        let mut entries = entries.as_array().cloned().unwrap_or_default();
        for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
            entry.remove("time");
        }
        entries
    };
    let (before, after) = (&old["metadata"]["managedFields"], &new["metadata"]["managedFields"]);
    if before == after || !before.is_array() {
        return;
    }
    // Their order follows the times.
    let (was, is) = (timeless(before), timeless(after));
    if was.len() != is.len() || !was.iter().all(|entry| is.contains(entry)) {
        return;
    }
    let mut settled = new.clone();
    settled["metadata"]["managedFields"] = before.clone();
    if settled == *old {
        *new = settled;
    }
}
