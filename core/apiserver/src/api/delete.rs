//! Delete: at once, gracefully, or as far as finalizers let go.

use super::{ATTEMPTS, Api, ListOptions, Target, Write};
use crate::error::ApiError;
use crate::object;
use crate::store::WriteError;
use crate::strategy;
use serde_json::{Value, json};
use std::sync::Arc;

/// Finalizer under which dependents go first.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer under which dependents are let go of first.
pub(crate) const ORPHAN: &str = "orphan";

/// What becomes of dependents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Propagation {
    /// They are deleted after their owner.
    #[default]
    Background,
    /// They are deleted before their owner.
    Foreground,
    /// They stay.
    Orphan,
}

/// Options of a delete.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// Seconds to let the object end by itself; `None` is the object's own default.
    pub grace_period_seconds: Option<i64>,
    /// What becomes of dependents.
    pub propagation: Propagation,
    /// Refuse unless the uid is this one.
    pub uid: Option<String>,
    /// Refuse unless the resourceVersion is this one.
    pub resource_version: Option<String>,
    /// Check everything, change nothing.
    pub dry_run: bool,
}

/// Outcome of a delete.
#[derive(Debug)]
pub(crate) enum Deleted {
    /// Gone; the last state.
    Gone(Arc<Value>),
    /// Marked; gone once its finalizers and its node let go.
    Going(Arc<Value>),
}

impl Api {
    pub(crate) async fn delete(
        &self,
        write: &Write<'_>,
        target: &Target,
        options: &DeleteOptions,
    ) -> Result<Deleted, ApiError> {
        strategy::admit_delete(target)?;
        let found = self.presented(target, &self.stored(target)?);
        self.webhooks.validate(self, write, target, "DELETE", None, Some(&found)).await?;
        for _ in 0..ATTEMPTS {
            let old = self.stored(target)?;
            check_preconditions(target, &old, options)?;
            let marked = mark(target, &old, options);
            if options.dry_run {
                return Ok(Deleted::Gone(self.presented(target, &old)));
            }
            let gone = strategy::deletion_complete(&target.def, &marked);
            let (table, key) = (target.table(), target.key());
            let outcome = if gone {
                self.store.remove(&table, &key, &old)
            } else {
                self.store.replace(&table, &key, &old, marked.clone())
            };
            match outcome {
                Ok(last) if gone => {
                    self.after_delete(target, &last);
                    let mut shown = last;
                    if target.def.kind == "Pod" {
                        // A pod that ends at once is shown with the mark it would have had.
                        let mut ended = marked;
                        object::copy_resource_version(&shown, &mut ended);
                        shown = Arc::new(ended);
                    }
                    return Ok(Deleted::Gone(self.presented(target, &shown)));
                }
                Ok(now) => {
                    self.after_write(target, Some(&old), &now);
                    return Ok(Deleted::Going(self.presented(target, &now)));
                }
                Err(WriteError::Missing) => return Err(target.not_found()),
                Err(WriteError::Raced | WriteError::Exists) => {}
            }
        }
        Err(target.modified())
    }

    /// Deletes every object the list options select; those that vanish meanwhile count as deleted.
    pub(crate) async fn delete_collection(
        &self,
        write: &Write<'_>,
        target: &Target,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<Vec<Arc<Value>>, ApiError> {
        let listing = self.list(target, list)?;
        for object in &listing.items {
            let mut one = target.named(object::name(object));
            one.namespace = object::namespace(object).to_owned();
            match self.delete(write, &one, options).await {
                Ok(_) | Err(ApiError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(listing.items)
    }
}

fn check_preconditions(target: &Target, old: &Value, options: &DeleteOptions) -> Result<(), ApiError> {
    let checks = [
        ("UID", options.uid.as_deref(), object::uid(old)),
        ("ResourceVersion", options.resource_version.as_deref(), object::resource_version(old)),
    ];
    for (what, wanted, found) in checks {
        if let Some(wanted) = wanted
            && wanted != found
        {
            return Err(target.conflict(format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
            )));
        }
    }
    Ok(())
}

/// The object with its deletion begun (or shortened).
fn mark(target: &Target, old: &Value, options: &DeleteOptions) -> Value {
    let mut new = old.clone();
    let mut finalizers: Vec<String> = object::finalizers(old).into_iter().map(str::to_owned).collect();
    finalizers.retain(|f| f != FOREGROUND && f != ORPHAN);
    match options.propagation {
        Propagation::Background => {}
        Propagation::Foreground => finalizers.push(FOREGROUND.into()),
        Propagation::Orphan => finalizers.push(ORPHAN.into()),
    }
    let grace = strategy::grace_period(&target.def, old, options.grace_period_seconds);
    let earlier = old.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64);
    let metadata = object::metadata_mut(&mut new);
    let kept = (!finalizers.is_empty()).then(|| json!(finalizers));
    object::put(metadata, "finalizers", kept);
    let has_grace = strategy::has_grace_period(&target.def);
    if if has_grace { earlier.is_none_or(|e| grace < e) } else { !object::deleting(old) } {
        let end = jiff::Timestamp::now().saturating_add(jiff::SignedDuration::from_secs(grace));
        let end = end.unwrap_or(jiff::Timestamp::MAX);
        metadata.insert("deletionTimestamp".into(), object::time(end).into());
        if has_grace {
            metadata.insert("deletionGracePeriodSeconds".into(), json!(grace));
        }
    }
    if earlier.is_none()
        && has_grace
        && strategy::counts_generations(&target.def)
        && let Some(generation) = metadata.get("generation").and_then(Value::as_i64)
    {
        metadata.insert("generation".into(), json!(generation + 1));
    }
    strategy::mark_deleting(&target.def, &mut new);
    new
}
