//! What the controllers know: the latest version of every object they watch.
//!
//! The store is fed by watches and by the answers to the controllers' own writes, so that a plan made right after a
//! write already sees it (no duplicate pods). Pure: no I/O, no clock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use super::object::{self, Key};

/// The kinds the controllers watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// apps/v1 Deployment.
    Deployment,
    /// apps/v1 ReplicaSet.
    ReplicaSet,
    /// apps/v1 StatefulSet.
    StatefulSet,
    /// apps/v1 DaemonSet.
    DaemonSet,
    /// apps/v1 ControllerRevision.
    ControllerRevision,
    /// batch/v1 Job.
    Job,
    /// v1 Pod.
    Pod,
    /// v1 Service.
    Service,
    /// discovery.k8s.io/v1 EndpointSlice.
    EndpointSlice,
    /// v1 Endpoints.
    Endpoints,
    /// v1 Namespace.
    Namespace,
    /// v1 Node.
    Node,
}

impl Kind {
    /// Every watched kind.
    pub(crate) const ALL: [Self; 12] = [
        Self::Deployment,
        Self::ReplicaSet,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::ControllerRevision,
        Self::Job,
        Self::Pod,
        Self::Service,
        Self::EndpointSlice,
        Self::Endpoints,
        Self::Namespace,
        Self::Node,
    ];

    /// The resource's name, with its group.
    pub(crate) fn resource(self) -> &'static str {
        match self {
            Self::Deployment => "deployments.apps",
            Self::ReplicaSet => "replicasets.apps",
            Self::StatefulSet => "statefulsets.apps",
            Self::DaemonSet => "daemonsets.apps",
            Self::ControllerRevision => "controllerrevisions.apps",
            Self::Job => "jobs.batch",
            Self::Pod => "pods",
            Self::Service => "services",
            Self::EndpointSlice => "endpointslices.discovery.k8s.io",
            Self::Endpoints => "endpoints",
            Self::Namespace => "namespaces",
            Self::Node => "nodes",
        }
    }
}

/// Uids of deleted objects remembered, so that a late answer to a write does not bring one back.
const TOMBSTONES: usize = 4096;

/// The latest known objects.
#[derive(Debug, Default)]
pub(crate) struct World {
    objects: BTreeMap<Kind, BTreeMap<Key, Arc<Value>>>,
    tombstones: VecDeque<String>,
    /// Why pods of a ReplicaSet or Job could not be created last time.
    failures: HashMap<(Kind, Key), String>,
}

impl World {
    /// Takes in an object seen in a watch or returned by a write; an older version than the known one is ignored.
    /// Returns whether anything changed.
    pub(crate) fn apply(&mut self, kind: Kind, object: Arc<Value>) -> bool {
        if self.tombstones.iter().any(|uid| uid == object::uid(&object)) {
            return false;
        }
        let known = self.objects.entry(kind).or_default();
        let key = Key::of(&object);
        let stale = known.get(&key).is_some_and(|old| {
            object::uid(old) == object::uid(&object) && object::version(old) >= object::version(&object)
        });
        if !stale {
            known.insert(key, object);
        }
        !stale
    }

    /// Forgets a deleted object.
    pub(crate) fn remove(&mut self, kind: Kind, object: &Value) {
        let key = Key::of(object);
        let uid = object::uid(object);
        if self.tombstones.len() == TOMBSTONES {
            self.tombstones.pop_front();
        }
        self.tombstones.push_back(uid.to_owned());
        self.failures.remove(&(kind, key.clone()));
        if let Some(known) = self.objects.get_mut(&kind)
            && known.get(&key).is_some_and(|old| object::uid(old) == uid)
        {
            known.remove(&key);
        }
    }

    /// Notes that an object is on its way out because its deletion was accepted, before the watch says so.
    pub(crate) fn mark_deleting(&mut self, kind: Kind, key: &Key, uid: &str) {
        if let Some(object) = self.objects.get_mut(&kind).and_then(|known| known.get_mut(key))
            && object::uid(object) == uid
            && !object::is_deleting(object)
        {
            let mut leaving = (**object).clone();
            leaving["metadata"]["deletionTimestamp"] = object["metadata"]["creationTimestamp"].clone();
            *object = Arc::new(leaving);
        }
    }

    /// One object.
    pub(crate) fn object(&self, kind: Kind, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(&kind)?.get(key)
    }

    /// The objects of a kind in a namespace, by name.
    pub(crate) fn in_namespace<'a>(
        &'a self,
        kind: Kind,
        namespace: &str,
    ) -> impl Iterator<Item = &'a Arc<Value>> + use<'a> {
        let from = Key::new(namespace, "");
        let namespace = namespace.to_owned();
        self.objects
            .get(&kind)
            .into_iter()
            .flat_map(move |known| known.range(from.clone()..))
            .take_while(move |(key, _)| key.namespace == namespace)
            .map(|(_, object)| object)
    }

    /// All objects of a kind.
    pub(crate) fn all(&self, kind: Kind) -> impl Iterator<Item = &Arc<Value>> {
        self.objects.get(&kind).into_iter().flat_map(|known| known.values())
    }

    /// Notes why pods of a controller object cannot be created, or that they can (`None`).
    pub(crate) fn note_failure(&mut self, kind: Kind, key: &Key, message: Option<String>) {
        match message {
            Some(message) => self.failures.insert((kind, key.clone()), message),
            None => self.failures.remove(&(kind, key.clone())),
        };
    }

    /// Why pods of a controller object could not be created last time.
    pub(crate) fn failure(&self, kind: Kind, key: &Key) -> Option<&str> {
        self.failures.get(&(kind, key.clone())).map(String::as_str)
    }
}
