//! Federated Services: one `<svc>-federated` for the local member and every linked cluster's, made from the slices
//! that the links write and from the Services here that are labelled as members.

use crate::filter::carried;
use crate::model::{Action, Key, Port};
use crate::objects::{MEMBER_CREATED, MEMBER_DISTRIBUTION, MEMBER_FAILOVER, MEMBER_PORTS, service_ports};
use crate::plan::{Applied, differs};
use mesh_types::{annotations, federated_name, labels};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The label on federated Services, so that they are told from mirrors of one cluster.
pub const FEDERATED_SERVICE: &str = "mirror.linkerd.io/federated-service";

/// The order of clusters changes only when a round trip is better by more than this share.
const ORDER_HYSTERESIS: f64 = 0.2;

/// All that the plan for federated Services is made from.
#[derive(Debug, Clone, Default)]
pub struct FederatedWorld {
    /// Whether Services, EndpointSlices, Namespaces and Links here have been listed completely.
    pub synced: bool,
    /// Services here that are labelled as members.
    pub local_members: BTreeMap<Key, Arc<Value>>,
    /// Slices here that links wrote for members, of all clusters.
    pub member_slices: BTreeMap<Key, Arc<Value>>,
    /// Services here that this planner made.
    pub services: BTreeMap<Key, Arc<Value>>,
    /// Everything here that carries a cluster's name: Services and slices, to find orphans.
    pub mirrored_services: BTreeMap<Key, Arc<Value>>,
    /// The same for slices.
    pub mirrored_slices: BTreeMap<Key, Arc<Value>>,
    /// Clusters that are linked, with the smoothed round trip to their gateway where it is known.
    pub clusters: BTreeMap<String, Option<Duration>>,
}

struct Member {
    created: String,
    local: bool,
    ports: Vec<Port>,
    distribution: Option<String>,
    failover: Option<String>,
    cluster: Option<String>,
    annotations: BTreeMap<String, String>,
    service: String,
}

/// Plans federated Services and clears away what belongs to clusters that are no longer linked.
pub fn plan(world: &FederatedWorld, applied: &Applied) -> Vec<Action> {
    if !world.synced {
        return Vec::new();
    }
    let mut actions = Vec::new();
    let mut wanted = BTreeSet::new();
    for (key, members) in groups(world) {
        let object = federated_service(&key, &members, world);
        if differs(&object, world.services.get(&key), applied.get(&key)) {
            actions.push(Action::ApplyService(object));
        }
        wanted.insert(key);
    }
    let stale = world.services.keys().filter(|k| !wanted.contains(k));
    actions.extend(stale.map(|k| Action::DeleteService(k.clone())));
    let orphan = |object: &Value| {
        let cluster = object["metadata"]["labels"][labels::CLUSTER_NAME].as_str();
        cluster.is_some_and(|c| !world.clusters.contains_key(c))
    };
    let orphans = world.mirrored_slices.iter().filter(|(_, o)| orphan(o));
    actions.extend(orphans.map(|(k, _)| Action::DeleteSlice(k.clone())));
    let orphans = world.mirrored_services.iter().filter(|(_, o)| orphan(o));
    actions.extend(orphans.map(|(k, _)| Action::DeleteService(k.clone())));
    actions
}

/// Members by the federated Service they belong to.
fn groups(world: &FederatedWorld) -> BTreeMap<Key, Vec<Member>> {
    let mut groups: BTreeMap<Key, Vec<Member>> = BTreeMap::new();
    for (key, service) in &world.local_members {
        let (name, _) = federated_name(&key.name);
        groups.entry(Key::new(&key.namespace, name)).or_default().push(local_member(key, service));
    }
    for (key, slice) in &world.member_slices {
        let of = slice["metadata"]["labels"][labels::SERVICE_NAME].as_str().unwrap_or_default();
        let cluster = slice["metadata"]["labels"][labels::CLUSTER_NAME].as_str().unwrap_or_default();
        if of.is_empty() || !world.clusters.contains_key(cluster) {
            continue;
        }
        groups.entry(Key::new(&key.namespace, of)).or_default().push(remote_member(slice, cluster));
    }
    for members in groups.values_mut() {
        members.sort_by(|a, b| (!a.local, &a.created, &a.cluster).cmp(&(!b.local, &b.created, &b.cluster)));
    }
    groups
}

fn local_member(key: &Key, service: &Value) -> Member {
    let meta = &service["metadata"];
    let notes = string_map(&meta["annotations"]);
    Member {
        created: meta["creationTimestamp"].as_str().unwrap_or_default().to_owned(),
        local: true,
        ports: ports_of(service),
        distribution: service["spec"]["trafficDistribution"].as_str().map(str::to_owned),
        failover: notes.get(annotations::FAILOVER).cloned(),
        cluster: None,
        annotations: carried(&notes, &[]),
        service: key.name.clone(),
    }
}

fn remote_member(slice: &Value, cluster: &str) -> Member {
    let notes = string_map(&slice["metadata"]["annotations"]);
    let fqdn = notes.get(annotations::REMOTE_SVC_FQ_NAME).map(String::as_str).unwrap_or_default();
    Member {
        created: notes.get(MEMBER_CREATED).cloned().unwrap_or_default(),
        local: false,
        ports: notes.get(MEMBER_PORTS).and_then(|p| serde_json::from_str(p).ok()).unwrap_or_default(),
        distribution: notes.get(MEMBER_DISTRIBUTION).cloned(),
        failover: notes.get(MEMBER_FAILOVER).cloned(),
        cluster: Some(cluster.to_owned()),
        annotations: BTreeMap::new(),
        service: fqdn.split('.').next().unwrap_or_default().to_owned(),
    }
}

/// The Service: settings of the local member, else of the oldest; ports of all members, the first to name one wins.
fn federated_service(key: &Key, members: &[Member], world: &FederatedWorld) -> Value {
    let mut ports: Vec<Port> = Vec::new();
    for port in members.iter().flat_map(|m| &m.ports) {
        let taken = |p: &Port| p.port == port.port && p.protocol == port.protocol;
        let named = |p: &Port| !p.name.is_empty() && p.name == port.name;
        if !ports.iter().any(|p| taken(p) || named(p)) {
            ports.push(port.clone());
        }
    }
    if ports.len() > 1 {
        // Kubernetes wants a name for each of several ports.
        for port in ports.iter_mut().filter(|p| p.name.is_empty()) {
            port.name = format!("port-{}", port.port);
        }
    }
    let leader = members.first();
    let mut notes = leader.map(|m| m.annotations.clone()).unwrap_or_default();
    if let Some(local) = members.iter().find(|m| m.local) {
        notes.insert(annotations::LOCAL_DISCOVERY.to_owned(), local.service.clone());
    }
    let remote = members.iter().filter_map(|m| m.cluster.as_ref().map(|c| format!("{}@{c}", m.service)));
    let remote: Vec<String> = remote.collect();
    if !remote.is_empty() {
        notes.insert(annotations::REMOTE_DISCOVERY.to_owned(), remote.join(","));
    }
    if let Some(failover) = leader.and_then(|m| m.failover.clone()) {
        notes.insert(annotations::FAILOVER.to_owned(), failover);
    }
    let order = cluster_order(key, members, world);
    if !order.is_empty() {
        notes.insert(annotations::CLUSTER_ORDER.to_owned(), order.join(","));
    }
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": key.name,
            "namespace": key.namespace,
            "labels": { (labels::MIRRORED_SERVICE): "true", (FEDERATED_SERVICE): "true" },
            "annotations": notes,
        },
        "spec": { "ports": service_ports(&ports) },
    });
    if let Some(distribution) = leader.and_then(|m| m.distribution.clone()) {
        object["spec"]["trafficDistribution"] = distribution.into();
    }
    object
}

/// Clusters by round trip. An order once written is kept until a neighbour is better by more than a fifth, so that
/// noise moves no traffic; clusters not yet measured come last, by name.
fn cluster_order(key: &Key, members: &[Member], world: &FederatedWorld) -> Vec<String> {
    let written = world.services.get(key).map_or("", |s| {
        s["metadata"]["annotations"][annotations::CLUSTER_ORDER].as_str().unwrap_or_default()
    });
    let present: BTreeSet<&str> = members.iter().filter_map(|m| m.cluster.as_deref()).collect();
    let mut order: Vec<&str> = written.split(',').filter(|c| present.contains(c)).collect();
    let rtt = |cluster: &str| world.clusters.get(cluster).copied().flatten();
    let mut new: Vec<&str> = present.iter().copied().filter(|c| !order.contains(c)).collect();
    new.sort_by_key(|c| (rtt(c).is_none(), rtt(c), *c));
    let first_time = order.is_empty();
    order.extend(new);
    if !first_time {
        // A stable bubble: neighbours change places only beyond the hysteresis.
        for _ in 0..order.len() {
            for i in 1..order.len() {
                if let (Some(before), Some(after)) = (rtt(order[i - 1]), rtt(order[i]))
                    && after.as_secs_f64() < before.as_secs_f64() * (1.0 - ORDER_HYSTERESIS)
                {
                    order.swap(i - 1, i);
                }
            }
        }
    }
    order.into_iter().map(str::to_owned).collect()
}

/// The TCP ports of a Service object.
pub fn ports_of(service: &Value) -> Vec<Port> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let port = |p: &Value| {
        let protocol = p["protocol"].as_str().unwrap_or("TCP");
        (protocol == "TCP").then(|| Port {
            name: p["name"].as_str().unwrap_or_default().to_owned(),
            port: p["port"].as_u64().and_then(|n| u16::try_from(n).ok()).unwrap_or_default(),
            protocol: protocol.to_owned(),
            app_protocol: p["appProtocol"].as_str().map(str::to_owned),
        })
    };
    ports.filter_map(port).filter(|p| p.port != 0).collect()
}

/// A map of texts out of JSON; other values are left out.
pub fn string_map(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().into_iter().flatten();
    entries.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests;
