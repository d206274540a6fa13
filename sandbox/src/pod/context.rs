//! What all pods of a node share, and the events they leave.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use indexmap::IndexMap;
use jiff::Timestamp;
use mesh_apiserver::LocalClient;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::container::Runtime;
use crate::controllers::object;
use crate::network::ClusterNetwork;

/// Who writes events and statuses.
const COMPONENT: &str = "kubelet";
/// Equal events of a pod are counted up rather than written anew; this many are remembered for a node.
const REMEMBERED_EVENTS: usize = 4096;

/// The node, as its pods need it.
pub(crate) struct NodeContext {
    /// The cluster's API.
    pub(crate) client: LocalClient,
    /// Starts processes.
    pub(crate) runtime: Runtime,
    /// The node's network.
    pub(crate) network: ClusterNetwork,
    /// Name of the node.
    pub(crate) name: String,
    /// Where images' binaries are looked for, in order.
    pub(crate) bin_dirs: Vec<PathBuf>,
    /// DNS zone of the cluster.
    pub(crate) cluster_domain: String,
    /// Logs of all containers.
    pub(crate) log_dir: PathBuf,
    /// Counts changes of ConfigMaps and Secrets.
    pub(crate) config_changes: watch::Receiver<u64>,
    /// Number of the latest event, and how often each was seen.
    pub(crate) events: Events,
}

/// Events already written, so that repetitions are counted.
#[derive(Debug, Default)]
pub(crate) struct Events {
    number: AtomicU64,
    seen: Mutex<IndexMap<Said, Counted>>,
}

/// The pod's uid, reason and message.
type Said = (String, &'static str, String);
/// The event's name and its count.
type Counted = (String, u64);

/// Something worth telling about a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    /// Type `Warning` rather than `Normal`.
    pub(crate) is_warning: bool,
    /// Machine-readable reason.
    pub(crate) reason: &'static str,
    /// For people.
    pub(crate) message: String,
}

impl Note {
    /// An event of type `Normal`.
    pub(crate) fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self { is_warning: false, reason, message: message.into() }
    }

    /// An event of type `Warning`.
    pub(crate) fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self { is_warning: true, reason, message: message.into() }
    }
}

impl NodeContext {
    /// The node's address.
    pub(crate) fn ip(&self) -> Ipv4Addr {
        self.network.net().node_ip()
    }

    /// Writes an event in the background. `container` is the field path's container, if it is about one.
    pub(crate) fn tell(&self, pod: &Value, container: Option<&str>, note: Note) {
        let client = self.client.clone();
        let namespace = object::namespace(pod).to_owned();
        let key = (object::uid(pod).to_owned(), note.reason, note.message.clone());
        let now = Timestamp::now();
        let mut seen = self.events.seen.lock();
        if let Some((name, count)) = seen.get_mut(&key) {
            *count += 1;
            let (name, patch) =
                (name.clone(), json!({ "count": *count, "lastTimestamp": object::stamp(now) }));
            tokio::spawn(async move {
                let merge = mesh_apiserver::PatchKind::Merge;
                if let Err(error) = client.patch("events", &namespace, &name, "", merge, patch).await {
                    tracing::debug!(%error, "event not counted");
                }
            });
            return;
        }
        let number = self.events.number.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}.{:x}{number:04x}", object::name(pod), now.as_microsecond());
        seen.insert(key, (name.clone(), 1));
        if seen.len() > REMEMBERED_EVENTS {
            seen.shift_remove_index(0);
        }
        drop(seen);
        let event = event(pod, container, &note, &name, &self.name, now);
        tokio::spawn(async move {
            if let Err(error) = client.create("events", event).await {
                tracing::debug!(%error, "event not written");
            }
        });
    }
}

fn event(pod: &Value, container: Option<&str>, note: &Note, name: &str, node: &str, now: Timestamp) -> Value {
    let mut involved = json!({
        "apiVersion": "v1", "kind": "Pod", "namespace": object::namespace(pod), "name": object::name(pod),
        "uid": object::uid(pod), "resourceVersion": object::text(pod, "/metadata/resourceVersion"),
    });
    if let Some(container) = container {
        involved["fieldPath"] = format!("spec.containers{{{container}}}").into();
    }
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": { "namespace": object::namespace(pod), "name": name },
        "involvedObject": involved,
        "type": if note.is_warning { "Warning" } else { "Normal" },
        "reason": note.reason, "message": note.message, "count": 1,
        "firstTimestamp": object::stamp(now), "lastTimestamp": object::stamp(now),
        "source": { "component": COMPONENT, "host": node },
        "reportingComponent": COMPONENT, "reportingInstance": node,
    })
}
