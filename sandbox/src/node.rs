//! The node of a cluster: registers itself, takes on every pod that has no node, runs them and tells how they are.
//!
//! The cluster starts it inside the cluster's network namespace; the API's pod streams reach containers through it.

mod register;
mod session;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt as _;
use mesh_apiserver::{LocalClient, PatchKind, Selection, WatchEvent};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::container::Runtime;
use crate::controllers::object;
use crate::error::Error;
use crate::network::ClusterNetwork;
use crate::pod::{Latest, NodeContext, Note, Pod};

/// File name of the shim.
const SHIM: &str = "isthmus-sandbox-init";
/// The scheduler that this node stands in for.
const SCHEDULER: &str = "default-scheduler";

/// What a node is started from.
pub(crate) struct NodeConfig {
    /// The cluster's API, as an administrator.
    pub(crate) client: LocalClient,
    /// The cluster's network; the calling runtime's threads are in its namespace.
    pub(crate) network: ClusterNetwork,
    /// Where images' binaries and the shim are looked for, in order.
    pub(crate) bin_dirs: Vec<PathBuf>,
    /// DNS zone of the cluster.
    pub(crate) cluster_domain: String,
    /// Name of the node.
    pub(crate) name: String,
    /// The node's own directory.
    pub(crate) run_dir: PathBuf,
}

/// A running node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Node {
    context: Arc<NodeContext>,
    pods: Arc<Mutex<HashMap<String, Entry>>>,
}

/// A pod the node runs, by uid.
struct Entry {
    latest: watch::Sender<Latest>,
    pod: Arc<Pod>,
    task: JoinHandle<()>,
}

impl Node {
    /// Starts the node. Its pods end with `token`, or with the process.
    ///
    /// # Errors
    /// When the shim is missing, or namespaces and directories cannot be made.
    pub(crate) fn start(config: NodeConfig, token: &CancellationToken) -> Result<Self, Error> {
        let NodeConfig { client, network, bin_dirs, cluster_domain, name, run_dir } = config;
        let shim = find_shim(&bin_dirs)?;
        let runtime = Runtime::start(shim, &run_dir)?;
        let (changed, config_changes) = watch::channel(0);
        let context = Arc::new(NodeContext {
            client,
            runtime,
            network,
            name,
            bin_dirs,
            cluster_domain,
            log_dir: run_dir.join("logs"),
            config_changes,
            events: crate::pod::Events::default(),
        });
        let node = Self { context, pods: Arc::default() };
        let main = node.clone();
        let until = token.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = main.run(changed) => {}
                () = until.cancelled() => {}
            }
            main.drop_pods();
        });
        Ok(node)
    }

    async fn run(&self, changed: watch::Sender<u64>) {
        tokio::join!(
            register::keep(&self.context),
            self.follow_pods(),
            self.follow_configuration("configmaps", &changed),
            self.follow_configuration("secrets", &changed),
        );
    }

    /// Ends every pod's tasks; their processes end with the handles.
    fn drop_pods(&self) {
        for (_, entry) in self.pods.lock().drain() {
            entry.task.abort();
        }
    }

    /// A pod on this node by name; the latest of that name.
    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let pods = self.pods.lock();
        let named = pods.values().filter(|entry| {
            let latest = entry.latest.borrow();
            !latest.is_gone
                && object::namespace(&latest.object) == namespace
                && object::name(&latest.object) == name
        });
        named.map(|entry| entry.pod.clone()).next()
    }

    async fn follow_configuration(&self, resource: &str, changed: &watch::Sender<u64>) {
        match self.context.client.watch(resource, &Selection::default()) {
            Ok(mut changes) => {
                while changes.next().await.is_some() {
                    changed.send_modify(|count| *count += 1);
                }
            }
            Err(error) => tracing::error!(%error, resource, "cannot watch"),
        }
    }

    async fn follow_pods(&self) {
        let mut changes = match self.context.client.watch("pods", &Selection::default()) {
            Ok(changes) => changes,
            Err(error) => return tracing::error!(%error, "cannot watch pods"),
        };
        while let Some(change) = changes.next().await {
            match change {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => self.see(pod),
                WatchEvent::Deleted(pod) => self.lose(pod),
            }
        }
    }

    fn see(&self, pod: Arc<Value>) {
        match object::text(&pod, "/spec/nodeName") {
            "" => self.bind(&pod),
            name if name == self.context.name => self.take_on(pod),
            _ => {}
        }
    }

    fn take_on(&self, pod: Arc<Value>) {
        let mut pods = self.pods.lock();
        if let Some(entry) = pods.get(object::uid(&pod)) {
            entry.latest.send_replace(Latest { object: pod, is_gone: false });
            return;
        }
        if matches!(object::text(&pod, "/status/phase"), "Succeeded" | "Failed") {
            return;
        }
        let uid = object::uid(&pod).to_owned();
        let (latest, receiver) = watch::channel(Latest { object: pod, is_gone: false });
        let pod = Arc::new(Pod::new(self.context.clone(), receiver));
        let task = tokio::spawn(crate::pod::run(pod.clone()));
        pods.insert(uid, Entry { latest, pod, task });
    }

    fn lose(&self, pod: Arc<Value>) {
        let mut pods = self.pods.lock();
        if let Some(entry) = pods.get(object::uid(&pod)) {
            entry.latest.send_replace(Latest { object: pod, is_gone: true });
        }
        pods.retain(|_, entry| !entry.task.is_finished());
    }

    /// The whole scheduler: there is one node, and it takes every pod that may be scheduled.
    fn bind(&self, pod: &Arc<Value>) {
        let scheduler = object::text(pod, "/spec/schedulerName");
        let is_gated = !object::items(pod, "/spec/schedulingGates").is_empty();
        if object::is_deleting(pod) || is_gated || !matches!(scheduler, "" | SCHEDULER) {
            return;
        }
        let (context, pod) = (self.context.clone(), pod.clone());
        tokio::spawn(async move {
            let (namespace, name) = (object::namespace(&pod), object::name(&pod));
            let patch = json!({
                "metadata": { "uid": object::uid(&pod) }, "spec": { "nodeName": context.name },
            });
            match context.client.patch("pods", namespace, name, "", PatchKind::Merge, patch).await {
                Ok(_) => {
                    let text = format!("Successfully assigned {namespace}/{name} to {}", context.name);
                    context.tell(&pod, None, Note::normal("Scheduled", text));
                }
                Err(error) => tracing::debug!(%error, namespace, name, "pod not bound"),
            }
        });
    }
}

/// The shim: beside this program, or with the images.
fn find_shim(bin_dirs: &[PathBuf]) -> Result<PathBuf, Error> {
    let own = std::env::current_exe().ok().and_then(|exe| exe.parent().map(PathBuf::from));
    let places: Vec<PathBuf> = own.into_iter().chain(bin_dirs.iter().cloned()).collect();
    let found = places.iter().map(|place| place.join(SHIM)).find(|path| path.is_file());
    found.ok_or_else(|| {
        let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        Error::Refused(format!(
            "{SHIM} is in none of {} (build it: cargo build -p mesh-sandbox)",
            places.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests;
