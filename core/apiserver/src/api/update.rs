//! Update: of the whole object or of its status.

use super::{ATTEMPTS, Api, Target, Write, Written, check_type};
use crate::admit::Admit;
use crate::apply::{Owner, settle, track};
use crate::convert;
use crate::error::{ApiError, FieldError};
use crate::object;
use crate::store::WriteError;
use crate::strategy;
use serde_json::{Value, json};
use std::sync::Arc;

/// Metadata that only the server writes.
const SERVER_OWNED: &[&str] =
    &["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"];

impl Api {
    pub(crate) async fn update(
        &self,
        write: &Write<'_>,
        target: &Target,
        mut body: Value,
    ) -> Result<Written, ApiError> {
        if target.subresource == "scale" {
            return self.update_scale(write, target, &body).await;
        }
        check_type(target, &mut body)?;
        for _ in 0..ATTEMPTS {
            let old = self.stored(target)?;
            let given = object::resource_version(&body).to_owned();
            if given.is_empty() && target.def.custom.is_some() {
                let why = "must be specified for an update";
                let cause = FieldError {
                    reason: "FieldValueInvalid",
                    field: "metadata.resourceVersion".into(),
                    message: format!("Invalid value: 0x0: {why}"),
                };
                return Err(target.invalid(vec![cause]));
            }
            if !given.is_empty() && given != "0" && given != object::resource_version(&old) {
                return Err(target.modified());
            }
            if let Some(written) = self.replace(write, target, &old, body.clone(), true).await? {
                return Ok(written);
            }
        }
        Err(target.modified())
    }

    /// Replaces `old` by `new` (in the version of the request); `None` when another write came first.
    pub(super) async fn replace(
        &self,
        write: &Write<'_>,
        target: &Target,
        old: &Arc<Value>,
        mut new: Value,
        track: bool,
    ) -> Result<Option<Written>, ApiError> {
        let before = self.presented(target, old);
        check_identity(target, &before, &mut new)?;
        merge_subresource(target, &before, &mut new);
        let admit =
            Admit { def: &target.def, version: &target.version, strictness: write.options.strictness };
        let mut warnings = admit.decode(&mut new)?;
        strategy::admit_update(self, write, target, &before, &mut new)?;
        let mutated = self.webhooks.mutate(self, write, target, "UPDATE", &mut new, Some(&before)).await?;
        warnings.extend(mutated.warnings);
        if mutated.changed {
            admit.decode(&mut new)?;
            check_identity(target, &before, &mut new)?;
        }
        strategy::prepare_update(self, target, &before, &mut new)?;
        bump_generation(target, &before, &mut new);
        if track {
            self.track(write, target, Some(&before), &mut new);
        }
        let mut causes = finalizer_causes(&before, &new);
        causes.extend(admit.validate(&new, Some(&before)));
        if !causes.is_empty() {
            return Err(target.invalid(causes));
        }
        strategy::check_privileges(self, write, target, Some(&before), &new)?;
        let validated =
            self.webhooks.validate(self, write, target, "UPDATE", Some(&new), Some(&before)).await?;
        warnings.extend(validated);
        settle(&before, &mut new);
        let object = match self.commit(write, target, old, new)? {
            Some(object) => object,
            None => return Ok(None),
        };
        Ok(Some(Written { object, warnings, created: false }))
    }

    /// Stores an accepted update, or removes the object where the update let go of the last finalizer.
    fn commit(
        &self,
        write: &Write<'_>,
        target: &Target,
        old: &Arc<Value>,
        mut new: Value,
    ) -> Result<Option<Arc<Value>>, ApiError> {
        let guard = self.allocator.lock();
        strategy::allocate(self, &guard, target, &mut new, Some(old))?;
        let stored = convert::store(&target.def, new);
        if write.options.dry_run {
            let object = self.presented(target, &Arc::new(stored));
            return Ok(Some(object));
        }
        let table = target.table();
        let outcome = if strategy::deletion_complete(&target.def, &stored) {
            let removed = self.store.remove(&table, &target.key(), old);
            removed.map(|last| {
                self.after_delete(target, &last);
                // The answer shows what was asked for, not what was left.
                let mut shown = stored;
                object::copy_resource_version(&last, &mut shown);
                (Arc::new(shown), true)
            })
        } else {
            self.store.replace(&table, &target.key(), old, stored).map(|now| (now, false))
        };
        drop(guard);
        match outcome {
            Ok((shown, true)) => Ok(Some(self.presented(target, &shown))),
            Ok((now, false)) => {
                if !Arc::ptr_eq(&now, old) {
                    self.after_write(target, Some(old), &now);
                }
                Ok(Some(self.presented(target, &now)))
            }
            Err(WriteError::Missing) => Err(target.not_found()),
            Err(WriteError::Raced | WriteError::Exists) => Ok(None),
        }
    }

    pub(super) fn track(&self, write: &Write<'_>, target: &Target, old: Option<&Value>, new: &mut Value) {
        let now = object::time(jiff::Timestamp::now());
        let owner = Owner { manager: &write.options.manager, subresource: &target.subresource, now: &now };
        track(&target.def, &target.version, old, new, &owner);
    }
}

fn check_identity(target: &Target, before: &Value, new: &mut Value) -> Result<(), ApiError> {
    let given = object::name(new);
    if !given.is_empty() && given != target.name {
        return Err(ApiError::BadRequest(format!(
            "the name of the object ({given}) does not match the name on the URL ({})",
            target.name
        )));
    }
    let namespace = object::namespace(new);
    if target.def.namespaced && !namespace.is_empty() && namespace != target.namespace {
        return Err(ApiError::BadRequest(
            "the namespace of the provided object does not match the namespace sent on the request".into(),
        ));
    }
    let (uid, known) = (object::uid(new), object::uid(before));
    if !uid.is_empty() && uid != known {
        return Err(target.conflict(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {known}"
        )));
    }
    let old = before["metadata"].clone();
    let metadata = object::metadata_mut(new);
    for name in SERVER_OWNED.iter().chain(&["name", "namespace", "generateName"]) {
        object::copy(&old, name, metadata);
    }
    metadata.remove("selfLink");
    // What is stored next is computed from this state; the revision is stamped by the store.
    object::copy_resource_version(before, new);
    Ok(())
}

/// A status update changes only the status; an update of the object leaves the status alone.
fn merge_subresource(target: &Target, before: &Value, new: &mut Value) {
    match target.subresource.as_str() {
        "status" => {
            let mut merged = before.clone();
            if let Some(map) = merged.as_object_mut() {
                object::copy(new, "status", map);
            }
            if let Some(fields) = new.pointer("/metadata/managedFields") {
                object::metadata_mut(&mut merged).insert("managedFields".into(), fields.clone());
            }
            *new = merged;
        }
        "finalize" => {
            let finalizers = new.pointer("/spec/finalizers").cloned();
            let mut merged = before.clone();
            object::put(object::member_mut(&mut merged, "spec"), "finalizers", finalizers);
            *new = merged;
        }
        _ if strategy::keeps_status(&target.def, &target.version) => {
            if let Some(map) = new.as_object_mut() {
                object::copy(before, "status", map);
            }
        }
        _ => {}
    }
}

fn bump_generation(target: &Target, before: &Value, new: &mut Value) {
    if !strategy::counts_generations(&target.def) {
        return;
    }
    let generation = before.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(1);
    let changed = strategy::intent_changed(&target.def, before, new);
    object::metadata_mut(new).insert("generation".into(), json!(generation + i64::from(changed)));
}

fn finalizer_causes(before: &Value, new: &Value) -> Vec<FieldError> {
    if !object::deleting(before) {
        return Vec::new();
    }
    let had = object::finalizers(before);
    let added: Vec<_> = object::finalizers(new).into_iter().filter(|f| !had.contains(f)).collect();
    if added.is_empty() {
        return Vec::new();
    }
    let added: Vec<String> = added.iter().map(|f| format!("{f:?}")).collect();
    let why = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        added.join(", ")
    );
    vec![FieldError::forbidden("metadata.finalizers", why)]
}
