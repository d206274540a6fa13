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
use jiff::Timestamp;
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

/// Nothing is said of a link before its gateway has been probed and its API has answered, so that a mirror that starts
/// anew does not take back what its predecessor said; but no longer than this.
const SILENCE: Duration = Duration::from_secs(5);

/// The time of the last answer is written anew after this, and the more seldom the more links there are.
const FRESHNESS: Duration = Duration::from_secs(10);
const FRESHNESS_FOR_EACH_LINK: Duration = Duration::from_millis(50);

/// Works on one link until dropped.
pub(crate) struct LinkTask {
    pub(crate) accepted: Accepted,
    pub(crate) local: Local,
    pub(crate) client: Client,
    pub(crate) bell: Bell,
    pub(crate) metrics: LinkMetrics,
    pub(crate) create_namespaces: bool,
}

/// What probes have found.
#[derive(Default)]
struct Board {
    /// The addresses that were probed last.
    probed: Option<Published>,
    port: u16,
    states: BTreeMap<IpAddr, ProbeState>,
}

impl LinkTask {
    pub(crate) async fn run(self) {
        let remote_client = match mesh_kube::connect_kubeconfig(&self.accepted.kubeconfig).await {
            Ok(client) => client,
            Err(error) => return self.refuse(&error.to_string()).await,
        };
        info!(cluster = %self.accepted.config.cluster, "link begins");
        let remote = Remote::new(remote_client, &self.accepted);
        let board = Mutex::default();
        let work = self.reconcile(&remote, &board);
        tokio::join!(work, self.probe(&remote, &board), remote.follow(&self.bell));
    }

    /// Says why this link cannot be worked with, and waits to be replaced.
    async fn refuse(&self, error: &str) {
        let before = self.local.link_status(&self.accepted.config.key);
        let status = status::refused(error, &before, &crate::writer::now());
        write_status(&self.client, &self.accepted.config.key, &status).await;
        std::future::pending().await
    }

    /// The gateway as it is published now.
    fn published(&self, remote: &Remote) -> Published {
        match &self.accepted.gateway {
            GatewaySource::Pinned { hosts, port } => Published { hosts: hosts.clone(), port: *port },
            GatewaySource::Service(_) => remote.published().unwrap_or_default(),
        }
    }

    /// Probes each published address at every period, at once when the addresses change, and sooner while a living one
    /// is in doubt.
    async fn probe(&self, remote: &Remote, board: &Mutex<Board>) {
        loop {
            let started = tokio::time::Instant::now();
            let published = self.published(remote);
            let ips = resolve(&published.hosts).await;
            {
                let mut board = board.lock();
                board.port = published.port;
                board.states.retain(|ip, _| ips.contains(ip));
                for ip in &ips {
                    board.states.entry(*ip).or_default();
                }
            }
            if let Some(bundle) = self.bundle() {
                let all = ips.iter().map(|ip| self.probe_one(*ip, published.port, &bundle, board).boxed());
                futures::future::join_all(all).await;
            }
            let in_doubt = {
                let mut board = board.lock();
                board.probed = Some(published.clone());
                board.states.values().any(ProbeState::in_doubt)
            };
            self.bell.ring();
            let period = self.accepted.config.probe_period;
            self.pause(remote, &published, started + if in_doubt { period / 3 } else { period }).await;
        }
    }

    async fn probe_one(&self, ip: IpAddr, port: u16, bundle: &TrustBundle, board: &Mutex<Board>) {
        let config = &self.accepted.config;
        let outcome = probe(ip, port, config, bundle).await;
        self.metrics.probed(&outcome);
        if let Some(state) = board.lock().states.get_mut(&ip) {
            state.note(outcome, config.probe_failures);
        }
    }

    /// Until the deadline, or until the gateway's Service publishes something else.
    async fn pause(&self, remote: &Remote, known: &Published, deadline: tokio::time::Instant) {
        // Cheap enough to look at: one map lookup.
        const LOOK: Duration = Duration::from_millis(50);
        while tokio::time::Instant::now() < deadline {
            tokio::time::sleep(LOOK.min(self.accepted.config.probe_period)).await;
            if self.published(remote) != *known {
                return;
            }
        }
    }

    fn bundle(&self) -> Option<TrustBundle> {
        let pem = self.local.trust_bundle()?;
        TrustBundle::from_pem(&pem).map_err(|error| warn!(%error, "trust anchors")).ok()
    }

    async fn reconcile(&self, remote: &Remote, board: &Mutex<Board>) {
        let mut writer = Writer::new(self.client.clone());
        let mut last: Option<LinkStatus> = None;
        let started = tokio::time::Instant::now();
        loop {
            let (gateway, addresses) = self.gateway(remote, board);
            let settled = gateway.settled() && (remote.is_synced() || remote.stale().is_some());
            let world = self.world(remote, gateway);
            let plan = plan(&world, &writer.services, &writer.slices);
            self.metrics.observe(&world);
            let failed = writer.carry_out(&plan.actions).await;
            if last.is_some() || settled || started.elapsed() >= SILENCE {
                last = Some(self.tell(remote, &world, addresses, plan, last).await);
            }
            let pause = match (failed, &last) {
                (true, _) => Duration::from_secs(1),
                (false, None) => SILENCE,
                (false, Some(_)) => EVERY,
            };
            tokio::select! {
                () = self.bell.rung() => tokio::time::sleep(SETTLE).await,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn gateway(&self, remote: &Remote, board: &Mutex<Board>) -> (Gateway, BTreeMap<IpAddr, ProbeState>) {
        let published = self.published(remote);
        let board = board.lock();
        let addresses =
            board.states.iter().map(|(ip, p)| GatewayAddress { ip: *ip, alive: p.alive }).collect();
        let current = board.probed.as_ref() == Some(&published);
        (Gateway { port: board.port, addresses, current }, board.states.clone())
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
            answered: remote.answered().and_then(|at| Timestamp::now().checked_sub(at.elapsed()).ok()),
            freshness: FRESHNESS
                + FRESHNESS_FOR_EACH_LINK * u32::try_from(self.local.links.len()).unwrap_or(u32::MAX),
            credentials_expire: self.accepted.expires.and_then(|at| Timestamp::from_second(at).ok()),
        };
        let status = status::of(&observed, &before, Timestamp::now());
        if status != self.local.link_status(key) {
            write_status(&self.client, key, &status).await;
        }
        status
    }
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
