//! OpenAPI documents, for clients that validate, merge or explain by them: `/openapi/v3` per group, and `/openapi/v2`.

pub(crate) mod binary;
#[cfg(test)]
mod tests;

use crate::kinds::{self, ListKind, Shape, Type};
use crate::resource::ResourceDef;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// The two dialects: where schemas live in a document, and what a reference to one looks like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    V2,
    V3,
}

/// `/openapi/v3`: where each group's document is. The hash in an address changes when the document does.
pub(crate) fn index(resources: &[Arc<ResourceDef>]) -> Value {
    let mut paths = Map::new();
    for def in resources {
        for version in &def.versions {
            let path = root(def, version);
            if !paths.contains_key(&path) {
                let address = format!("/openapi/v3/{path}?hash={:016X}", fingerprint(resources, &path));
                paths.insert(path, json!({"serverRelativeURL": address}));
            }
        }
    }
    json!({"paths": paths})
}

/// `api/v1` or `apis/<group>/<version>`.
fn root(def: &ResourceDef, version: &str) -> String {
    if def.group.is_empty() { format!("api/{version}") } else { format!("apis/{}/{version}", def.group) }
}

fn served<'a>(
    resources: &'a [Arc<ResourceDef>],
    path: &'a str,
) -> impl Iterator<Item = (&'a ResourceDef, &'a str)> {
    resources.iter().flat_map(move |def| {
        let versions = def.versions.iter().filter(move |v| root(def, v) == path);
        versions.map(move |v| (def.as_ref(), v.as_str()))
    })
}

fn fingerprint(resources: &[Arc<ResourceDef>], path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (def, version) in served(resources, path) {
        (&def.plural, &def.kind, version).hash(&mut hasher);
        if let Some(schema) = def.custom.as_ref().and_then(|crd| crd.schema(version)) {
            schema.to_string().hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// The document at `/openapi/v3/<path>`, with `path` as `api/v1` or `apis/apps/v1`; `None` when nothing is served there.
pub(crate) fn document(resources: &[Arc<ResourceDef>], path: &str) -> Option<Value> {
    let served: Vec<_> = served(resources, path).collect();
    if served.is_empty() {
        return None;
    }
    let (paths, schemas) = describe(&served, Dialect::V3);
    Some(json!({
        "openapi": "3.0.0", "info": info(), "paths": paths, "components": {"schemas": schemas},
    }))
}

/// `/openapi/v2`: everything in one document.
pub(crate) fn v2(resources: &[Arc<ResourceDef>]) -> Value {
    let served: Vec<_> =
        resources.iter().flat_map(|def| def.versions.iter().map(|v| (def.as_ref(), v.as_str()))).collect();
    let (paths, schemas) = describe(&served, Dialect::V2);
    json!({"swagger": "2.0", "info": info(), "paths": paths, "definitions": schemas})
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": "v1.34.0"})
}

fn describe(
    served: &[(&ResourceDef, &str)],
    dialect: Dialect,
) -> (Map<String, Value>, BTreeMap<String, Value>) {
    let (mut paths, mut schemas) = (Map::new(), BTreeMap::new());
    for (def, version) in served {
        let name = schema_name(def, version);
        let scope = if def.namespaced { "namespaces/{namespace}/" } else { "" };
        let base = format!("/{}/{scope}{}", root(def, version), def.plural);
        paths.insert(base.clone(), collection(def, version, &name, dialect));
        if def.stored() {
            paths.insert(format!("{base}/{{name}}"), item(def, version, &name, dialect));
        }
        match &def.custom {
            Some(crd) => {
                let schema = crd.schema(version).cloned().unwrap_or_else(|| json!({"type": "object"}));
                schemas.insert(name, custom_schema(def, version, schema, &mut Vec::new(), dialect));
                collect("meta.v1.ObjectMeta", &mut schemas, dialect);
            }
            None => {
                if let Some(ty) = kinds::type_of(&def.api_version(version), &def.kind) {
                    collect(ty.name, &mut schemas, dialect);
                }
            }
        }
    }
    collect("meta.v1.DeleteOptions", &mut schemas, dialect);
    collect("meta.v1.Status", &mut schemas, dialect);
    (paths, schemas)
}

/// Published name of a resource's schema: `io.k8s.api.apps.v1.Deployment`, `com.example.v1.Widget`.
fn schema_name(def: &ResourceDef, version: &str) -> String {
    match kinds::type_of(&def.api_version(version), &def.kind) {
        Some(ty) if def.custom.is_none() => ty.definition.to_owned(),
        _ => {
            let reversed: Vec<&str> = def.group.rsplit('.').collect();
            format!("{}.{version}.{}", reversed.join("."), def.kind)
        }
    }
}

fn group_version_kind(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

fn reference(name: &str, dialect: Dialect) -> Value {
    match dialect {
        Dialect::V2 => json!({"$ref": format!("#/definitions/{name}")}),
        Dialect::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
    }
}

/// Query parameters that clients look for before they rely on them.
fn parameters(names: &[(&str, &str)], dialect: Dialect) -> Vec<Value> {
    let parameter = |(name, kind): &(&str, &str)| match dialect {
        Dialect::V2 => json!({"name": name, "in": "query", "type": kind, "uniqueItems": true}),
        Dialect::V3 => json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}}),
    };
    names.iter().map(parameter).collect()
}

const WRITE: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const PATCH: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean")];
const DELETE: &[(&str, &str)] =
    &[("dryRun", "string"), ("gracePeriodSeconds", "integer"), ("propagationPolicy", "string")];
const LIST: &[(&str, &str)] = &[
    ("labelSelector", "string"),
    ("fieldSelector", "string"),
    ("limit", "integer"),
    ("continue", "string"),
    ("resourceVersion", "string"),
    ("watch", "boolean"),
];

fn operation(
    def: &ResourceDef,
    version: &str,
    (action, params, bodies): (&str, &[(&str, &str)], &[&str]),
    name: &str,
    dialect: Dialect,
) -> Value {
    let schema = reference(name, dialect);
    let mut operation = json!({
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": group_version_kind(&def.group, version, &def.kind),
        "parameters": parameters(params, dialect),
    });
    operation["responses"] = match dialect {
        Dialect::V2 => json!({"200": {"description": "OK", "schema": schema}}),
        Dialect::V3 => {
            json!({"200": {"description": "OK", "content": {"application/json": {"schema": schema}}}})
        }
    };
    if !bodies.is_empty() {
        match dialect {
            Dialect::V2 => operation["consumes"] = json!(bodies),
            Dialect::V3 => {
                let content = |b: &&str| ((*b).to_owned(), json!({"schema": schema}));
                operation["requestBody"] =
                    json!({"content": bodies.iter().map(content).collect::<Map<_, _>>()});
            }
        }
    }
    operation
}

fn path_item(def: &ResourceDef, with_name: bool, dialect: Dialect) -> Value {
    let named = |name: &str| match dialect {
        Dialect::V2 => json!({"name": name, "in": "path", "required": true, "type": "string"}),
        Dialect::V3 => json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}),
    };
    let mut names = Vec::new();
    if def.namespaced {
        names.push(named("namespace"));
    }
    if with_name {
        names.push(named("name"));
    }
    json!({"parameters": names})
}

fn collection(def: &ResourceDef, version: &str, name: &str, dialect: Dialect) -> Value {
    let mut item = path_item(def, false, dialect);
    let operation = |what| operation(def, version, what, name, dialect);
    if def.stored() {
        item["get"] = operation(("list", LIST, &[]));
        item["delete"] = operation(("deletecollection", DELETE, &["application/json"]));
    }
    item["post"] = operation(("post", WRITE, &["application/json", "application/yaml"]));
    item
}

fn item(def: &ResourceDef, version: &str, name: &str, dialect: Dialect) -> Value {
    const CUSTOM: &[&str] =
        &["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];
    const BUILTIN: &[&str] = &[
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/apply-patch+yaml",
        "application/strategic-merge-patch+json",
    ];
    let patches = if def.custom.is_some() { CUSTOM } else { BUILTIN };
    let mut item = path_item(def, true, dialect);
    let operation = |what| operation(def, version, what, name, dialect);
    item["get"] = operation(("get", &[], &[]));
    item["put"] = operation(("put", WRITE, &["application/json", "application/yaml"]));
    item["patch"] = operation(("patch", PATCH, patches));
    item["delete"] = operation(("delete", DELETE, &["application/json"]));
    item
}

/// Adds the schema of a built-in type and of every type it refers to.
fn collect(name: &'static str, schemas: &mut BTreeMap<String, Value>, dialect: Dialect) {
    let mut wanted = vec![name];
    while let Some(name) = wanted.pop() {
        if let Some(ty) = kinds::find_type(name)
            && !schemas.contains_key(ty.definition)
        {
            schemas.insert(ty.definition.to_owned(), type_schema(ty, &mut wanted, dialect));
        }
    }
}

fn type_schema(ty: &'static Type, wanted: &mut Vec<&'static str>, dialect: Dialect) -> Value {
    let mut properties = Map::new();
    for (name, field) in &ty.fields {
        let mut schema = shape_schema(&field.shape, wanted, dialect);
        if let Some((strategy, key)) = patch_strategy(name, &field.shape, field.retain_keys) {
            schema["x-kubernetes-patch-strategy"] = json!(strategy);
            if let Some(key) = key {
                schema["x-kubernetes-patch-merge-key"] = json!(key);
            }
        }
        properties.insert((*name).to_owned(), schema);
    }
    let required: Vec<&str> = ty.fields.iter().filter(|(_, f)| f.required).map(|(n, _)| *n).collect();
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if ty.atomic {
        schema["x-kubernetes-map-type"] = json!("atomic");
    }
    let kinds = kinds::kinds().iter().filter(|k| k.type_name == ty.name);
    let kinds: Vec<Value> = kinds.map(|k| group_version_kind(k.group, k.version, k.kind)).collect();
    if !kinds.is_empty() {
        schema["x-kubernetes-group-version-kind"] = json!(kinds);
    }
    schema
}

fn patch_strategy(
    name: &str,
    shape: &Shape,
    retain_keys: bool,
) -> Option<(&'static str, Option<&'static str>)> {
    let merge = if retain_keys { "merge,retainKeys" } else { "merge" };
    match shape {
        Shape::List { kind: ListKind::Map(keys), .. } => Some((merge, keys.first().copied())),
        Shape::List { kind: ListKind::Set, .. } if matches!(name, "finalizers" | "podCIDRs") => {
            Some((merge, None))
        }
        _ if retain_keys => Some(("retainKeys", None)),
        _ => None,
    }
}

fn shape_schema(shape: &'static Shape, wanted: &mut Vec<&'static str>, dialect: Dialect) -> Value {
    match shape {
        Shape::String => json!({"type": "string"}),
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Int32 => json!({"type": "integer", "format": "int32"}),
        Shape::Int64 => json!({"type": "integer", "format": "int64"}),
        Shape::Double => json!({"type": "number", "format": "double"}),
        Shape::Quantity if dialect == Dialect::V3 => {
            json!({"oneOf": [{"type": "string"}, {"type": "number"}]})
        }
        Shape::IntOrString if dialect == Dialect::V3 => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        Shape::Quantity => json!({"type": "string"}),
        Shape::IntOrString => json!({"type": "string", "format": "int-or-string"}),
        Shape::Time => json!({"type": "string", "format": "date-time"}),
        Shape::MicroTime => json!({"type": "string", "format": "date-time"}),
        Shape::Bytes => json!({"type": "string", "format": "byte"}),
        Shape::Any => json!({"type": "object"}),
        Shape::Ref(name) => {
            wanted.push(name);
            kinds::find_type(name).map_or(json!({"type": "object"}), |ty| {
                let target = reference(ty.definition, dialect);
                // A reference may have no siblings in version 3: what surrounds it goes beside an `allOf`.
                if dialect == Dialect::V3 { json!({"allOf": [target]}) } else { target }
            })
        }
        Shape::Map { value, .. } => {
            json!({"type": "object", "additionalProperties": shape_schema(value, wanted, dialect)})
        }
        Shape::List { item, kind } => {
            let mut schema = json!({"type": "array", "items": shape_schema(item, wanted, dialect)});
            match kind {
                ListKind::Atomic => schema["x-kubernetes-list-type"] = json!("atomic"),
                ListKind::Set => schema["x-kubernetes-list-type"] = json!("set"),
                ListKind::Map(keys) => {
                    schema["x-kubernetes-list-type"] = json!("map");
                    schema["x-kubernetes-list-map-keys"] = json!(keys);
                }
            }
            schema
        }
    }
}

/// A custom resource's schema with the fields every object has, and its kind.
fn custom_schema(
    def: &ResourceDef,
    version: &str,
    mut schema: Value,
    wanted: &mut Vec<&'static str>,
    dialect: Dialect,
) -> Value {
    if let Some(map) = schema.as_object_mut()
        && let Some(properties) = map.entry("properties").or_insert_with(|| json!({})).as_object_mut()
    {
        for name in ["apiVersion", "kind"] {
            properties.entry(name).or_insert_with(|| json!({"type": "string"}));
        }
        properties
            .insert("metadata".into(), shape_schema(&Shape::Ref("meta.v1.ObjectMeta"), wanted, dialect));
    }
    schema["x-kubernetes-group-version-kind"] = json!([group_version_kind(&def.group, version, &def.kind)]);
    schema
}
