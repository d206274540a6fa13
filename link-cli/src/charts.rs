//! The charts this binary was built with.

use crate::render::{Release, render};
use crate::values::schema;
use anyhow::Context;
use serde_json::Value;

include!(concat!(env!("OUT_DIR"), "/charts.rs"));

/// A chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chart {
    /// Custom resources of the mesh.
    Crds,
    /// The control plane.
    ControlPlane,
    /// Gateway and service mirror.
    Multicluster,
}

impl Chart {
    fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Crds => CRDS,
            Self::ControlPlane => CONTROL_PLANE,
            Self::Multicluster => MULTICLUSTER,
        }
    }

    fn release(self) -> &'static str {
        match self {
            Self::Crds => "isthmus-crds",
            Self::ControlPlane => "isthmus-control-plane",
            Self::Multicluster => "isthmus-multicluster",
        }
    }

    fn file(self, name: &str) -> anyhow::Result<Value> {
        let text = self.files().iter().find(|(path, _)| *path == name).map(|(_, text)| *text);
        let text = text.with_context(|| format!("chart {} has no {name}", self.release()))?;
        serde_saphyr::from_str(text).with_context(|| format!("chart {}: {name}", self.release()))
    }

    /// The values in force where nobody says otherwise.
    pub(crate) fn default_values(self) -> anyhow::Result<Value> {
        self.file("values.yaml")
    }

    /// What `--ha` changes.
    pub(crate) fn ha_values(self) -> anyhow::Result<Value> {
        self.file("values-ha.yaml")
    }

    /// What values may be.
    pub(crate) fn schema(self) -> anyhow::Result<Value> {
        self.file("values.schema.json")
    }

    /// Values that are taken and do nothing, with the reason.
    pub(crate) fn without_effect(self, values: &Value) -> anyhow::Result<Vec<(String, String)>> {
        Ok(schema::validate(&self.schema()?, values).without_effect)
    }

    /// The manifests, one text per document. Values that the chart does not know, or that are mistyped, are refused.
    pub(crate) fn render(self, namespace: &str, values: &Value) -> anyhow::Result<Vec<String>> {
        if let Some(refusal) = schema::validate(&self.schema()?, values).refusal(self.release()) {
            return Err(refusal.into());
        }
        let release = Release { name: self.release(), namespace, version: crate::own_version() };
        let files = render(self.files(), &release, values)
            .with_context(|| format!("chart {} cannot be rendered with these values", self.release()))?;
        let mut documents = Vec::new();
        for (path, text) in files {
            for document in text.split("\n---").map(|d| d.trim_start_matches("---").trim()) {
                let has_content = document.lines().any(|l| !l.trim().is_empty() && !l.starts_with('#'));
                if has_content {
                    documents.push(format!("# Source: {}/{path}\n{document}\n", self.release()));
                }
            }
        }
        Ok(documents)
    }
}

#[cfg(test)]
mod tests;
