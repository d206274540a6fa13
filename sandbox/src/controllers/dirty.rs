//! Which plans a change calls for. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

use super::endpoints::SERVICE_NAME;
use super::object::{self, Key};
use super::world::{Kind, World};

/// Something that is planned on its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Target {
    /// One Deployment.
    Deployment(Key),
    /// One ReplicaSet.
    ReplicaSet(Key),
    /// One StatefulSet.
    StatefulSet(Key),
    /// One DaemonSet.
    DaemonSet(Key),
    /// One Job.
    Job(Key),
    /// The endpoints of one Service.
    Endpoints(Key),
    /// The addresses of all load balancers.
    LoadBalancers,
}

/// The targets touched by a change of an object from `old` (if it was known) to `new` (if it still exists).
pub(crate) fn targets(
    world: &World,
    kind: Kind,
    old: Option<&Value>,
    new: Option<&Value>,
) -> BTreeSet<Target> {
    let mut touched = BTreeSet::new();
    for object in old.into_iter().chain(new) {
        let key = Key::of(object);
        match kind {
            Kind::Deployment => {
                touched.insert(Target::Deployment(key));
            }
            Kind::StatefulSet => {
                touched.insert(Target::StatefulSet(key));
            }
            Kind::DaemonSet => {
                touched.insert(Target::DaemonSet(key));
            }
            Kind::Job => {
                touched.insert(Target::Job(key));
            }
            Kind::ReplicaSet => {
                touch_owner(world, &[Kind::Deployment], object, &mut touched);
                touched.insert(Target::ReplicaSet(key));
            }
            Kind::ControllerRevision => touch_owner(world, &[], object, &mut touched),
            Kind::Pod => {
                let owners = [Kind::ReplicaSet, Kind::StatefulSet, Kind::DaemonSet];
                touch_owner(world, &owners, object, &mut touched);
                touch_services(world, object, &mut touched);
                if new.is_none() || object::is_deleting(object) {
                    touch_grandparent(world, object, &mut touched);
                }
            }
            Kind::Service => {
                touched.insert(Target::Endpoints(key));
                touched.insert(Target::LoadBalancers);
            }
            Kind::EndpointSlice => {
                if let Some(service) =
                    object::map(object, "/metadata/labels").and_then(|labels| labels.get(SERVICE_NAME))
                {
                    let name = service.as_str().unwrap_or_default();
                    touched.insert(Target::Endpoints(Key::new(&key.namespace, name)));
                }
            }
            Kind::Endpoints => {
                touched.insert(Target::Endpoints(key));
            }
            Kind::Node => {
                touched.extend(world.all(Kind::DaemonSet).map(|set| Target::DaemonSet(Key::of(set))))
            }
            Kind::Namespace => {}
        }
    }
    touched
}

/// The controller of an object, or all those of some kinds that could adopt it.
fn touch_owner(world: &World, owner_kinds: &[Kind], object: &Value, touched: &mut BTreeSet<Target>) {
    let namespace = object::namespace(object);
    if let Some(owner) = object::controller(object) {
        let key = Key::new(namespace, object::text(owner, "/name"));
        match object::text(owner, "/kind") {
            "Deployment" => touched.insert(Target::Deployment(key)),
            "ReplicaSet" => touched.insert(Target::ReplicaSet(key)),
            "StatefulSet" => touched.insert(Target::StatefulSet(key)),
            "DaemonSet" => touched.insert(Target::DaemonSet(key)),
            "Job" => touched.insert(Target::Job(key)),
            _ => false,
        };
        return;
    }
    for kind in owner_kinds {
        for owner in world.in_namespace(*kind, namespace) {
            if object::selects(owner.pointer("/spec/selector"), object) {
                let key = Key::of(owner);
                touched.insert(match kind {
                    Kind::Deployment => Target::Deployment(key),
                    Kind::StatefulSet => Target::StatefulSet(key),
                    Kind::DaemonSet => Target::DaemonSet(key),
                    _ => Target::ReplicaSet(key),
                });
            }
        }
    }
}

fn touch_services(world: &World, pod: &Value, touched: &mut BTreeSet<Target>) {
    for service in world.in_namespace(Kind::Service, object::namespace(pod)) {
        if object::selects_plainly(object::map(service, "/spec/selector"), pod) {
            touched.insert(Target::Endpoints(Key::of(service)));
        }
    }
}

/// The Deployment of a pod that goes: `Recreate` waits for it.
fn touch_grandparent(world: &World, pod: &Value, touched: &mut BTreeSet<Target>) {
    if let Some(owner) = object::controller(pod) {
        let key = Key::new(object::namespace(pod), object::text(owner, "/name"));
        if let Some(set) = world.object(Kind::ReplicaSet, &key) {
            touch_owner(world, &[Kind::Deployment], set, touched);
        }
    }
}
