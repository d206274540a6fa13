//! The process: shared watches, one task a link, one for federated services, each under a Lease.

use crate::federated;
use crate::link::{Accepted, accept};
use crate::local::Local;
use crate::metrics::Metrics;
use crate::model::Key;
use crate::status;
use crate::store::Bell;
use crate::task::LinkTask;
use crate::writer::{FIELD_MANAGER, Writer, now};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use mesh_kube::{Client, Lease, LeaseTiming};
use mesh_metrics::Registry;
use mesh_runtime::Shutdown;
use mesh_runtime::admin::AdminState;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The Lease of the task that writes federated Services.
const FEDERATED_LEASE: &str = "local-service-mirror-write";

/// Federated Services are planned at least this often.
const EVERY: Duration = Duration::from_secs(30);

/// Settings of the process.
#[derive(Debug, Clone)]
pub struct Config {
    /// Namespace of Links, their Secrets and the Leases.
    pub namespace: String,
    /// Namespace of the control plane.
    pub control_plane_namespace: String,
    /// Unique among replicas: the pod's name.
    pub holder: String,
    /// Whether namespaces that exported Services need are made here.
    pub create_namespaces: bool,
}

/// Runs until drained. `admin` is ready once the own cluster has been listed.
pub async fn run(config: Config, client: Client, registry: Registry, admin: AdminState, shutdown: Shutdown) {
    let bell = Bell::default();
    let local = Local::start(&client, &config.namespace, &config.control_plane_namespace, &bell, &shutdown);
    let process =
        Process { config, client, local, metrics: Metrics::new(&registry), shutdown: shutdown.clone() };
    drop(shutdown.spawn("federated", process.clone().federated()));
    process.links(bell, admin).await;
}

#[derive(Clone)]
struct Process {
    config: Config,
    client: Client,
    local: Local,
    metrics: Metrics,
    shutdown: Shutdown,
}

/// A link at work, and what it was made from.
struct Running {
    made_from: Result<Accepted, String>,
    stop: CancellationToken,
}

impl Process {
    /// Starts, restarts and stops link tasks as Links and their Secrets come, change and go.
    async fn links(&self, bell: Bell, admin: AdminState) {
        let mut running: BTreeMap<Key, Running> = BTreeMap::new();
        loop {
            if self.local.is_synced() {
                admin.set_ready(true);
                self.adjust(&mut running).await;
            }
            tokio::select! {
                () = bell.rung() => {}
                () = self.shutdown.draining() => break,
            }
        }
        running.values().for_each(|r| r.stop.cancel());
    }

    async fn adjust(&self, running: &mut BTreeMap<Key, Running>) {
        let links = self.local.links.all();
        running.retain(|key, link| {
            let kept = links.contains_key(key);
            if !kept {
                info!(link = %key, "link removed");
                link.stop.cancel();
            }
            kept
        });
        for (key, link) in links {
            let name = link["spec"]["clusterCredentialsSecret"].as_str().unwrap_or_default();
            let secret = self.local.secret(&Key::new(&key.namespace, name));
            let made_from = accept(&link, secret.as_deref());
            if running.get(&key).is_some_and(|r| r.made_from == made_from) {
                continue;
            }
            if let Some(old) = running.remove(&key) {
                old.stop.cancel();
            }
            let stop = self.shutdown.token().child_token();
            match &made_from {
                Ok(accepted) => self.start(accepted.clone(), stop.clone()),
                Err(error) => self.refuse(&key, error).await,
            }
            running.insert(key, Running { made_from, stop });
        }
    }

    fn start(&self, accepted: Accepted, stop: CancellationToken) {
        let process = self.clone();
        drop(self.shutdown.spawn("link", async move {
            let lease = format!("service-mirror-write-{}", accepted.config.cluster);
            let led = process.clone();
            led.led(&lease, stop, move || process.clone().link(accepted.clone()).boxed()).await;
        }));
    }

    async fn link(self, accepted: Accepted) {
        let bell = self.local.listen();
        let metrics = self.metrics.link(accepted.config.cluster.as_str());
        let create_namespaces = self.config.create_namespaces;
        let (local, client) = (self.local, self.client);
        LinkTask { accepted, local, client, bell, metrics, create_namespaces }.run().await;
    }

    async fn refuse(&self, key: &Key, error: &str) {
        warn!(link = %key, error, "link refused");
        let before = self.local.link_status(key);
        let object = json!({
            "apiVersion": "multicluster.linkerd.io/v1alpha3", "kind": "Link",
            "metadata": {"name": key.name, "namespace": key.namespace},
            "status": status::refused(error, &before, &now()),
        });
        if let Err(error) = mesh_kube::apply_status(&self.client, FIELD_MANAGER, &object).await {
            warn!(link = %key, %error, "status not written");
        }
    }

    async fn federated(self) {
        let stop = self.shutdown.token().child_token();
        let process = self.clone();
        self.led(FEDERATED_LEASE, stop, move || process.clone().federate().boxed()).await;
    }

    async fn federate(self) {
        let bell = self.local.listen();
        let mut writer = Writer::new(self.client.clone());
        loop {
            let actions = federated::plan(&self.local.federated_world(), &writer.services);
            let failed = writer.carry_out(&actions).await;
            let pause = if failed { Duration::from_secs(1) } else { EVERY };
            tokio::select! {
                () = bell.rung() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Runs `work` while `lease` is held, until `stop`.
    async fn led(
        &self,
        lease: &str,
        stop: CancellationToken,
        work: impl Fn() -> BoxFuture<'static, ()> + Send,
    ) {
        let (held, mut holds) = watch::channel(false);
        let lease = Lease::new(
            self.client.clone(),
            &self.config.namespace,
            lease,
            &self.config.holder,
            LeaseTiming::default(),
        );
        let elect = lease.run(&held, stop.cancelled());
        let follow = async {
            loop {
                if holds.wait_for(|h| *h).await.is_err() {
                    return;
                }
                tokio::select! {
                    () = work() => {}
                    _ = lost(&held) => {}
                }
            }
        };
        tokio::select! {
            () = elect => {}
            () = follow => {}
        }
    }
}

async fn lost(held: &watch::Sender<bool>) {
    let mut holds = held.subscribe();
    // The sender lives in the caller, so waiting cannot fail.
    drop(holds.wait_for(|h| !*h).await);
}
