//! The policies of all ports: watched from the policy service, ports known at start for ever, others while they are used.

use super::policy::{ServerPolicy, default_policy, server_policy};
use crate::config::Config;
use crate::control::ControlChannel;
use ahash::AHashMap;
use mesh_api::inbound::PortSpec;
use mesh_api::inbound::inbound_server_policies_client::InboundServerPoliciesClient;
use mesh_api::tonic;
use mesh_balance::Backoff;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Between attempts to open a watch.
const BACKOFF: Backoff =
    Backoff { min: Duration::from_millis(100), max: Duration::from_secs(5), jitter: 0.5 };
/// A watch that lasted this long begins its backoff anew.
const HEALTHY: Duration = Duration::from_secs(10);
/// More ports than a workload listens on; bounds what port scans can make us watch.
const MAX_WATCHES: usize = 512;

/// The latest policy of a port.
pub type PolicyReceiver = watch::Receiver<Arc<ServerPolicy>>;

/// The policies of all ports. Clones share them.
#[derive(Clone)]
pub struct Policies(Arc<Inner>);

struct Inner {
    config: Arc<Config>,
    watches: Mutex<AHashMap<u16, PolicyReceiver>>,
    source: Source,
}

enum Source {
    /// The policy service, asked on the control thread.
    Service { client: InboundServerPoliciesClient<ControlChannel>, control: Handle },
    /// Whatever the test sets.
    Fixed(Mutex<AHashMap<u16, watch::Sender<Arc<ServerPolicy>>>>),
}

impl Policies {
    /// Policies of the service behind `channel`; begins to watch the ports known at start.
    pub fn watch(config: Arc<Config>, channel: ControlChannel, control: Handle) -> Self {
        let client = InboundServerPoliciesClient::new(channel);
        let source = Source::Service { client, control };
        let policies = Self(Arc::new(Inner { config, watches: Mutex::default(), source }));
        let ports = policies.0.config.inbound.ports.clone();
        for (first, last) in ports.ranges() {
            for port in *first..=*last {
                policies.get(port);
            }
        }
        policies
    }

    /// Policies that only [`Policies::set`] changes, for proxies without a policy service.
    pub fn fixed(config: Arc<Config>) -> Self {
        let source = Source::Fixed(Mutex::default());
        Self(Arc::new(Inner { config, watches: Mutex::default(), source }))
    }

    /// Sets the policy of a port; does nothing where a policy service decides.
    pub fn set(&self, port: u16, policy: ServerPolicy) {
        drop(self.get(port));
        if let Source::Fixed(senders) = &self.0.source
            && let Some(sender) = senders.lock().get(&port)
        {
            sender.send_replace(Arc::new(policy));
        }
    }

    /// The policy of a port: the default until the service has answered.
    pub fn get(&self, port: u16) -> PolicyReceiver {
        let mut watches = self.0.watches.lock();
        if let Some(found) = watches.get(&port) {
            return found.clone();
        }
        let default = Arc::new(default_policy(&self.0.config.inbound, port));
        let (sender, receiver) = watch::channel(default);
        if watches.len() >= MAX_WATCHES {
            return receiver;
        }
        watches.insert(port, receiver.clone());
        match &self.0.source {
            Source::Service { client, control } => {
                let policies = Arc::downgrade(&self.0);
                let config = Arc::clone(&self.0.config);
                control.spawn(watch_port(port, sender, client.clone(), policies, config));
            }
            Source::Fixed(senders) => {
                senders.lock().insert(port, sender);
            }
        }
        receiver
    }
}

impl Inner {
    /// Drops a watch that nobody uses; says whether it did.
    fn forget(&self, port: u16, sender: &watch::Sender<Arc<ServerPolicy>>) -> bool {
        let mut watches = self.watches.lock();
        let unused = sender.receiver_count() <= 1;
        if unused {
            watches.remove(&port);
        }
        unused
    }
}

/// Keeps the policy of one port up to date; ends when the port was not known at start and nobody uses it any more.
async fn watch_port(
    port: u16,
    sender: watch::Sender<Arc<ServerPolicy>>,
    mut client: InboundServerPoliciesClient<ControlChannel>,
    policies: Weak<Inner>,
    config: Arc<Config>,
) {
    let known = config.inbound.ports.contains(port);
    let mut failures = 0;
    loop {
        let started = Instant::now();
        let result = tokio::select! {
            result = follow(&mut client, port, &config, &sender) => result,
            () = unused(&sender, config.inbound.discovery_idle_timeout), if !known => {
                if policies.upgrade().is_none_or(|inner| inner.forget(port, &sender)) {
                    return;
                }
                continue;
            }
        };
        failures = if started.elapsed() > HEALTHY { 0 } else { failures + 1 };
        if let Err(status) = result {
            tracing::debug!(port, code = ?status.code(), message = status.message(), "policy watch ended");
            if matches!(status.code(), tonic::Code::NotFound | tonic::Code::InvalidArgument) {
                sender.send_replace(Arc::new(default_policy(&config.inbound, port)));
            }
        }
        sleep(BACKOFF.delay(failures.min(16), rand::random())).await;
    }
}

/// Resolves when nobody but the store has held a receiver at two looks in a row.
async fn unused(sender: &watch::Sender<Arc<ServerPolicy>>, idle: Duration) {
    let mut quiet = 0;
    while quiet < 2 {
        sleep(idle / 2).await;
        quiet = if sender.receiver_count() <= 1 { quiet + 1 } else { 0 };
    }
}

/// Follows one stream until it ends, fails, or has lived long enough.
async fn follow(
    client: &mut InboundServerPoliciesClient<ControlChannel>,
    port: u16,
    config: &Config,
    sender: &watch::Sender<Arc<ServerPolicy>>,
) -> Result<(), tonic::Status> {
    let spec = PortSpec { workload: config.policy.workload.clone(), port: u32::from(port) };
    let end = Instant::now() + config.control_stream.lifetime;
    let late = |_| tonic::Status::deadline_exceeded("no policy in time");
    let first = async {
        let mut stream = client.watch_port(spec).await?.into_inner();
        let message = stream.message().await?;
        Ok::<_, tonic::Status>((stream, message))
    };
    let (mut stream, mut next) =
        timeout(config.control_stream.initial_timeout, first).await.map_err(late)??;
    while let Some(server) = next {
        match server_policy(server) {
            Ok(mut policy) => {
                tracing::debug!(port, server = %policy.meta.name, "policy");
                sender.send_if_modified(|current| {
                    let changed = **current != policy;
                    policy.succeed(current);
                    if changed {
                        *current = Arc::new(policy);
                    }
                    changed
                });
            }
            Err(error) => tracing::error!(port, %error, "policy cannot be used, keeping the last one"),
        }
        next = match timeout_at(end, stream.message()).await {
            Ok(message) => message?,
            Err(_) => return Ok(()),
        };
    }
    Ok(())
}
