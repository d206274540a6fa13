//! Renders the charts under `charts/`, which are the only copy of every installed object. Real Helm renders them
//! the same; this is the part of its template language that they use (see `charts/README.md`).

mod eval;
mod functions;
mod lexer;
mod parser;
mod yaml;

use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(crate) use yaml::to_yaml;

/// What is wrong with a template, and where.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{template}:{line}: {message}")]
pub(crate) struct RenderError {
    template: String,
    line: usize,
    message: String,
}

/// A chart's files: path within the chart (`templates/x.yaml`) and text.
pub(crate) type Files<'a> = [(&'a str, &'a str)];

/// What templates find under `.Release` and `.Chart`.
#[derive(Clone, Debug)]
pub(crate) struct Release<'a> {
    /// Name of the release.
    pub(crate) name: &'a str,
    /// Namespace of the release.
    pub(crate) namespace: &'a str,
    /// Version of the chart.
    pub(crate) version: &'a str,
}

/// Renders every manifest of a chart, in the order of their paths. Files whose name begins with `_` hold only
/// definitions. Manifests that come out blank are left out.
pub(crate) fn render(
    files: &Files<'_>,
    release: &Release<'_>,
    values: &Value,
) -> Result<Vec<(String, String)>, RenderError> {
    let mut defines = BTreeMap::new();
    let mut bodies = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| path.starts_with("templates/")) {
        let nodes = parser::parse(path, text, &mut defines)?;
        let partial = path.rsplit('/').next().is_some_and(|name| name.starts_with('_'));
        if !partial {
            bodies.push((*path, nodes));
        }
    }
    let root = json!({
        "Values": values,
        "Release": {"Name": release.name, "Namespace": release.namespace, "Service": "CLI"},
        "Chart": {"Version": release.version, "AppVersion": release.version},
    });
    bodies.sort_by_key(|(path, _)| *path);
    let mut out = Vec::new();
    for (path, nodes) in bodies {
        let text = eval::evaluate(path, &nodes, &defines, &root)?;
        if !text.trim().is_empty() {
            out.push((path.to_owned(), text));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
