//! The registry of what the server serves: built-in kinds as data, custom kinds added and removed as their
//! CustomResourceDefinitions come and go.

mod builtin;
#[cfg(test)]
mod tests;

use crate::crd::Crd;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Verbs of a resource that is stored.
pub const STORED_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// One resource of one group, with every version it is served under.
#[derive(Debug, Clone)]
pub struct ResourceDef {
    /// API group; empty for the core group.
    pub group: String,
    /// Served versions, preferred first.
    pub versions: Vec<String>,
    /// The version objects are stored under.
    pub storage_version: String,
    /// Kind, as in `Pod`.
    pub kind: String,
    /// Kind of a list, as in `PodList`.
    pub list_kind: String,
    /// Plural name, as in the URL.
    pub plural: String,
    /// Singular name.
    pub singular: String,
    /// Short names, as in `po`.
    pub short_names: Vec<String>,
    /// Categories, as in `all`.
    pub categories: Vec<String>,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Verbs of the resource itself; `["create"]` for reviews, which are never stored.
    pub verbs: &'static [&'static str],
    /// Subresources (of any version).
    pub subresources: Vec<SubresourceDef>,
    /// The compiled definition of a custom resource; `None` for built-in kinds.
    pub custom: Option<Arc<Crd>>,
}

/// A subresource, as in `pods/log`.
#[derive(Debug, Clone)]
pub struct SubresourceDef {
    /// Last path segment.
    pub name: String,
    /// Kind it carries.
    pub kind: String,
    /// Group of that kind; empty for core or when equal to the parent's.
    pub group: String,
    /// Version of that kind; empty when equal to the parent's.
    pub version: String,
    /// Verbs.
    pub verbs: &'static [&'static str],
}

impl ResourceDef {
    /// `apiVersion` of an object of this resource under `version`.
    pub fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    /// The preferred served version.
    pub fn preferred(&self) -> &str {
        self.versions.first().map_or(self.storage_version.as_str(), String::as_str)
    }

    /// `plural.group`, or `plural` alone in the core group; how messages and CRD names say it.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// Whether this subresource exists.
    pub fn has_subresource(&self, name: &str) -> bool {
        self.subresources.iter().any(|s| s.name == name)
    }

    /// Whether objects are stored (reviews are not).
    pub fn stored(&self) -> bool {
        self.verbs.contains(&"get")
    }
}

/// Every resource served now. Cheap to read; changed only when a CRD changes.
#[derive(Debug)]
pub struct Registry {
    resources: RwLock<BTreeMap<(String, String), Arc<ResourceDef>>>,
}

impl Registry {
    /// A registry of the built-in kinds.
    pub fn new() -> Self {
        let resources =
            builtin::all().into_iter().map(|d| ((d.group.clone(), d.plural.clone()), Arc::new(d))).collect();
        Self { resources: RwLock::new(resources) }
    }

    /// The resource served at `/apis/<group>/<version>/<plural>`.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<ResourceDef>> {
        self.by_plural(group, plural).filter(|d| d.versions.iter().any(|v| v == version))
    }

    /// The resource named, under any version.
    pub fn by_plural(&self, group: &str, plural: &str) -> Option<Arc<ResourceDef>> {
        self.resources.read().get(&(group.to_owned(), plural.to_owned())).cloned()
    }

    /// The resource of a kind in a group; of several, the stored one.
    pub fn by_kind(&self, group: &str, kind: &str) -> Option<Arc<ResourceDef>> {
        self.resources.read().values().find(|d| d.group == group && d.kind == kind).cloned()
    }

    /// Everything served, ordered by group and plural.
    pub fn all(&self) -> Vec<Arc<ResourceDef>> {
        self.resources.read().values().cloned().collect()
    }

    /// Whether anything is served under this group and version.
    pub fn serves(&self, group: &str, version: &str) -> bool {
        self.resources.read().values().any(|d| d.group == group && d.versions.iter().any(|v| v == version))
    }

    /// Adds or replaces a custom resource.
    pub fn insert(&self, def: ResourceDef) {
        self.resources.write().insert((def.group.clone(), def.plural.clone()), Arc::new(def));
    }

    /// Removes a custom resource; built-in kinds stay.
    pub fn remove(&self, group: &str, plural: &str) {
        let mut resources = self.resources.write();
        let key = (group.to_owned(), plural.to_owned());
        if resources.get(&key).is_some_and(|d| d.custom.is_some()) {
            resources.remove(&key);
        }
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}
