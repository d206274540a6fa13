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
pub(crate) const STORED_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// The same of a custom resource, in the order that the real server gives.
pub(crate) const CUSTOM_VERBS: &[&str] =
    &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

/// One resource of one group, with every version it is served under.
#[derive(Debug, Clone)]
pub(crate) struct ResourceDef {
    /// API group; empty for the core group.
    pub(crate) group: String,
    /// Served versions, preferred first.
    pub(crate) versions: Vec<String>,
    /// The version objects are stored under.
    pub(crate) storage_version: String,
    /// Kind, as in `Pod`.
    pub(crate) kind: String,
    /// Kind of a list, as in `PodList`.
    pub(crate) list_kind: String,
    /// Plural name, as in the URL.
    pub(crate) plural: String,
    /// Singular name.
    pub(crate) singular: String,
    /// Short names, as in `po`.
    pub(crate) short_names: Vec<String>,
    /// Categories, as in `all`.
    pub(crate) categories: Vec<String>,
    /// Whether objects live in a namespace.
    pub(crate) namespaced: bool,
    /// Verbs of the resource itself; `["create"]` for reviews, which are never stored.
    pub(crate) verbs: &'static [&'static str],
    /// Subresources (of any version).
    pub(crate) subresources: Vec<SubresourceDef>,
    /// The compiled definition of a custom resource; `None` for built-in kinds.
    pub(crate) custom: Option<Arc<Crd>>,
}

/// A subresource, as in `pods/log`.
#[derive(Debug, Clone)]
pub(crate) struct SubresourceDef {
    /// Last path segment.
    pub(crate) name: String,
    /// Kind it carries.
    pub(crate) kind: String,
    /// Group of that kind; empty for core or when equal to the parent's.
    pub(crate) group: String,
    /// Version of that kind; empty when equal to the parent's.
    pub(crate) version: String,
    /// Verbs.
    pub(crate) verbs: &'static [&'static str],
}

impl ResourceDef {
    /// `apiVersion` of an object of this resource under `version`.
    pub(crate) fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    /// `plural.group`, or `plural` alone in the core group; how messages and CRD names say it.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// Whether this subresource exists.
    pub(crate) fn has_subresource(&self, name: &str) -> bool {
        self.subresources.iter().any(|s| s.name == name)
    }

    /// Whether objects are stored (reviews are not).
    pub(crate) fn stored(&self) -> bool {
        self.verbs.contains(&"get")
    }
}

/// Every resource served now. Cheap to read; changed only when a CRD changes.
#[derive(Debug)]
pub(crate) struct Registry {
    resources: RwLock<BTreeMap<(String, String), Arc<ResourceDef>>>,
}

impl Registry {
    /// A registry of the built-in kinds.
    pub(crate) fn new() -> Self {
        let resources =
            builtin::all().into_iter().map(|d| ((d.group.clone(), d.plural.clone()), Arc::new(d))).collect();
        Self { resources: RwLock::new(resources) }
    }

    /// The resource served at `/apis/<group>/<version>/<plural>`.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<ResourceDef>> {
        self.by_plural(group, plural).filter(|d| d.versions.iter().any(|v| v == version))
    }

    /// The resource named, under any version.
    pub(crate) fn by_plural(&self, group: &str, plural: &str) -> Option<Arc<ResourceDef>> {
        self.resources.read().get(&(group.to_owned(), plural.to_owned())).cloned()
    }

    /// The resource of a kind in a group; of several, the stored one.
    pub(crate) fn by_kind(&self, group: &str, kind: &str) -> Option<Arc<ResourceDef>> {
        self.resources.read().values().find(|d| d.group == group && d.kind == kind).cloned()
    }

    /// Whether anything of a group is served.
    pub(crate) fn has_group(&self, group: &str) -> bool {
        self.resources.read().keys().any(|(served, _)| served == group)
    }

    /// Everything served, ordered by group and plural.
    pub(crate) fn all(&self) -> Vec<Arc<ResourceDef>> {
        self.resources.read().values().cloned().collect()
    }

    /// Adds or replaces a custom resource.
    pub(crate) fn insert(&self, def: ResourceDef) {
        self.resources.write().insert((def.group.clone(), def.plural.clone()), Arc::new(def));
    }

    /// Removes a custom resource; built-in kinds stay.
    pub(crate) fn remove(&self, group: &str, plural: &str) {
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
