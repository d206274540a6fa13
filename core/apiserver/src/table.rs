//! Objects as clients print them: `Table` answers with the columns `kubectl get` shows, and metadata alone.

mod age;
mod cells;
mod columns;
mod jsonpath;
mod pods;
#[cfg(test)]
mod tests;

use crate::crd::PrinterColumn;
use crate::resource::ResourceDef;
use columns::Column;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// What each row carries of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    Metadata,
    /// All of it.
    Object,
}

/// A table of objects of one resource. `list_meta` is the list's metadata. `headings` is false for every event of a watch
/// but the first.
pub(crate) fn table(
    def: &ResourceDef,
    version: &str,
    items: &[Arc<Value>],
    list_meta: Value,
    include: Include,
    headings: bool,
    now: Timestamp,
) -> Value {
    let columns = columns_of(def, version);
    let row = |object: &Arc<Value>| {
        let cells: Vec<Value> = columns.iter().map(|c| c.cell(object, now)).collect();
        let shown = match include {
            Include::None => Value::Null,
            Include::Metadata => partial_metadata(object),
            Include::Object => Value::clone(object),
        };
        json!({"cells": cells, "object": shown})
    };
    let definitions = headings.then(|| columns.iter().map(AnyColumn::definition).collect::<Vec<_>>());
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": list_meta,
        "columnDefinitions": definitions, "rows": items.iter().map(row).collect::<Vec<_>>(),
    })
}

/// An object's metadata alone.
pub(crate) fn partial_metadata(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

/// A built-in column or one a CRD defines.
enum AnyColumn {
    Builtin(Column),
    Custom(PrinterColumn),
}

fn columns_of(def: &ResourceDef, version: &str) -> Vec<AnyColumn> {
    let builtin = |group: &str, kind: &str| columns::of(group, kind).into_iter().map(AnyColumn::Builtin);
    let Some(crd) = &def.custom else { return builtin(&def.group, &def.kind).collect() };
    let custom = crd.version(version).map(|v| v.columns.clone()).unwrap_or_default();
    if custom.is_empty() {
        return builtin("", "").collect();
    }
    let name = builtin("", "").take(1);
    name.chain(custom.into_iter().map(AnyColumn::Custom)).collect()
}

impl AnyColumn {
    fn definition(&self) -> Value {
        match self {
            Self::Builtin(column) => json!({
                "name": column.name, "type": column.kind, "format": if column.name == "Name" { "name" } else { "" },
                "description": "", "priority": column.priority,
            }),
            Self::Custom(column) => json!({
                "name": column.name, "type": column.kind, "format": column.format,
                "description": column.description, "priority": column.priority,
            }),
        }
    }

    fn cell(&self, object: &Value, now: Timestamp) -> Value {
        match self {
            Self::Builtin(column) => (column.cell)(object, now),
            Self::Custom(column) => custom_cell(column, object, now),
        }
    }
}

fn custom_cell(column: &PrinterColumn, object: &Value, now: Timestamp) -> Value {
    let found = jsonpath::find(&column.path, object);
    let Some(value) = found.first().filter(|v| !v.is_null()) else { return Value::Null };
    match column.kind.as_str() {
        "date" => json!(age::since(value, now)),
        "string" => match value {
            Value::String(_) => (*value).clone(),
            other => json!(other.to_string()),
        },
        _ => (*value).clone(),
    }
}
