//! Patch, in all four kinds.

use super::{ATTEMPTS, Api, Target, Write, Written, check_type};
use crate::apply::{self, Owner};
use crate::error::ApiError;
use crate::object;
use crate::strategy;
use serde_json::Value;

/// How a patch is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Merge with lists keyed as the built-in types say.
    Strategic,
    /// Server-side apply.
    Apply {
        /// Take over fields that others own.
        force: bool,
    },
}

/// A patch as sent.
#[derive(Debug, Clone)]
pub(crate) struct PatchRequest {
    pub(crate) kind: PatchKind,
    pub(crate) body: Value,
}

impl Api {
    pub(crate) async fn patch(
        &self,
        write: &Write<'_>,
        target: &Target,
        patch: &PatchRequest,
    ) -> Result<Written, ApiError> {
        if target.subresource == "scale" {
            return self.patch_scale(write, target, patch).await;
        }
        if let PatchKind::Apply { force } = patch.kind {
            return self.apply(write, target, &patch.body, force).await;
        }
        for _ in 0..ATTEMPTS {
            let old = self.stored(target)?;
            let mut new = (*self.presented(target, &old)).clone();
            patch_value(&mut new, patch)?;
            let given = object::resource_version(&new);
            if !given.is_empty() && given != object::resource_version(&old) {
                return Err(target.modified());
            }
            check_type(target, &mut new)?;
            if let Some(written) = self.replace(write, target, &old, new, true).await? {
                return Ok(written);
            }
        }
        Err(target.modified())
    }

    async fn apply(
        &self,
        write: &Write<'_>,
        target: &Target,
        config: &Value,
        force: bool,
    ) -> Result<Written, ApiError> {
        let config = self.apply_config(write, target, config)?;
        for _ in 0..ATTEMPTS {
            let now = object::time(jiff::Timestamp::now());
            let owner =
                Owner { manager: &write.options.manager, subresource: &target.subresource, now: &now };
            let Some(old) = self.store.get(&target.table(), &target.key()) else {
                if !target.subresource.is_empty() || !object::uid(&config).is_empty() {
                    return Err(target.not_found());
                }
                let new = apply::apply(&target.def, &target.version, None, &config, &owner, force)?;
                return self.create_tracked(write, target, new, false).await;
            };
            let given = object::resource_version(&config);
            if !given.is_empty() && given != object::resource_version(&old) {
                return Err(target.modified());
            }
            let live = self.presented(target, &old);
            let new = apply::apply(&target.def, &target.version, Some(&live), &config, &owner, force)?;
            if let Some(written) = self.replace(write, target, &old, new, false).await? {
                return Ok(written);
            }
        }
        Err(target.modified())
    }

    /// The applied configuration, checked as far as can be without the live object.
    fn apply_config(&self, write: &Write<'_>, target: &Target, config: &Value) -> Result<Value, ApiError> {
        if write.options.manager.is_empty() {
            return Err(ApiError::Invalid {
                kind: "PatchOptions.meta.k8s.io".into(),
                name: String::new(),
                causes: vec![crate::error::FieldError::required(
                    "fieldManager",
                    "is required for apply patch",
                )],
            });
        }
        if !object::items(config, "/metadata/managedFields").is_empty() {
            return Err(ApiError::BadRequest("metadata.managedFields must be nil".into()));
        }
        let mut config = config.clone();
        let (kind, given) = (object::field(&config, "kind"), object::field(&config, "apiVersion"));
        if kind.is_empty() || given.is_empty() {
            return Err(ApiError::BadRequest(format!("invalid object type: {given}, Kind={kind}")));
        }
        check_type(target, &mut config)?;
        check_fields(target, &config)?;
        let given = object::name(&config);
        if !given.is_empty() && given != target.name {
            return Err(ApiError::BadRequest(format!(
                "the name of the object ({given}) does not match the name on the URL ({})",
                target.name
            )));
        }
        object::metadata_mut(&mut config).insert("name".into(), target.name.clone().into());
        if target.def.namespaced {
            object::metadata_mut(&mut config).insert("namespace".into(), target.namespace.clone().into());
        }
        if target.subresource != "status"
            && strategy::keeps_status(&target.def, &target.version)
            && let Some(map) = config.as_object_mut()
        {
            map.remove("status");
        }
        Ok(config)
    }
}

/// Who applies owns fields; one that the kind does not have cannot be owned.
fn check_fields(target: &Target, config: &Value) -> Result<(), ApiError> {
    if target.def.custom.is_some() {
        return Ok(());
    }
    let unknown =
        crate::validate::prune_unknown(&target.api_version(), &target.def.kind, &mut config.clone());
    let Some(first) = unknown.first() else { return Ok(()) };
    Err(ApiError::Status {
        code: 500,
        reason: String::new(),
        message: format!(
            "failed to create typed patch object ({}/{}; {}, Kind={}): .{first}: field not declared in schema",
            object::namespace(config),
            object::name(config),
            target.api_version(),
            target.def.kind
        ),
    })
}

/// Applies a patch that is not server-side apply to a value.
pub(super) fn patch_value(value: &mut Value, patch: &PatchRequest) -> Result<(), ApiError> {
    *value = match patch.kind {
        PatchKind::Json => crate::patch::json_patch(value, &patch.body)?,
        PatchKind::Merge => {
            if !patch.body.is_object() {
                return Err(ApiError::BadRequest("a merge patch must be a JSON object".into()));
            }
            crate::patch::merge_patch(value, &patch.body)
        }
        PatchKind::Strategic => {
            let (api_version, kind) = (object::field(value, "apiVersion"), object::field(value, "kind"));
            crate::patch::strategic_merge(api_version, kind, value, &patch.body)?
        }
        PatchKind::Apply { .. } => {
            return Err(ApiError::UnsupportedMediaType("apply is not supported by this subresource".into()));
        }
    };
    Ok(())
}
