//! From what a client sent to what may be stored: decoding, pruning, defaulting, validation, for built-in and custom
//! kinds alike.

use crate::error::{ApiError, FieldError};
use crate::resource::ResourceDef;
use crate::validate;
use serde_json::Value;

/// What becomes of fields a kind does not have: the request's `fieldValidation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Strictness {
    /// They are dropped.
    #[default]
    Ignore,
    /// They are dropped with a warning.
    Warn,
    /// The request is refused.
    Strict,
}

/// Of which kind an object is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Admit<'a> {
    pub(crate) def: &'a ResourceDef,
    pub(crate) version: &'a str,
    pub(crate) strictness: Strictness,
}

impl Admit<'_> {
    /// Checks types, drops what the kind does not have, fills in defaults. Returns warnings.
    pub(crate) fn decode(&self, object: &mut Value) -> Result<Vec<String>, ApiError> {
        let api_version = self.def.api_version(self.version);
        validate::decode(&api_version, &self.def.kind, object)?;
        let mut unknown = validate::prune_unknown(&api_version, &self.def.kind, object);
        match &self.def.custom {
            Some(crd) => unknown.extend(crd.prepare(self.version, object)),
            None => validate::default(&api_version, &self.def.kind, object),
        }
        let unknown: Vec<String> = unknown.iter().map(|path| format!("unknown field \"{path}\"")).collect();
        if self.strictness == Strictness::Strict && !unknown.is_empty() {
            return Err(ApiError::BadRequest(format!("strict decoding error: {}", unknown.join(", "))));
        }
        let version = self.def.custom.as_ref().and_then(|crd| crd.version(self.version));
        let mut warnings: Vec<String> = version.and_then(|v| v.warning.clone()).into_iter().collect();
        if self.strictness == Strictness::Warn {
            warnings.extend(unknown);
        }
        Ok(warnings)
    }

    /// Everything wrong with a decoded object.
    pub(crate) fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let (api_version, kind) = (self.def.api_version(self.version), &self.def.kind);
        let mut causes = match old {
            None => validate::create(&api_version, kind, self.def.namespaced, new),
            Some(old) => validate::update(&api_version, kind, old, new),
        };
        if let Some(crd) = &self.def.custom {
            causes.extend(crd.validate(self.version, new, old));
        }
        causes
    }
}
