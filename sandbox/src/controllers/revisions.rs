//! ControllerRevisions: the pod templates that a StatefulSet or DaemonSet has had, which `kubectl rollout` reads. The rules
//! are those of the Kubernetes controllers' history.

use std::sync::Arc;

use serde_json::{Value, json};

use super::object::{self, Key};
use super::plan::{Action, Plan};
use super::world::{Kind, World};

/// Label of pods and revisions that ties one to the other.
pub(crate) const HASH_LABEL: &str = "controller-revision-hash";
/// Old revisions kept unless `spec.revisionHistoryLimit` says otherwise.
const HISTORY_LIMIT: i64 = 10;

/// The revisions of one workload.
#[derive(Debug)]
pub(crate) struct Revisions {
    /// Name of the revision of the present template.
    pub(crate) name: String,
    /// Its hash.
    pub(crate) hash: String,
    /// All that exist, oldest first; without the newest if that is being created.
    known: Vec<Arc<Value>>,
}

/// The revisions of a workload, with the writes in `plan` that make the one of its present template the newest.
pub(crate) fn sync(world: &World, owner: &Value, kind: &str, plan: &mut Plan) -> Revisions {
    let mut known: Vec<_> = world
        .in_namespace(Kind::ControllerRevision, object::namespace(owner))
        .filter(|revision| object::is_controlled_by(revision, owner) && !object::is_deleting(revision))
        .cloned()
        .collect();
    known.sort_by_key(|revision| number(revision));
    let data = data(owner);
    let newest = known.last().map_or(0, |revision| number(revision));
    if let Some(held) = known.iter().rfind(|revision| revision.get("data") == Some(&data)) {
        if number(held) != newest {
            // A rollback: the old revision is the newest again.
            let patch = json!({ "revision": newest + 1 });
            plan.push(Action::Patch(Kind::ControllerRevision, Key::of(held), patch));
        }
        let hash = object::text(held, &format!("/metadata/labels/{HASH_LABEL}")).to_owned();
        return Revisions { name: object::name(held).to_owned(), hash, known };
    }
    let hash = object::short_hash(&data, 10);
    let name = format!("{}-{hash}", object::name(owner));
    let mut labels = owner.pointer("/spec/template/metadata/labels").cloned().unwrap_or_else(|| json!({}));
    labels[HASH_LABEL] = json!(hash);
    plan.push(Action::Create(
        Kind::ControllerRevision,
        json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision",
            "metadata": {
                "namespace": object::namespace(owner), "name": name, "labels": labels,
                "ownerReferences": [object::controller_reference(owner, "apps/v1", kind)],
            },
            "data": data, "revision": newest + 1,
        }),
    ));
    Revisions { name, hash, known }
}

impl Revisions {
    /// The pod template of a revision by name.
    pub(crate) fn template(&self, name: &str) -> Option<Value> {
        let held = self.known.iter().find(|revision| object::name(revision) == name)?;
        let mut template = held.pointer("/data/spec/template")?.clone();
        if let Some(fields) = template.as_object_mut() {
            fields.remove("$patch");
        }
        Some(template)
    }

    /// Deletes what is beyond the history limit; `live` are names that must stay beside the newest.
    pub(crate) fn clean_up(&self, owner: &Value, live: &[&str], plan: &mut Plan) {
        let limit = object::int(owner, "/spec/revisionHistoryLimit").unwrap_or(HISTORY_LIMIT);
        let idle: Vec<_> = self
            .known
            .iter()
            .filter(|revision| object::name(revision) != self.name && !live.contains(&object::name(revision)))
            .collect();
        let surplus = idle.len().saturating_sub(usize::try_from(limit).unwrap_or_default());
        for revision in idle.into_iter().take(surplus) {
            let uid = object::uid(revision).to_owned();
            plan.push(Action::Delete(Kind::ControllerRevision, Key::of(revision), uid));
        }
    }
}

/// What a revision holds: a strategic merge patch that restores the template.
fn data(owner: &Value) -> Value {
    let mut template = owner.pointer("/spec/template").cloned().unwrap_or_else(|| json!({}));
    template["$patch"] = json!("replace");
    json!({ "spec": { "template": template } })
}

fn number(revision: &Value) -> i64 {
    object::int(revision, "/revision").unwrap_or_default()
}

#[cfg(test)]
mod tests;
