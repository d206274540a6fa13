//! Which labels and annotations of an exported Service are carried over to its mirror.

use std::collections::BTreeMap;

/// Never carried over: they belong to the tools of the exporting cluster, or change the meaning of the mirror.
const NEVER: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    "service.kubernetes.io/topology-aware-hints",
    "service.kubernetes.io/topology-mode",
    "argocd.argoproj.io/tracking-id",
    "argocd.argoproj.io/instance",
    "app.kubernetes.io/managed-by",
    "helm.sh/chart",
    "meta.helm.sh/release-name",
    "meta.helm.sh/release-namespace",
];

/// Prefixes written by meshes and controllers, not by people.
const NEVER_PREFIXES: &[&str] = &["mirror.linkerd.io/", "multicluster.linkerd.io/", "argocd.argoproj.io/"];

/// Carried over even when excluded: without it the mirror would speak another protocol than the service.
const ALWAYS: &[&str] = &[mesh_types::annotations::OPAQUE_PORTS];

/// Keeps the entries that a mirror carries: not what belongs to tools or meshes, not one of `excluded` (exact or `prefix/*`).
pub fn carried(map: &BTreeMap<String, String>, excluded: &[String]) -> BTreeMap<String, String> {
    let kept = map.iter().filter(|(key, _)| keep(key, excluded));
    kept.map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn keep(key: &str, excluded: &[String]) -> bool {
    if ALWAYS.contains(&key) {
        return true;
    }
    let never = NEVER.contains(&key) || NEVER_PREFIXES.iter().any(|p| key.starts_with(p));
    !never && !excluded.iter().any(|pattern| matches(pattern, key))
}

/// `prefix/*` matches every name below `prefix/`, and nothing that merely begins alike.
fn matches(pattern: &str, key: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) if prefix.ends_with('/') => key.starts_with(prefix),
        _ => pattern == key,
    }
}

#[cfg(test)]
mod tests;
