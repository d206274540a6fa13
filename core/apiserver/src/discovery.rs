//! What the server serves, as clients discover it: `/api`, `/apis`, the resource lists, and all of it in one aggregated answer.

#[cfg(test)]
mod tests;

use crate::crd::precedence;
use crate::resource::{ResourceDef, SubresourceDef};
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// `Content-Type` of an aggregated answer of this version (`v2` or `v2beta1`).
pub(crate) fn aggregated_content_type(version: &str) -> String {
    format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList")
}

/// The version of aggregated discovery an `Accept` header asks for first, if it asks.
pub(crate) fn wants_aggregated(accept: &str) -> Option<&'static str> {
    accept.split(',').find_map(|part| {
        let parameters: Vec<&str> = part.split(';').map(str::trim).collect();
        let has = |p: &str| parameters.contains(&p);
        if !has("as=APIGroupDiscoveryList") || !has("g=apidiscovery.k8s.io") {
            return None;
        }
        ["v2", "v2beta1"].into_iter().find(|v| has(&format!("v={v}")))
    })
}

/// `/api`. `server` is the address clients reach the server at, as `10.0.0.1:6443`.
pub(crate) fn core_versions(server: &str) -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server}],
    })
}

/// Versions of every group, preferred first; the core group is the empty name.
fn versions_by_group(resources: &[Arc<ResourceDef>]) -> BTreeMap<&str, Vec<&str>> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for def in resources {
        let versions = groups.entry(&def.group).or_default();
        for version in &def.versions {
            if !versions.contains(&version.as_str()) {
                versions.push(version);
            }
        }
    }
    groups.retain(|_, versions| !versions.is_empty());
    for versions in groups.values_mut() {
        versions.sort_by_key(|v| Reverse(precedence(v)));
    }
    groups
}

/// Order of groups in answers, which is also the order clients prefer them in: built-in before custom.
fn ordered(resources: &[Arc<ResourceDef>]) -> Vec<(&str, Vec<&str>)> {
    let mut groups: Vec<_> = versions_by_group(resources).into_iter().collect();
    let custom = |group: &str| resources.iter().all(|d| d.group != group || d.custom.is_some());
    groups.sort_by_key(|(name, _)| (custom(name), *name != "apps", *name != "events.k8s.io", *name));
    groups
}

fn group_value(name: &str, versions: &[&str]) -> Value {
    let entry = |v: &&str| json!({"groupVersion": format!("{name}/{v}"), "version": v});
    json!({
        "name": name,
        "versions": versions.iter().map(entry).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(entry),
    })
}

/// `/apis`.
pub(crate) fn groups(resources: &[Arc<ResourceDef>]) -> Value {
    let groups = ordered(resources).into_iter().filter(|(name, _)| !name.is_empty());
    let groups: Vec<Value> = groups.map(|(name, versions)| group_value(name, &versions)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/<group>`; `None` when there is no such group.
pub(crate) fn group(resources: &[Arc<ResourceDef>], name: &str) -> Option<Value> {
    let versions = versions_by_group(resources).remove(name)?;
    let mut group = group_value(name, &versions);
    group["kind"] = json!("APIGroup");
    group["apiVersion"] = json!("v1");
    Some(group)
}

fn served<'a>(
    resources: &'a [Arc<ResourceDef>],
    group: &'a str,
    version: &'a str,
) -> impl Iterator<Item = &'a Arc<ResourceDef>> {
    resources.iter().filter(move |d| d.group == group && d.versions.iter().any(|v| v == version))
}

fn subresources<'a>(def: &'a ResourceDef, version: &'a str) -> impl Iterator<Item = &'a SubresourceDef> {
    def.subresources.iter().filter(move |s| match (&def.custom, s.name.as_str()) {
        (Some(crd), "status") => crd.has_status(version),
        (Some(crd), "scale") => crd.scale(version).is_some(),
        _ => true,
    })
}

/// `/api/v1` and `/apis/<group>/<version>`; `None` when nothing is served there.
pub(crate) fn resources(resources: &[Arc<ResourceDef>], group: &str, version: &str) -> Option<Value> {
    let mut list = Vec::new();
    for def in served(resources, group, version) {
        let mut entry = json!({
            "name": def.plural, "singularName": def.singular, "namespaced": def.namespaced, "kind": def.kind,
            "verbs": def.verbs,
        });
        for (key, names) in [("shortNames", &def.short_names), ("categories", &def.categories)] {
            if !names.is_empty() {
                entry[key] = json!(names);
            }
        }
        list.push(entry);
        for sub in subresources(def, version) {
            let mut entry = json!({
                "name": format!("{}/{}", def.plural, sub.name), "singularName": "", "namespaced": def.namespaced,
                "kind": sub.kind, "verbs": sub.verbs,
            });
            if !sub.version.is_empty() {
                entry["group"] = json!(sub.group);
                entry["version"] = json!(sub.version);
            }
            list.push(entry);
        }
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    (!list.is_empty()).then(|| {
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list})
    })
}

/// Everything in one answer: the core group for `/api`, the others for `/apis`. `version` is that of the answer's format.
pub(crate) fn aggregated(resources: &[Arc<ResourceDef>], core: bool, version: &str) -> Value {
    let groups = ordered(resources).into_iter().filter(|(name, _)| name.is_empty() == core);
    let items: Vec<Value> = groups
        .map(|(name, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let entries: Vec<Value> =
                        served(resources, name, version).map(|def| aggregated_entry(def, version)).collect();
                    json!({"version": version, "resources": entries, "freshness": "Current"})
                })
                .collect();
            let metadata = if name.is_empty() { json!({}) } else { json!({"name": name}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"), "metadata": {},
        "items": items,
    })
}

fn aggregated_entry(def: &ResourceDef, version: &str) -> Value {
    let kind =
        |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let mut entry = json!({
        "resource": def.plural,
        "responseKind": kind(&def.group, version, &def.kind),
        "scope": if def.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": def.singular,
        "verbs": def.verbs,
    });
    for (key, names) in [("shortNames", &def.short_names), ("categories", &def.categories)] {
        if !names.is_empty() {
            entry[key] = json!(names);
        }
    }
    let sub = |s: &SubresourceDef| {
        let of = if s.version.is_empty() {
            kind(&def.group, version, &s.kind)
        } else {
            kind(&s.group, &s.version, &s.kind)
        };
        json!({"subresource": s.name, "responseKind": of, "verbs": s.verbs})
    };
    let subs: Vec<Value> = subresources(def, version).map(sub).collect();
    if !subs.is_empty() {
        entry["subresources"] = json!(subs);
    }
    entry
}
