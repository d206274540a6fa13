//! One link at work: watch the linked cluster, probe its gateway, make the own cluster agree, say how it goes.

use crate::link::{Accepted, GatewaySource};
use crate::local::Local;
use crate::metrics::LinkMetrics;
use crate::model::{Gateway, GatewayAddress, Key, LinkWorld};
use crate::plan::{Plan, plan};
use crate::probe::{ProbeState, probe};
use crate::remote::{Published, Remote, resolve};
use crate::status::{self, Observed};
use crate::store::Bell;
use crate::writer::{FIELD_MANAGER, Writer};
use futures::FutureExt as _;
use mesh_kube::Client;
use mesh_kube::link::LinkStatus;
use mesh_tls::TrustBundle;
use mesh_types::labels;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, info, warn};

/// A plan is made at least this often, so that the ages in the status move on.
const EVERY: Duration = Duration::from_secs(10);

/// Changes that come together are planned together.
const SETTLE: Duration = Duration::from_millis(5);

/// Works on one link until dropped.
pub(crate) struct LinkTask {
    pub(crate) accepted: Accepted,
    pub(crate) local: Local,
    pub(crate) client: Client,
    pub(crate) bell: Bell,
    pub(crate) metrics: LinkMetrics,
    pub(crate) create_namespaces: bool,
}

type Probes = Arc<Mutex<(u16, BTreeMap<IpAddr, ProbeState>)>>;

impl LinkTask {
    pub(crate) async fn run(self) {
        let remote_client = match mesh_kube::connect_kubeconfig(&self.accepted.kubeconfig).await {
            Ok(client) => client,
            Err(error) => return self.refuse(&error.to_string()).await,
        };
        info!(cluster = %self.accepted.config.cluster, "link begins");
        let (remote, follows) = Remote::new(&remote_client, &self.accepted, &self.bell);
        let remote = Arc::new(remote);
        let probes = Probes::default();
        let reconcile = self.reconcile(Arc::clone(&remote), Arc::clone(&probes));
        let follow_all = futures::future::join_all(follows);
        tokio::join!(reconcile, self.probe(remote, probes), follow_all);
    }

    /// Says why this link cannot be worked with, and waits to be replaced.
    async fn refuse(&self, error: &str) {
        let before = self.local.link_status(&self.accepted.config.key);
        let status = status::refused(error, &before, &crate::writer::now());
        write_status(&self.client, &self.accepted.config.key, &status).await;
        std::future::pending().await
    }

    /// Probes each published address at every period, and at once when the addresses change.
    async fn probe(&self, remote: Arc<Remote>, probes: Probes) {
        let mut known = Published::default();
        loop {
            let published = match &self.accepted.gateway {
                GatewaySource::Pinned { hosts, port } => Published { hosts: hosts.clone(), port: *port },
                GatewaySource::Service(_) => remote.published().unwrap_or_default(),
            };
            let ips = resolve(&published.hosts).await;
            {
                let mut state = probes.lock();
                state.0 = published.port;
                state.1.retain(|ip, _| ips.contains(ip));
                for ip in &ips {
                    state.1.entry(*ip).or_default();
                }
            }
            known.clone_from(&published);
            if let Some(bundle) = self.bundle() {
                let all = ips.iter().map(|ip| self.probe_one(*ip, published.port, &bundle, &probes).boxed());
                futures::future::join_all(all).await;
            }
            self.bell.ring();
            self.pause(&remote, &known).await;
        }
    }

    async fn probe_one(&self, ip: IpAddr, port: u16, bundle: &TrustBundle, probes: &Probes) {
        let config = &self.accepted.config;
        let outcome = probe(ip, port, config, bundle).await;
        self.metrics.probed(&outcome);
        let mut state = probes.lock();
        if let Some(state) = state.1.get_mut(&ip) {
            state.note(outcome, config.probe_failures);
        }
    }

    /// Until the next period, or until the gateway's Service publishes something else.
    async fn pause(&self, remote: &Remote, known: &Published) {
        let deadline = tokio::time::Instant::now() + self.accepted.config.probe_period;
        // Cheap enough to look at: one map lookup.
        const LOOK: Duration = Duration::from_millis(50);
        while tokio::time::Instant::now() < deadline {
            tokio::time::sleep(LOOK.min(self.accepted.config.probe_period)).await;
            if remote.published().is_some_and(|p| p != *known) {
                return;
            }
        }
    }

    fn bundle(&self) -> Option<TrustBundle> {
        let pem = self.local.trust_bundle()?;
        TrustBundle::from_pem(&pem).map_err(|error| warn!(%error, "trust anchors")).ok()
    }

    async fn reconcile(&self, remote: Arc<Remote>, probes: Probes) {
        let mut writer = Writer::new(self.client.clone());
        let mut last: Option<LinkStatus> = None;
        loop {
            let (gateway, addresses) = gateway(&probes);
            let world = self.world(&remote, gateway);
            let plan = plan(&world, &writer.services, &writer.slices);
            self.metrics.observe(&world);
            let failed = writer.carry_out(&plan.actions).await;
            last = Some(self.tell(&remote, &world, addresses, plan, last).await);
            let pause = if failed { Duration::from_secs(1) } else { EVERY };
            tokio::select! {
                () = self.bell.rung() => tokio::time::sleep(SETTLE).await,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn world(&self, remote: &Remote, gateway: Gateway) -> LinkWorld {
        let cluster = self.accepted.config.cluster.as_str();
        let ours = |objects: BTreeMap<Key, Arc<Value>>| -> BTreeMap<Key, Arc<Value>> {
            let own = |o: &Value| o["metadata"]["labels"][labels::CLUSTER_NAME] == cluster;
            objects.into_iter().filter(|(_, o)| own(o)).collect()
        };
        LinkWorld {
            link: self.accepted.config.clone(),
            remote_synced: remote.is_synced(),
            local_synced: self.local.is_synced(),
            remote: remote.services(),
            gateway,
            namespaces: self.local.namespaces(),
            create_namespaces: self.create_namespaces,
            services: ours(self.local.mirrored_services.all()),
            slices: ours(self.local.mirrored_slices.all()),
        }
    }

    async fn tell(
        &self,
        remote: &Remote,
        world: &LinkWorld,
        addresses: BTreeMap<IpAddr, ProbeState>,
        plan: Plan,
        last: Option<LinkStatus>,
    ) -> LinkStatus {
        let key = &self.accepted.config.key;
        let before = last.unwrap_or_else(|| self.local.link_status(key));
        let observed = Observed {
            gateway_port: world.gateway.port,
            addresses,
            synced: world.remote_synced,
            stale: remote.stale(),
            mirrors: plan.mirrors,
            members: plan.members,
        };
        let status = status::of(&observed, &before, &crate::writer::now());
        if status != self.local.link_status(key) {
            write_status(&self.client, key, &status).await;
        }
        status
    }
}

fn gateway(probes: &Probes) -> (Gateway, BTreeMap<IpAddr, ProbeState>) {
    let state = probes.lock();
    let addresses = state.1.iter().map(|(ip, p)| GatewayAddress { ip: *ip, alive: p.alive }).collect();
    (Gateway { port: state.0, addresses }, state.1.clone())
}

async fn write_status(client: &Client, key: &Key, status: &LinkStatus) {
    let object = json!({
        "apiVersion": "multicluster.linkerd.io/v1alpha3",
        "kind": "Link",
        "metadata": {"name": key.name, "namespace": key.namespace},
        "status": status,
    });
    match mesh_kube::apply_status(client, FIELD_MANAGER, &object).await {
        Ok(_) => debug!(link = %key, "status written"),
        Err(error) => warn!(link = %key, %error, "status not written"),
    }
}
