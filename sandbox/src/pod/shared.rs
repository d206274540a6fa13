//! One pod as its tasks share it.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use mesh_apiserver::PatchKind;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::context::{NodeContext, Note};
use super::fields::Addresses;
use super::record::{self, Record};
use super::volumes::Volumes;
use crate::container::Process;
use crate::container::spec::Launch;
use crate::controllers::object;
use crate::network::{NetNs, PodNetwork};

/// The API's latest word on a pod.
#[derive(Debug, Clone)]
pub(crate) struct Latest {
    /// The object; its last state when it is gone.
    pub(crate) object: Arc<Value>,
    /// It has been removed from the API.
    pub(crate) is_gone: bool,
}

/// A pod on this node.
pub(crate) struct Pod {
    /// The node.
    pub(crate) context: Arc<NodeContext>,
    /// What its containers write and mount.
    pub(super) volumes: Mutex<Volumes>,
    latest: watch::Receiver<Latest>,
    record: Mutex<Record>,
    version: watch::Sender<u64>,
    place: OnceLock<Place>,
    running: Mutex<HashMap<String, Running>>,
    /// The status last written; held while writing, so that writes keep their order.
    written: tokio::sync::Mutex<Value>,
}

/// A pod's network.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) netns: NetNs,
    pub(super) ip: Ipv4Addr,
    /// Absent for pods on the node's own network.
    pub(super) network: Option<PodNetwork>,
}

/// A container that runs.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    /// Its first process.
    pub(crate) process: Arc<Process>,
    /// What it was started with; processes beside it get the same rights and environment.
    pub(crate) launch: Launch,
}

impl Pod {
    /// A pod that the node takes on.
    pub(crate) fn new(context: Arc<NodeContext>, latest: watch::Receiver<Latest>) -> Self {
        let object = latest.borrow().object.clone();
        let record = Record::new(&object, context.ip(), Timestamp::now());
        Self {
            volumes: Mutex::new(Volumes::new(object::uid(&object))),
            record: Mutex::new(record),
            version: watch::Sender::new(1),
            place: OnceLock::new(),
            running: Mutex::default(),
            written: tokio::sync::Mutex::default(),
            context,
            latest,
        }
    }

    /// The object as last seen.
    pub(crate) fn object(&self) -> Arc<Value> {
        self.latest.borrow().object.clone()
    }

    /// The API's word on the pod, as it changes.
    pub(super) fn latest(&self) -> watch::Receiver<Latest> {
        self.latest.clone()
    }

    /// Reads the record.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Record) -> T) -> T {
        read(&self.record.lock())
    }

    /// Changes the record; the status follows.
    pub(super) fn update(&self, change: impl FnOnce(&mut Record)) {
        change(&mut self.record.lock());
        self.version.send_modify(|version| *version += 1);
    }

    /// Waits until the record is as `reached` says.
    pub(crate) async fn until(&self, reached: impl Fn(&Record) -> bool) {
        let mut version = self.version.subscribe();
        while !self.read(&reached) {
            // The sender lives as long as `self`.
            let _ = version.changed().await;
        }
    }

    /// Changes of the record, for the status writer.
    pub(super) fn versions(&self) -> watch::Receiver<u64> {
        let mut versions = self.version.subscribe();
        versions.mark_changed();
        versions
    }

    /// Gives the pod its network, once.
    pub(super) fn settle(&self, place: Place) {
        let ip = place.ip;
        if self.place.set(place).is_ok() {
            self.update(|record| record.ip = Some(ip));
        }
    }

    /// The pod's network, if it has one yet.
    pub(super) fn place(&self) -> Option<&Place> {
        self.place.get()
    }

    /// The pod's network namespace, if it has one yet.
    pub(crate) fn netns(&self) -> Option<NetNs> {
        self.place.get().map(|place| place.netns.clone())
    }

    /// The pod's and the node's address.
    pub(super) fn addresses(&self) -> Addresses {
        let host = self.context.ip();
        Addresses { pod: self.place.get().map_or(host, |place| place.ip), host }
    }

    /// Where the logs of the pod's containers are.
    pub(crate) fn log_dir(&self) -> PathBuf {
        let pod = self.object();
        let name = format!("{}_{}_{}", object::namespace(&pod), object::name(&pod), object::uid(&pod));
        self.context.log_dir.join(name)
    }

    /// A running container.
    pub(crate) fn running(&self, container: &str) -> Option<Running> {
        self.running.lock().get(container).cloned()
    }

    /// Notes that a container runs, or no longer does.
    pub(super) fn set_running(&self, container: &str, running: Option<Running>) {
        let mut all = self.running.lock();
        match running {
            Some(running) => drop(all.insert(container.to_owned(), running)),
            None => drop(all.remove(container)),
        }
    }

    /// Writes an event about the pod or one of its containers.
    pub(super) fn tell(&self, container: Option<&str>, note: Note) {
        self.context.tell(&self.object(), container, note);
    }

    /// Writes the status if it is not what was last written.
    pub(super) async fn write_status(&self) {
        let mut written = self.written.lock().await;
        let pod = self.object();
        let status = self.read(|record| record::status(record, &pod, Timestamp::now()));
        if *written == status {
            return;
        }
        let patch = object::status_patch(&pod, status.clone());
        let uid_guarded = json!({ "metadata": { "uid": object::uid(&pod) }, "status": patch["status"] });
        let (namespace, name) = (object::namespace(&pod), object::name(&pod));
        let client = &self.context.client;
        match client.patch("pods", namespace, name, "status", PatchKind::Merge, uid_guarded).await {
            Ok(_) => *written = status,
            Err(error) => tracing::debug!(%error, namespace, name, "pod status not written"),
        }
    }
}
