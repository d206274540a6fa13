//! What one link wants of its own cluster: pure, from a [`LinkWorld`] to actions and to the words of its status.

use crate::filter::carried;
use crate::model::{Action, Gateway, Key, LinkConfig, LinkWorld, Outcome, RemoteService};
use crate::objects;
use mesh_types::{federated_name, mirror_name};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What to do, and what to say of it.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Deletes last.
    pub actions: Vec<Action>,
    /// Exported Services.
    pub mirrors: Vec<Outcome>,
    /// Members of federated services.
    pub members: Vec<Outcome>,
}

/// Objects as they were last applied in this process, to tell a change of ours from what others added.
pub type Applied = BTreeMap<Key, Value>;

/// Compares what should be with what is. Nothing is written before both sides are listed completely, nothing is
/// deleted on a guess, and endpoints wait for the first probe of every gateway address.
pub fn plan(world: &LinkWorld, applied_services: &Applied, applied_slices: &Applied) -> Plan {
    let mut plan = Plan::default();
    if !world.remote_synced || !world.local_synced {
        return plan;
    }
    let mut wanted = Wanted::default();
    for service in world.remote.values() {
        if service.exported_by(&world.link.exported) {
            plan.mirrors.push(wanted.mirror(world, service));
        }
        if world.link.federated.matches(&service.labels) {
            plan.members.push(wanted.member(world, service));
        }
    }
    if world.create_namespaces {
        let missing: BTreeSet<&str> = world.remote.keys().map(|k| k.namespace.as_str()).collect();
        let missing = missing.into_iter().filter(|n| !world.namespaces.contains(*n));
        plan.actions.extend(missing.map(|n| Action::ApplyNamespace(objects::namespace(&world.link, n))));
    }
    for (key, object) in &wanted.services {
        if differs(object, world.services.get(key), applied_services.get(key)) {
            plan.actions.push(Action::ApplyService(object.clone()));
        }
    }
    if world.gateway.settled() {
        for (key, object) in &wanted.slices {
            if differs(object, world.slices.get(key), applied_slices.get(key)) {
                plan.actions.push(Action::ApplySlice(object.clone()));
            }
        }
    }
    let stale = world.slices.keys().filter(|k| !wanted.slices.contains_key(k));
    plan.actions.extend(stale.map(|k| Action::DeleteSlice(k.clone())));
    let stale =
        world.services.keys().filter(|k| !wanted.services.contains_key(k) && !wanted.kept.contains(k));
    plan.actions.extend(stale.map(|k| Action::DeleteService(k.clone())));
    plan
}

#[derive(Default)]
struct Wanted {
    services: BTreeMap<Key, Value>,
    slices: BTreeMap<Key, Value>,
    /// Left as they are: wanted, but not to be written now.
    kept: BTreeSet<Key>,
}

impl Wanted {
    fn mirror(&mut self, world: &LinkWorld, service: &RemoteService) -> Outcome {
        let (name, shortened) = mirror_name(&service.key.name, &world.link.cluster);
        let local = Key::new(&service.key.namespace, name);
        if let Some(refused) = refusal(world, service) {
            self.kept.insert(local);
            return refused;
        }
        let labels = carried(&service.labels, &world.link.excluded_labels);
        let annotations = carried(&service.annotations, &world.link.excluded_annotations);
        self.services.insert(
            local.clone(),
            objects::mirror_service(&world.link, service, &local, labels, annotations),
        );
        let slice = objects::mirror_slice(&world.link, service, &local, &world.gateway);
        self.slices.insert(Key::of(&slice), slice);
        outcome(world, service, local, shortened)
    }

    fn member(&mut self, world: &LinkWorld, service: &RemoteService) -> Outcome {
        let (federated, shortened) = federated_name(&service.key.name);
        let (slice, _) = mirror_name(&federated, &world.link.cluster);
        let local = Key::new(&service.key.namespace, slice);
        if let Some(refused) = refusal(world, service) {
            return refused;
        }
        let object = objects::member_slice(&world.link, service, &local, &federated, &world.gateway);
        self.slices.insert(Key::of(&object), object);
        outcome(world, service, Key::new(&service.key.namespace, federated), shortened)
    }
}

fn refusal(world: &LinkWorld, service: &RemoteService) -> Option<Outcome> {
    let refuse = |reason: &'static str, message: String| {
        Some(Outcome { remote: service.key.clone(), local: None, mirrored: false, reason, message })
    };
    if service.headless {
        let text = "headless services have no single address to stand behind a gateway; export a service with a cluster IP";
        return refuse("InvalidService", text.to_owned());
    }
    if service.external_name {
        return refuse("InvalidService", "services of type ExternalName cannot be exported".to_owned());
    }
    if service.ports.is_empty() {
        return refuse("InvalidService", "the service has no TCP port".to_owned());
    }
    let namespace = &service.key.namespace;
    if !world.namespaces.contains(namespace) {
        return refuse(
            "MissingNamespace",
            format!("create namespace {namespace} here to mirror this service"),
        );
    }
    None
}

fn outcome(world: &LinkWorld, service: &RemoteService, local: Key, shortened: bool) -> Outcome {
    let (reason, message) = if world.gateway.addresses.is_empty() {
        ("GatewayUnknown", format!("cluster {} publishes no gateway address yet", world.link.cluster))
    } else if shortened {
        let text = format!("the name would be over 63 characters and was shortened to {}", local.name);
        ("NameShortened", text)
    } else {
        ("Mirrored", format!("{} of cluster {} is {local} here", service.key, world.link.cluster))
    };
    Outcome { remote: service.key.clone(), local: Some(local), mirrored: true, reason, message }
}

/// Whether `wanted` must be applied: it changed since it was last applied, or the live object lacks part of it.
pub(crate) fn differs(wanted: &Value, live: Option<&Arc<Value>>, applied: Option<&Value>) -> bool {
    match live {
        None => true,
        Some(live) => applied != Some(wanted) || !covers(live, wanted),
    }
}

/// Whether `live` holds everything that `wanted` says; lists must agree in length and order.
fn covers(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(k, w)| live.get(k).is_some_and(|l| covers(l, w)))
        }
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(l, w)| covers(l, w))
        }
        (live, wanted) => live == wanted,
    }
}

/// The endpoints of a slice: one for each gateway address, ready when it answers and there is something behind it.
pub(crate) fn gateway_endpoints(gateway: &Gateway, ready_behind: u32) -> Value {
    let endpoints = gateway.used().map(|address| {
        let ready = address.alive == Some(true) && ready_behind > 0;
        serde_json::json!({"addresses": [address.ip.to_string()], "conditions": {"ready": ready}})
    });
    endpoints.collect()
}

/// The name a Service has in its own cluster.
pub(crate) fn remote_fqdn(link: &LinkConfig, service: &RemoteService) -> String {
    format!("{}.{}.svc.{}", service.key.name, service.key.namespace, link.target_domain)
}

#[cfg(test)]
mod tests;
