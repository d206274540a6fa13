//! What a cluster holds of an installation, found by its label.

use crate::install_checks::unreachable;
use mesh_kube::Client;
use mesh_kube::kube::Api;
use mesh_kube::kube::api::{ApiResource, DynamicObject, ListParams};
use serde_json::{Value, json};

/// A kind of object that installations are made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    namespaced: bool,
}

const fn kind(group: &'static str, kind: &'static str, plural: &'static str, namespaced: bool) -> Kind {
    Kind { group, kind, plural, namespaced }
}

/// Kinds that any version installs or has installed; the API server serves all of them as `v1`.
pub(crate) const KINDS: [Kind; 17] = [
    kind(
        "admissionregistration.k8s.io",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        false,
    ),
    kind(
        "admissionregistration.k8s.io",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        false,
    ),
    kind("apps", "Deployment", "deployments", true),
    kind("apps", "DaemonSet", "daemonsets", true),
    kind("batch", "CronJob", "cronjobs", true),
    kind("batch", "Job", "jobs", true),
    kind("policy", "PodDisruptionBudget", "poddisruptionbudgets", true),
    kind("", "Service", "services", true),
    kind("", "ConfigMap", "configmaps", true),
    kind("", "Secret", "secrets", true),
    kind("rbac.authorization.k8s.io", "RoleBinding", "rolebindings", true),
    kind("rbac.authorization.k8s.io", "Role", "roles", true),
    kind("rbac.authorization.k8s.io", "ClusterRoleBinding", "clusterrolebindings", false),
    kind("rbac.authorization.k8s.io", "ClusterRole", "clusterroles", false),
    kind("", "ServiceAccount", "serviceaccounts", true),
    kind("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", false),
    kind("", "Namespace", "namespaces", false),
];

impl Kind {
    /// The kind of an object, if it is one of [`KINDS`].
    pub(crate) fn of(object: &Value) -> Option<Self> {
        KINDS
            .into_iter()
            .find(|k| object["kind"] == k.kind && object["apiVersion"] == k.api_version().as_str())
    }

    /// API group, empty for the core.
    pub(crate) fn group(self) -> &'static str {
        self.group
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        self.kind
    }

    /// Its name in paths and rules.
    pub(crate) fn plural(self) -> &'static str {
        self.plural
    }

    /// Whether its objects are in namespaces.
    pub(crate) fn is_namespaced(self) -> bool {
        self.namespaced
    }

    fn api_version(self) -> String {
        if self.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", self.group) }
    }

    /// A client for its objects: those of `namespace`, where it has namespaces.
    pub(crate) fn api(self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        let resource = ApiResource {
            group: self.group.to_owned(),
            version: "v1".to_owned(),
            api_version: self.api_version(),
            kind: self.kind.to_owned(),
            plural: self.plural.to_owned(),
        };
        match self.namespaced {
            true => Api::namespaced_with(client.clone(), namespace, &resource),
            false => Api::all_with(client.clone(), &resource),
        }
    }
}

/// Bare names of all objects with this label: in `namespace`, and those of the cluster as a whole. What is owned by
/// another object goes with its owner and is left out.
pub(crate) async fn labelled(client: &Client, namespace: &str, selector: &str) -> anyhow::Result<Vec<Value>> {
    let ours = ListParams::default().labels(selector);
    let mut found = Vec::new();
    for kind in KINDS {
        let list = match kind.api(client, namespace).list_metadata(&ours).await {
            Ok(list) => list.items,
            // A cluster without this kind has none of it.
            Err(error) if mesh_kube::is_not_found(&error) => continue,
            Err(error) => return Err(unreachable(&error).into()),
        };
        for object in list {
            let meta = object.metadata;
            if meta.owner_references.is_some_and(|o| !o.is_empty()) {
                continue;
            }
            let mut bare = json!({
                "apiVersion": kind.api_version(),
                "kind": kind.kind,
                "metadata": {"name": meta.name},
            });
            if let Some(namespace) = meta.namespace {
                bare["metadata"]["namespace"] = json!(namespace);
            }
            found.push(bare);
        }
    }
    Ok(found)
}

/// What tells an object from all others.
pub(crate) fn key(object: &Value) -> (String, String, String) {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    (text(&object["kind"]), text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]))
}
