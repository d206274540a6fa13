//! Manifests on their way out: in an order that `kubectl apply` can follow, as YAML or JSON.

use anyhow::Context;
use serde_json::{Value, json};
use std::io::Write;

/// Output formats of commands that print manifests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// YAML documents.
    #[default]
    Yaml,
    /// One List object.
    Json,
}

/// Kinds that others depend on, first to last; all others follow.
const ORDER: [&str; 9] = [
    "Namespace",
    "CustomResourceDefinition",
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Secret",
    "ConfigMap",
];

/// A manifest: its text as rendered, and what it says.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    /// YAML, with its comments.
    pub(crate) text: String,
    /// The object.
    pub(crate) object: Value,
}

/// Parses rendered documents and puts them in order.
pub(crate) fn parse(documents: Vec<String>) -> anyhow::Result<Vec<Manifest>> {
    let parsed = documents.into_iter().map(|text| {
        let object: Value = serde_saphyr::from_str(&text)
            .with_context(|| format!("rendered manifest is not valid YAML:\n{text}"))?;
        Ok(Manifest { text, object })
    });
    let mut manifests = parsed.collect::<anyhow::Result<Vec<_>>>()?;
    manifests.sort_by_key(|m| {
        let kind = m.object["kind"].as_str().unwrap_or_default();
        ORDER.iter().position(|k| *k == kind).unwrap_or(ORDER.len())
    });
    Ok(manifests)
}

/// Manifests of objects that were made rather than rendered, in the order given.
pub(crate) fn of(objects: Vec<Value>) -> anyhow::Result<Vec<Manifest>> {
    let manifests = objects.into_iter().map(|object| {
        let text = serde_saphyr::to_string(&object).context("cannot write an object as YAML")?;
        Ok(Manifest { text, object })
    });
    manifests.collect()
}

/// Prints manifests to stdout.
pub(crate) fn print(manifests: &[Manifest], format: Format) -> anyhow::Result<()> {
    let text = match format {
        Format::Yaml => manifests.iter().map(|m| format!("---\n{}", m.text)).collect(),
        Format::Json => {
            let items: Vec<&Value> = manifests.iter().map(|m| &m.object).collect();
            let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
            format!("{}\n", serde_json::to_string_pretty(&list)?)
        }
    };
    // A reader that has seen enough (`| head`) is no failure.
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e).context("cannot write to stdout"),
        _ => Ok(()),
    }
}
