//! Who listens to which policy: every change of the index renews the policies it touches, and only those.

use crate::index::{Destination, Index, Touched};
use crate::model::Key;
use mesh_api::inbound::Server;
use mesh_api::outbound::OutboundPolicy;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// A port of a pod.
pub type InboundQuery = (Key, u16);

/// A destination, and whether a gateway asks.
pub type OutboundQuery = (Destination, bool);

/// A policy, or nothing when its pod or Service does not exist.
pub type Views<M> = watch::Receiver<Arc<Option<M>>>;

/// The index with its listeners. All work is done under one short lock, without waiting.
pub struct Hub {
    inner: Mutex<Inner>,
    /// Rises with every change of a pod.
    pods: watch::Sender<u64>,
}

struct Inner {
    index: Index,
    inbound: Answers<InboundQuery, Server, Key>,
    outbound: Answers<OutboundQuery, OutboundPolicy, Dependency>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Dependency {
    Service(Key),
    Ip(IpAddr),
}

/// Fewer answers than this are never swept.
const SWEEP_MIN: usize = 256;

/// Answers by query, and queries by what they depend on.
struct Answers<Q, M, D> {
    cells: HashMap<Q, watch::Sender<Arc<Option<M>>>>,
    by: HashMap<D, BTreeSet<Q>>,
    sweep_at: usize,
}

impl<Q: Clone + Eq + Hash + Ord, M: PartialEq, D: Eq + Hash> Answers<Q, M, D> {
    fn new() -> Self {
        Self { cells: HashMap::new(), by: HashMap::new(), sweep_at: SWEEP_MIN }
    }

    fn listen(&mut self, query: &Q, on: D, answer: impl FnOnce() -> Option<M>) -> Views<M> {
        if let Some(cell) = self.cells.get(query) {
            return cell.subscribe();
        }
        if self.cells.len() >= self.sweep_at {
            self.sweep();
        }
        let (cell, views) = watch::channel(Arc::new(answer()));
        self.cells.insert(query.clone(), cell);
        self.by.entry(on).or_default().insert(query.clone());
        views
    }

    fn renew(&self, on: &D, answer: impl Fn(&Q) -> Option<M>) {
        for query in self.by.get(on).into_iter().flatten() {
            let Some(cell) = self.cells.get(query) else { continue };
            let answer = answer(query);
            cell.send_if_modified(|held| {
                let differs = **held != answer;
                if differs {
                    *held = Arc::new(answer);
                }
                differs
            });
        }
    }

    /// Clears answers away that nobody listens to.
    fn sweep(&mut self) {
        self.cells.retain(|_, cell| cell.receiver_count() > 0);
        let cells = &self.cells;
        self.by.retain(|_, queries| {
            queries.retain(|q| cells.contains_key(q));
            !queries.is_empty()
        });
        self.sweep_at = SWEEP_MIN.max(2 * self.cells.len());
    }
}

impl Hub {
    /// Nobody listens.
    pub fn new(index: Index) -> Self {
        let inner = Inner { index, inbound: Answers::new(), outbound: Answers::new() };
        Self { inner: Mutex::new(inner), pods: watch::Sender::new(0) }
    }

    /// Changes the index and renews what that touches.
    pub fn change(&self, change: impl FnOnce(&mut Index) -> Touched) {
        let mut inner = self.inner.lock();
        let touched = change(&mut inner.index);
        let Inner { index, inbound, outbound } = &*inner;
        for pod in &touched.pods {
            inbound.renew(pod, |(pod, port)| index.inbound(pod, *port));
        }
        let outbound_policy = |(destination, gateway): &OutboundQuery| index.outbound(destination, *gateway);
        for service in &touched.services {
            outbound.renew(&Dependency::Service(service.clone()), outbound_policy);
        }
        for ip in &touched.ips {
            outbound.renew(&Dependency::Ip(*ip), outbound_policy);
        }
        drop(inner);
        if !touched.pods.is_empty() {
            self.pods.send_modify(|n| *n += 1);
        }
    }

    /// Reads the index.
    pub fn read<T>(&self, read: impl FnOnce(&Index) -> T) -> T {
        read(&self.inner.lock().index)
    }

    /// Listens to the policy of a port of a pod.
    pub fn inbound(&self, query: &InboundQuery) -> Views<Server> {
        let inner = &mut *self.inner.lock();
        inner.inbound.listen(query, query.0.clone(), || inner.index.inbound(&query.0, query.1))
    }

    /// Listens to the policy for a destination.
    pub fn outbound(&self, query: &OutboundQuery) -> Views<OutboundPolicy> {
        let inner = &mut *self.inner.lock();
        let on = match &query.0 {
            Destination::Addr(addr) => Dependency::Ip(addr.ip()),
            Destination::Name { service, .. } => Dependency::Service(service.clone()),
        };
        inner.outbound.listen(query, on, || inner.index.outbound(&query.0, query.1))
    }

    /// Waits for a pod to be known: its proxy may ask before its pod's event has arrived.
    pub async fn known(&self, pod: &Key) {
        // The sender lives in `self`, so the wait cannot fail.
        drop(self.pods.subscribe().wait_for(|_| self.read(|index| index.pod(pod).is_some())).await);
    }

    /// How many policies are listened to or were lately: inbound, outbound.
    pub fn answers(&self) -> [usize; 2] {
        let inner = self.inner.lock();
        [inner.inbound.cells.len(), inner.outbound.cells.len()]
    }
}
