//! CustomResourceDefinitions: compiled into what serving custom objects needs, defaulted, validated and given their status.

mod define;
#[cfg(test)]
mod tests;

pub(crate) use define::{check, default, with_status};

use crate::error::{ApiError, FieldError};
use crate::resource::{CUSTOM_VERBS, ResourceDef, SubresourceDef};
use crate::schema::Schema;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::sync::Arc;

/// Verbs of a custom resource's status and scale.
const SUBRESOURCE_VERBS: &[&str] = &["get", "patch", "update"];

/// A column of a version's table.
#[derive(Debug, Clone)]
pub(crate) struct PrinterColumn {
    /// Heading.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: String,
    /// Format, as `int32`.
    pub format: String,
    /// Description.
    pub description: String,
    /// Above 0: shown only by `-o wide`.
    pub priority: i64,
    /// JSONPath of the value.
    pub path: String,
}

/// Where a version keeps what `/scale` shows, as dotted paths.
#[derive(Debug, Clone)]
pub(crate) struct ScalePaths {
    /// As `.spec.replicas`.
    pub spec_replicas: String,
    /// As `.status.replicas`.
    pub status_replicas: String,
    /// As `.status.selector`.
    pub selector: Option<String>,
}

/// One version of a custom resource.
#[derive(Debug)]
pub(crate) struct CrdVersion {
    /// As `v1alpha1`.
    pub name: String,
    /// Whether it is served.
    pub served: bool,
    /// What a client of a deprecated version is told.
    pub warning: Option<String>,
    /// Columns.
    pub columns: Vec<PrinterColumn>,
    schema: Option<Schema>,
    status: bool,
    scale: Option<ScalePaths>,
    selectable: Vec<String>,
}

/// A compiled CustomResourceDefinition.
#[derive(Debug)]
pub(crate) struct Crd {
    group: String,
    kind: String,
    list_kind: String,
    plural: String,
    singular: String,
    short_names: Vec<String>,
    categories: Vec<String>,
    namespaced: bool,
    storage: String,
    versions: Vec<CrdVersion>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

impl Crd {
    /// Compiles a (defaulted, valid) CustomResourceDefinition.
    pub(crate) fn compile(crd: &Value) -> Result<Self, ApiError> {
        let (spec, name) = (&crd["spec"], text(&crd["metadata"]["name"]));
        let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let storage = versions.iter().find(|v| v["storage"] == true).map(|v| text(&v["name"]));
        let Some(storage) = storage else {
            let causes = vec![FieldError::invalid(
                "spec.versions",
                &json!([]),
                "must have exactly one version marked as storage version",
            )];
            let kind = "CustomResourceDefinition.apiextensions.k8s.io".into();
            return Err(ApiError::Invalid { kind, name, causes });
        };
        let names = &spec["names"];
        let mut versions: Vec<CrdVersion> = versions.iter().map(|v| compile_version(spec, v)).collect();
        versions.sort_by_key(|v| Reverse(precedence(&v.name)));
        Ok(Self {
            group: text(&spec["group"]),
            kind: text(&names["kind"]),
            list_kind: text(&names["listKind"]),
            plural: text(&names["plural"]),
            singular: text(&names["singular"]),
            short_names: texts(&names["shortNames"]),
            categories: texts(&names["categories"]),
            namespaced: spec["scope"] == "Namespaced",
            storage,
            versions,
        })
    }

    /// How the registry serves it.
    pub(crate) fn definition(self: &Arc<Self>) -> ResourceDef {
        let subresource = |name: &str, kind: &str, group: &str, version: &str| SubresourceDef {
            name: name.into(),
            kind: kind.into(),
            group: group.into(),
            version: version.into(),
            verbs: SUBRESOURCE_VERBS,
        };
        let mut subresources = Vec::new();
        if self.versions.iter().any(|v| v.scale.is_some()) {
            subresources.push(subresource("scale", "Scale", "autoscaling", "v1"));
        }
        if self.versions.iter().any(|v| v.status) {
            subresources.push(subresource("status", &self.kind, "", ""));
        }
        ResourceDef {
            group: self.group.clone(),
            versions: self.versions.iter().filter(|v| v.served).map(|v| v.name.clone()).collect(),
            storage_version: self.storage.clone(),
            kind: self.kind.clone(),
            list_kind: self.list_kind.clone(),
            plural: self.plural.clone(),
            singular: self.singular.clone(),
            short_names: self.short_names.clone(),
            categories: self.categories.clone(),
            namespaced: self.namespaced,
            verbs: CUSTOM_VERBS,
            subresources,
            custom: Some(Arc::clone(self)),
        }
    }

    /// One of its versions.
    pub(crate) fn version(&self, name: &str) -> Option<&CrdVersion> {
        self.versions.iter().find(|v| v.name == name)
    }

    /// A version's schema as written, if it has one.
    pub(crate) fn schema(&self, version: &str) -> Option<&Value> {
        self.version(version)?.schema.as_ref().map(Schema::root)
    }

    /// Whether a version has `/status`, which then alone changes `status`.
    pub(crate) fn has_status(&self, version: &str) -> bool {
        self.version(version).is_some_and(|v| v.status)
    }

    /// A version's `/scale`, if it has one.
    pub(crate) fn scale(&self, version: &str) -> Option<&ScalePaths> {
        self.version(version)?.scale.as_ref()
    }

    /// Fields a version can be selected by, as `spec.color`.
    pub(crate) fn selectable_fields(&self, version: &str) -> Vec<String> {
        self.version(version).map(|v| v.selectable.clone()).unwrap_or_default()
    }

    /// Makes an object fit to be stored: prunes what the schema does not name, then defaults. Returns the paths pruned.
    pub(crate) fn prepare(&self, version: &str, object: &mut Value) -> Vec<String> {
        let Some(schema) = self.version(version).and_then(|v| v.schema.as_ref()) else { return Vec::new() };
        let pruned = schema.prune(object);
        schema.default(object);
        pruned
    }

    /// Everything the schema finds wrong with an object; `old` is what an update replaces.
    pub(crate) fn validate(&self, version: &str, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let schema = self.version(version).and_then(|v| v.schema.as_ref());
        schema.map(|s| s.validate(object, old)).unwrap_or_default()
    }
}

fn compile_version(spec: &Value, version: &Value) -> CrdVersion {
    let name = text(&version["name"]);
    let schema = &version["schema"]["openAPIV3Schema"];
    let scale = &version["subresources"]["scale"];
    let warning = (version["deprecated"] == true).then(|| match version["deprecationWarning"].as_str() {
        Some(warning) => warning.to_owned(),
        None => format!("{}/{name} {} is deprecated", text(&spec["group"]), text(&spec["names"]["kind"])),
    });
    let column = |c: &Value| PrinterColumn {
        name: text(&c["name"]),
        kind: text(&c["type"]),
        format: text(&c["format"]),
        description: text(&c["description"]),
        priority: c["priority"].as_i64().unwrap_or_default(),
        path: text(&c["jsonPath"]),
    };
    let selectable = version["selectableFields"].as_array().into_iter().flatten();
    CrdVersion {
        served: version["served"] == true,
        warning,
        columns: version["additionalPrinterColumns"].as_array().into_iter().flatten().map(column).collect(),
        schema: schema.is_object().then(|| Schema::compile(schema)),
        status: version["subresources"]["status"].is_object(),
        scale: scale.is_object().then(|| ScalePaths {
            spec_replicas: text(&scale["specReplicasPath"]),
            status_replicas: text(&scale["statusReplicasPath"]),
            selector: scale["labelSelectorPath"].as_str().filter(|p| !p.is_empty()).map(str::to_owned),
        }),
        selectable: selectable.map(|s| text(&s["jsonPath"]).trim_start_matches('.').to_owned()).collect(),
        name,
    }
}

/// Kubernetes' order of versions: general availability over beta over alpha, then by number; other names last.
pub(crate) fn precedence(version: &str) -> (u8, u64, u64, Reverse<String>) {
    let other = (0, 0, 0, Reverse(version.to_owned()));
    let Some(rest) = version.strip_prefix('v') else { return other };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let Ok(major) = rest[..digits].parse::<u64>() else { return other };
    let stage = |name: &str| rest[digits..].strip_prefix(name).and_then(|n| n.parse::<u64>().ok());
    let same = || Reverse(String::new());
    if digits == rest.len() {
        (3, major, 0, same())
    } else if let Some(minor) = stage("beta") {
        (2, major, minor, same())
    } else if let Some(minor) = stage("alpha") {
        (1, major, minor, same())
    } else {
        other
    }
}
