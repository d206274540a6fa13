//! Runs the planners: watches, works out which plans a change calls for, writes what they say.
//!
//! One task owns the world. Writes run in tasks of their own (a pod's creation may wait for webhooks), at most one per
//! target at a time; their answers enter the world as if they had been watched, so the next plan builds on them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use mesh_apiserver::LocalClient;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Exposed;
use super::dirty::{self, Target};
use super::events::{self, Note};
use super::load_balancer::AddressPool;
use super::object::{self, Key};
use super::plan::{Action, Plan};
use super::world::{Kind, World};
use super::writer::{self, Outcome, Seen};
use super::{daemonset, deployment, endpoints, job, load_balancer, replicaset, statefulset};

/// Writes of one plan that run at the same time.
const PARALLEL_WRITES: usize = 8;
/// Wait before the first new plan after a failed write; doubles up to [`LONGEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(20);
const LONGEST_RETRY: Duration = Duration::from_secs(5);
/// Changes taken in before planning, when many arrive at once.
const BATCH: usize = 1024;

struct Done {
    target: Target,
    outcomes: Vec<Outcome>,
    /// What to tell if all went well.
    notes: Vec<Note>,
}

struct Driver {
    client: LocalClient,
    pool: AddressPool,
    world: World,
    dirty: BTreeSet<Target>,
    busy: BTreeSet<Target>,
    failures: HashMap<Target, u32>,
    wakes: BTreeMap<Instant, BTreeSet<Target>>,
    exposed_changed: bool,
    exposed: watch::Sender<Arc<Exposed>>,
    done: mpsc::UnboundedSender<Done>,
}

/// Runs all controllers of a cluster until the token is cancelled.
pub(crate) async fn run(
    client: LocalClient,
    pool: AddressPool,
    exposed: watch::Sender<Arc<Exposed>>,
    token: CancellationToken,
) {
    let (seen, mut incoming) = mpsc::channel(BATCH);
    for kind in Kind::ALL {
        let watching = writer::watch(client.clone(), kind, seen.clone());
        tokio::spawn(token.clone().run_until_cancelled_owned(watching));
    }
    let (done, mut finished) = mpsc::unbounded_channel();
    let mut driver = Driver {
        client,
        pool,
        world: World::default(),
        dirty: BTreeSet::new(),
        busy: BTreeSet::new(),
        failures: HashMap::new(),
        wakes: BTreeMap::new(),
        exposed_changed: true,
        exposed,
        done,
    };
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let next = driver.wakes.first_key_value().map(|(at, _)| *at);
        tokio::select! {
            () = token.cancelled() => return,
            _ = incoming.recv_many(&mut batch, BATCH) => {
                for event in batch.drain(..) {
                    driver.take_in(event);
                }
            }
            Some(done) = finished.recv() => driver.settle(done),
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
        driver.wake();
        driver.publish();
        driver.plan_dirty();
    }
}

impl Driver {
    fn take_in(&mut self, seen: Seen) {
        let (kind, object, gone) = match seen {
            Seen::Present(kind, object) => (kind, object, false),
            Seen::Gone(kind, object) => (kind, object, true),
        };
        let old = self.world.object(kind, &Key::of(&object)).cloned();
        let changed = if gone {
            self.world.remove(kind, &object);
            true
        } else {
            self.world.apply(kind, object.clone())
        };
        if !changed {
            return;
        }
        let new = (!gone).then_some(&*object);
        self.dirty.extend(dirty::targets(&self.world, kind, old.as_deref(), new));
        self.exposed_changed |= matches!(kind, Kind::Service | Kind::EndpointSlice)
            || (kind == Kind::Namespace && (gone || old.is_none()));
    }

    fn settle(&mut self, done: Done) {
        self.busy.remove(&done.target);
        let mut notes = Vec::new();
        let mut refused = None;
        let mut failed = false;
        for outcome in done.outcomes {
            match outcome {
                Outcome::Created(kind, object) => {
                    let told = (kind == Kind::Pod).then(|| events::of_creation(&done.target, &object));
                    notes.extend(told.flatten());
                    self.take_in(Seen::Present(kind, object));
                }
                Outcome::Written(kind, object) => self.take_in(Seen::Present(kind, object)),
                Outcome::Deleting(kind, key, uid) => {
                    self.world.mark_deleting(kind, &key, &uid);
                    self.dirty.insert(done.target.clone());
                }
                Outcome::Refused(action, reason) => {
                    failed = true;
                    tracing::debug!(target = ?done.target, %reason, "write refused");
                    if matches!(action, Action::Create(Kind::Pod, _)) {
                        refused = Some(reason);
                    }
                }
            }
        }
        let owner = match &done.target {
            Target::ReplicaSet(key) => Some((Kind::ReplicaSet, key.clone())),
            Target::StatefulSet(key) => Some((Kind::StatefulSet, key.clone())),
            Target::DaemonSet(key) => Some((Kind::DaemonSet, key.clone())),
            Target::Job(key) => Some((Kind::Job, key.clone())),
            _ => None,
        };
        if let Some((kind, key)) = owner
            && self.world.failure(kind, &key) != refused.as_deref()
        {
            notes.extend(refused.as_deref().and_then(|reason| events::of_refusal(&done.target, reason)));
            self.world.note_failure(kind, &key, refused);
            self.dirty.insert(done.target.clone());
        }
        if !failed {
            notes.extend(done.notes);
        }
        for note in notes {
            events::tell(&self.client, &self.world, note);
        }
        if failed {
            let count = self.failures.entry(done.target.clone()).or_default();
            let wait = FIRST_RETRY.saturating_mul(1 << (*count).min(16)).min(LONGEST_RETRY);
            *count += 1;
            self.dirty.remove(&done.target);
            self.wakes.entry(Instant::now() + wait).or_default().insert(done.target);
        } else {
            self.failures.remove(&done.target);
        }
    }

    /// Marks what time alone makes worth planning again.
    fn wake(&mut self) {
        let now = Instant::now();
        while let Some(due) = self.wakes.first_entry().filter(|due| *due.key() <= now) {
            self.dirty.extend(due.remove());
        }
    }

    fn publish(&mut self) {
        if !std::mem::take(&mut self.exposed_changed) {
            return;
        }
        let all = |kind| self.world.all(kind).cloned().collect();
        self.exposed.send_replace(Arc::new(Exposed {
            services: all(Kind::Service),
            slices: all(Kind::EndpointSlice),
            namespaces: self
                .world
                .all(Kind::Namespace)
                .map(|namespace| object::name(namespace).to_owned())
                .collect(),
        }));
    }

    fn plan_dirty(&mut self) {
        let ready: Vec<_> = self.dirty.iter().filter(|target| !self.busy.contains(target)).cloned().collect();
        for target in ready {
            self.dirty.remove(&target);
            let now = Timestamp::now();
            let plan = self.plan(&target, now);
            if let Some(at) = plan.again_at {
                let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
                self.wakes.entry(Instant::now() + wait).or_default().insert(target.clone());
            }
            if plan.actions.is_empty() {
                continue;
            }
            self.busy.insert(target.clone());
            let told =
                plan.actions.iter().filter_map(|action| events::of_action(&self.world, &target, action));
            let notes = told.collect();
            let (client, done) = (self.client.clone(), self.done.clone());
            tokio::spawn(async move {
                let writes = plan.actions.into_iter().map(|action| writer::write(client.clone(), action));
                let outcomes = futures::stream::iter(writes).buffered(PARALLEL_WRITES).collect().await;
                // The driver is gone only at shutdown, when nobody needs the answer.
                let _ = done.send(Done { target, outcomes, notes });
            });
        }
    }

    fn plan(&self, target: &Target, now: Timestamp) -> Plan {
        match target {
            Target::Deployment(key) => deployment::plan(&self.world, key, now),
            Target::ReplicaSet(key) => replicaset::plan(&self.world, key, now),
            Target::StatefulSet(key) => statefulset::plan(&self.world, key, now),
            Target::DaemonSet(key) => daemonset::plan(&self.world, key, now),
            Target::Job(key) => job::plan(&self.world, key, now),
            Target::Endpoints(key) => endpoints::plan(&self.world, key),
            Target::LoadBalancers => load_balancer::plan(&self.world, self.pool),
        }
    }
}

#[cfg(test)]
mod tests;
