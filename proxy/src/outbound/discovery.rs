//! What the control plane says about destinations: one task for each destination in use, one stream for each backend.
//! Tasks run on the control thread and publish snapshots; workers only read.

mod backends;

pub use backends::Backends;

use super::load::{self, Load};
use super::policy::{Opaque, Protocol, Refusal, Snapshot, forward_policy, policy, profile_policy};
use crate::config::Config;
use crate::control::{BACKOFF, ControlChannel};
use ahash::AHashMap;
use ipnet::IpNet;
use mesh_api::destination::destination_client::DestinationClient;
use mesh_api::destination::{DestinationProfile, GetDestination};
use mesh_api::outbound::outbound_policies_client::OutboundPoliciesClient;
use mesh_api::outbound::{OutboundPolicy, TrafficSpec, traffic_spec};
use mesh_api::tonic::{Code, Status, Streaming};
use mesh_balance::{BudgetConfig, RetryBudget};
use mesh_types::Authority;
use parking_lot::Mutex;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// A stream that lasted this long begins its backoff anew.
const HEALTHY: Duration = Duration::from_secs(10);

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The original destination of a connection.
    Addr(SocketAddr),
    /// A service by name, as gateways are asked for.
    Name(Authority),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addr(addr) => addr.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// The latest snapshot of a destination; `None` until the control plane has answered.
pub type SnapshotReceiver = watch::Receiver<Option<Arc<Snapshot>>>;

/// All destinations in use. Clones share them.
#[derive(Clone)]
pub struct Discovery(Arc<Inner>);

struct Inner {
    config: Arc<Config>,
    policies: OutboundPoliciesClient<ControlChannel>,
    destinations: DestinationClient<ControlChannel>,
    backends: Backends,
    load: Arc<Load>,
    control: Handle,
    targets: Mutex<AHashMap<Target, SnapshotReceiver>>,
}

/// What one source says about a destination.
#[derive(Clone, Debug)]
enum Said<T> {
    Nothing,
    /// There is none, by the service's own word.
    None,
    Something(T),
}

impl Discovery {
    /// Asks the services behind the channels, on the control thread.
    pub fn new(
        config: Arc<Config>,
        policy: ControlChannel,
        destination: ControlChannel,
        control: Handle,
    ) -> Self {
        let destinations = DestinationClient::new(destination);
        let backends = Backends::new(Arc::clone(&config), destinations.clone(), control.clone());
        let policies = OutboundPoliciesClient::new(policy);
        let targets = Mutex::default();
        let load = Load::new(&config.outbound);
        load::watch(&load, &control);
        Self(Arc::new(Inner { config, policies, destinations, backends, load, control, targets }))
    }

    /// What the proxy has taken on.
    pub(super) fn load(&self) -> &Arc<Load> {
        &self.0.load
    }

    /// What is known about `target`, now and later. It is kept while receivers live, and a little longer.
    pub fn target(&self, target: Target) -> SnapshotReceiver {
        let mut targets = self.0.targets.lock();
        if let Some(found) = targets.get(&target) {
            return found.clone();
        }
        let (sender, receiver) = watch::channel(None);
        targets.insert(target.clone(), receiver.clone());
        self.0.control.spawn(follow(Arc::clone(&self.0), target, sender));
        receiver
    }
}

impl Inner {
    fn forget(&self, target: &Target, sender: &watch::Sender<Option<Arc<Snapshot>>>) -> bool {
        let mut targets = self.targets.lock();
        // The store's own receiver is one.
        let unused = sender.receiver_count() <= 1;
        if unused {
            targets.remove(target);
        }
        unused
    }

    fn has_profile(&self, target: &Target) -> bool {
        let networks: &[IpNet] = &self.config.destination.profile_networks;
        match target {
            Target::Addr(addr) => networks.is_empty() || networks.iter().any(|net| net.contains(&addr.ip())),
            // A name comes to gateways only, for which the policy alone decides.
            Target::Name(_) => false,
        }
    }
}

/// Keeps the snapshot of one destination up to date until nobody uses it.
async fn follow(inner: Arc<Inner>, target: Target, sender: watch::Sender<Option<Arc<Snapshot>>>) {
    let (policy_sender, mut policies) = watch::channel(Said::Nothing);
    let (profile_sender, mut profiles) =
        watch::channel(if inner.has_profile(&target) { Said::Nothing } else { Said::None });
    let sources = async {
        tokio::join!(
            watch_policy(&inner, &target, &policy_sender),
            watch_profile(&inner, &target, &profile_sender),
        )
    };
    let mut budget = Budget::new();
    let publish = async {
        loop {
            let (policy, profile) =
                (policies.borrow_and_update().clone(), profiles.borrow_and_update().clone());
            budget.follow(&profile);
            if let Some(mut snapshot) = combine(&inner, &target, policy, profile) {
                snapshot.budget = Arc::clone(&budget.current);
                sender.send_replace(Some(Arc::new(snapshot)));
            }
            // The senders live as long as this task.
            tokio::select! {
                _ = policies.changed() => {}
                _ = profiles.changed() => {}
            }
        }
    };
    let idle = async {
        loop {
            unused(&sender, inner.config.outbound.discovery_idle_timeout).await;
            if inner.forget(&target, &sender) {
                return;
            }
        }
    };
    tokio::select! {
        _ = sources => {}
        () = publish => {}
        () = idle => tracing::debug!(%target, "destination is not used any more"),
    }
}

/// The retry budget of a destination. It outlives the snapshots, as what was retried is not forgotten with them.
struct Budget {
    config: BudgetConfig,
    current: Arc<RetryBudget>,
}

impl Budget {
    fn new() -> Self {
        let config = BudgetConfig::default();
        Self { config, current: Arc::new(RetryBudget::new(config, std::time::Instant::now())) }
    }

    /// Takes what a profile says of it, where there is one.
    fn follow(&mut self, profile: &Said<DestinationProfile>) {
        let Said::Something(DestinationProfile { retry_budget: Some(said), .. }) = profile else { return };
        let ttl = said.ttl.and_then(|ttl| ttl.try_into().ok()).filter(|ttl: &Duration| !ttl.is_zero());
        let config = BudgetConfig {
            ratio: f64::from(said.retry_ratio),
            min_per_second: said.min_retries_per_second,
            ttl: ttl.unwrap_or(BudgetConfig::default().ttl),
        };
        if config != self.config {
            let current = Arc::new(RetryBudget::new(config, std::time::Instant::now()));
            *self = Self { config, current };
        }
    }
}

/// Resolves when nobody but the store has held a receiver at two looks in a row.
async fn unused<T>(sender: &watch::Sender<T>, idle: Duration) {
    let mut quiet = 0;
    while quiet < 2 {
        sleep(idle / 2).await;
        quiet = if sender.receiver_count() <= 1 { quiet + 1 } else { 0 };
    }
}

/// The policy decides; where there is none the profile does; where there is neither, the connection goes where it was
/// going.
fn combine(
    inner: &Inner,
    target: &Target,
    policy_said: Said<OutboundPolicy>,
    profile_said: Said<DestinationProfile>,
) -> Option<Snapshot> {
    let backends = &inner.backends;
    match policy_said {
        Said::Nothing => return None,
        Said::Something(message) => match policy(message, backends) {
            Ok(snapshot) => return Some(snapshot),
            Err(reason) => tracing::error!(%target, reason, "policy cannot be used"),
        },
        Said::None => {}
    }
    let Target::Addr(addr) = target else {
        return Some(refused(target));
    };
    match profile_said {
        Said::Nothing => None,
        Said::Something(profile) => profile_policy(&profile, addr.port(), backends)
            .or_else(|| forward_policy(*addr, profile.opaque_protocol, backends)),
        Said::None => forward_policy(*addr, false, backends),
    }
}

/// A name without a policy is not served.
fn refused(target: &Target) -> Snapshot {
    let labels = mesh_metrics::Labels::new();
    let refused = Refusal::Forbidden(format!("no policy for {target}"));
    let opaque = Opaque::refusing(labels.clone(), refused);
    Snapshot::new(labels, Protocol::Opaque(Arc::new(opaque)))
}

async fn watch_policy(inner: &Inner, target: &Target, sender: &watch::Sender<Said<OutboundPolicy>>) {
    let spec = || TrafficSpec {
        source_workload: inner.config.policy.workload.clone(),
        target: Some(match target {
            Target::Addr(addr) => traffic_spec::Target::Addr((*addr).into()),
            Target::Name(name) => traffic_spec::Target::Authority(name.to_string()),
        }),
    };
    let open = || async { Ok(inner.policies.clone().watch(spec()).await?.into_inner()) };
    stream("outbound policy", inner, target, sender, open).await;
}

async fn watch_profile(inner: &Inner, target: &Target, sender: &watch::Sender<Said<DestinationProfile>>) {
    if matches!(*sender.borrow(), Said::None) {
        return std::future::pending().await;
    }
    let request = || GetDestination {
        scheme: String::new(),
        path: target.to_string(),
        context_token: inner.config.destination.context.clone(),
    };
    let open = || async { Ok(inner.destinations.clone().get_profile(request()).await?.into_inner()) };
    stream("profile", inner, target, sender, open).await;
}

/// Keeps a stream open and publishes what it says; what was said last stays while the service is away.
async fn stream<T, F>(
    what: &'static str,
    inner: &Inner,
    target: &Target,
    sender: &watch::Sender<Said<T>>,
    open: impl Fn() -> F,
) where
    T: Clone + PartialEq + fmt::Debug,
    F: Future<Output = Result<Streaming<T>, Status>>,
{
    let mut failures = 0;
    loop {
        let started = Instant::now();
        let result = read(inner, sender, &open).await;
        failures = if started.elapsed() > HEALTHY { 0 } else { failures + 1 };
        if let Err(status) = result {
            tracing::debug!(%target, what, code = ?status.code(), message = status.message(), "stream ended");
            if matches!(status.code(), Code::NotFound | Code::InvalidArgument | Code::Unimplemented) {
                sender.send_replace(Said::None);
            }
        }
        sleep(BACKOFF.delay(failures.min(16), rand::random())).await;
    }
}

async fn read<T, F>(
    inner: &Inner,
    sender: &watch::Sender<Said<T>>,
    open: impl Fn() -> F,
) -> Result<(), Status>
where
    T: Clone + PartialEq,
    F: Future<Output = Result<Streaming<T>, Status>>,
{
    let limits = inner.config.control_stream;
    let end = Instant::now() + limits.lifetime;
    let first = async {
        let mut stream = open().await?;
        let message = stream.message().await?;
        Ok::<_, Status>((stream, message))
    };
    let late = |_| Status::deadline_exceeded("no answer in time");
    let (mut stream, mut next) = timeout(limits.initial_timeout, first).await.map_err(late)??;
    while let Some(message) = next {
        sender.send_if_modified(|said| {
            let same = matches!(said, Said::Something(known) if *known == message);
            if !same {
                *said = Said::Something(message);
            }
            !same
        });
        next = match timeout_at(end, stream.message()).await {
            Ok(message) => message?,
            // Reopened, so that control-plane replicas share the load.
            Err(_) => return Ok(()),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(in crate::outbound) use tests::backends as backends_for_tests;
