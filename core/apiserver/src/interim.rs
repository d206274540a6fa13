//! interim
use crate::error::{ApiError, FieldError};
use crate::resource::ResourceDef;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Strictness {
    #[default]
    Ignore,
    Warn,
    Strict,
}
pub(crate) struct Admit<'a> {
    pub(crate) def: &'a ResourceDef,
    pub(crate) version: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) strictness: Strictness,
}
pub(crate) fn decode(new: &mut Value, admit: &Admit<'_>) -> Result<Vec<String>, ApiError> {
    let _ = (admit.subresource, admit.strictness);
    if let Some(crd) = &admit.def.custom {
        crd.prepare(admit.version, new);
    }
    Ok(Vec::new())
}
pub(crate) fn validate(new: &Value, old: Option<&Value>, admit: &Admit<'_>) -> Vec<FieldError> {
    match &admit.def.custom {
        Some(crd) => crd.validate(admit.version, new, old),
        None => Vec::new(),
    }
}
pub(crate) struct Apply<'a> {
    pub(crate) manager: &'a str,
    pub(crate) force: bool,
    pub(crate) api_version: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) def: &'a ResourceDef,
    pub(crate) version: &'a str,
    pub(crate) now: jiff::Timestamp,
}
pub(crate) fn apply(live: Option<&Value>, config: &Value, how: &Apply<'_>) -> Result<Value, ApiError> {
    let _ = (how.manager, how.force, how.api_version, how.subresource, how.def, how.version, how.now);
    Ok(match live {
        Some(live) => crate::patch::merge_patch(live, config),
        None => config.clone(),
    })
}
pub(crate) struct Track<'a> {
    pub(crate) manager: &'a str,
    pub(crate) api_version: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) def: &'a ResourceDef,
    pub(crate) version: &'a str,
    pub(crate) now: jiff::Timestamp,
}
pub(crate) fn track(_old: Option<&Value>, _new: &mut Value, t: &Track<'_>) {
    let _ = (t.manager, t.api_version, t.subresource, t.def, t.version, t.now);
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Include {
    None,
    Metadata,
    Object,
}
pub(crate) fn table(
    _def: &ResourceDef,
    _version: &str,
    items: &[Arc<Value>],
    list_meta: Value,
    include: Include,
    columns: bool,
    _now: jiff::Timestamp,
) -> Value {
    let rows: Vec<Value> = items.iter().map(|o| json!({"cells": [crate::object::name(o)], "object": match include { Include::None => Value::Null, Include::Metadata => partial_metadata(o), Include::Object => (**o).clone() }})).collect();
    let defs = if columns {
        json!([{"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}])
    } else {
        Value::Null
    };
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": list_meta, "columnDefinitions": defs, "rows": rows})
}
pub(crate) fn partial_metadata(o: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": o["metadata"]})
}
