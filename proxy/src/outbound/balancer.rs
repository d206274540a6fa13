//! One worker's view of a backend: load estimates, connections, and the choice of an endpoint.

mod ticket;

pub(super) use ticket::{Outcome, Ticket};

use super::endpoint::{Backend, Endpoint, EndpointSet, Known};
use super::load::Load as ProxyLoad;
use super::metrics::{BalancerMetrics, EndpointMetrics, OutboundMetrics, P2cUpdate};
use crate::http::client::{Pool, Settings};
use mesh_balance::{Admission, Load, PeakEwma, handicap};
use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Sets larger than this are not looked through for endpoints to be tried more often than every [`LOOK_AGAIN`].
const SMALL: usize = 32;
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What a worker's balancers have in common.
pub(super) struct Common {
    /// How connections are made.
    pub(super) settings: Rc<Settings>,
    /// Families of series.
    pub(super) metrics: OutboundMetrics,
    /// What the proxy has taken on.
    pub(super) load: Arc<ProxyLoad>,
}

/// One worker's view of a backend.
pub(super) struct Balancer {
    backend: Weak<Backend>,
    common: Rc<Common>,
    /// By use.
    metrics: [OnceCell<BalancerMetrics>; 3],
    view: RefCell<View>,
    looked: Cell<Instant>,
}

struct View {
    set: Arc<EndpointSet>,
    peers: Vec<Rc<Peer>>,
}

/// One endpoint as this worker knows it.
pub(super) struct Peer {
    /// The endpoint.
    pub(super) endpoint: Arc<Endpoint>,
    /// Its connections.
    pub(super) pool: Rc<Pool>,
    /// Its metrics.
    pub(super) metrics: Rc<EndpointMetrics>,
    load: Rc<PeerLoad>,
}

/// What an endpoint carries; follows it when discovery describes it anew.
struct PeerLoad {
    ewma: RefCell<PeakEwma>,
    inflight: Cell<u32>,
}

/// What a backend is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Requests: connections are pooled and made ahead.
    Http,
    /// Connections of their own.
    Tcp,
    /// The same, with TLS of the application's.
    Tls,
}

impl Balancer {
    /// An empty view; it fills at the first use.
    pub(super) fn new(backend: &Arc<Backend>, common: Rc<Common>) -> Rc<Self> {
        let set = EndpointSet::new(Known::Pending, Vec::new());
        let view = RefCell::new(View { set, peers: Vec::new() });
        let (metrics, looked) = (Default::default(), Cell::new(Instant::now()));
        Rc::new(Self { backend: Arc::downgrade(backend), common, metrics, view, looked })
    }

    /// Whether nobody refers to the backend any more.
    pub(super) fn is_orphan(&self) -> bool {
        self.backend.strong_count() == 0
    }

    /// The series of the backend.
    pub(super) fn metrics(&self, backend: &Backend, for_: Use) -> &BalancerMetrics {
        let failfast = backend.setup.failfast_timeout;
        let make = || self.common.metrics.balancer(&backend.labels, failfast, for_);
        self.metrics[for_ as usize].get_or_init(make)
    }

    /// Lets go of endpoints that are gone and of connections that were idle for too long, and brings gauges up to date.
    pub(super) fn sweep(&self) {
        let Some(backend) = self.backend.upgrade() else { return };
        self.refresh(&backend, Instant::now());
        let view = self.view.borrow();
        for peer in &view.peers {
            peer.pool.close_idle();
        }
        let all = &view.set.endpoints;
        let ready = all.iter().filter(|e| e.health.ready()).count();
        let ejected = all.iter().filter(|e| e.health.ejected()).count();
        for metrics in self.metrics.iter().filter_map(OnceCell::get) {
            metrics.report(all.len(), ready, ejected);
        }
    }

    /// Picks an endpoint that was not `tried`, without waiting.
    pub(super) fn pick(
        &self,
        backend: &Arc<Backend>,
        tried: &[SocketAddr],
        for_: Use,
        now: Instant,
    ) -> Option<Ticket> {
        // The series are there from the first use, so that they see the first endpoints.
        self.metrics(backend, for_);
        self.refresh(backend, now);
        let view = self.view.borrow();
        if self.look(backend, &view, now) {
            self.reconnect(backend, &view, for_, now);
            if let Some(trial) = self.on_trial(&view, tried, now) {
                return Some(self.ticket(trial, backend, Admission::Trial));
            }
        }
        let load = |index: usize| view.peers[index].load(backend, tried, now);
        let picked = view.set.weights.pick(load, &mut rand::rng())?;
        Some(self.ticket(&view.peers[picked], backend, Admission::Normal))
    }

    fn ticket(&self, peer: &Rc<Peer>, backend: &Arc<Backend>, admission: Admission) -> Ticket {
        Ticket::new(Rc::clone(peer), Arc::clone(backend), Rc::clone(&self.common), admission)
    }

    /// Whether endpoints are out of use that should be looked after. With all in use a pick looks at two of them, however
    /// many there are.
    fn look(&self, backend: &Backend, view: &View, now: Instant) -> bool {
        if backend.ailing.is_none() {
            return false;
        }
        let due = view.peers.len() <= SMALL || now >= self.looked.get() + LOOK_AGAIN;
        if due {
            self.looked.set(now);
        }
        due
    }

    /// Connects to endpoints that could not be connected to, where it is time to; no request has to try.
    pub(super) fn revive(&self, backend: &Arc<Backend>, for_: Use) {
        let now = Instant::now();
        self.refresh(backend, now);
        self.reconnect(backend, &self.view.borrow(), for_, now);
    }

    fn reconnect(&self, backend: &Arc<Backend>, view: &View, for_: Use, now: Instant) {
        for peer in &view.peers {
            if !peer.endpoint.health.admit_connect(now) {
                continue;
            }
            let (pool, backend) = (Rc::clone(&peer.pool), Arc::clone(backend));
            tokio::task::spawn_local(async move {
                if pool.warm(for_ == Use::Http).await {
                    backend.standing(Instant::now());
                    backend.recovered.notify_waiters();
                }
            });
        }
    }

    /// The endpoint on probation whose trial the next request is, if there is one.
    fn on_trial<'a>(&self, view: &'a View, tried: &[SocketAddr], now: Instant) -> Option<&'a Rc<Peer>> {
        let mut peers = view.peers.iter();
        peers.find(|peer| !tried.contains(&peer.endpoint.addr) && peer.endpoint.health.admit_trial(now))
    }

    /// Follows discovery; connections and estimates of endpoints that stay are kept. Those of endpoints that are gone end
    /// with the last request that uses them.
    fn refresh(&self, backend: &Arc<Backend>, now: Instant) {
        let set = backend.endpoints.borrow();
        if Arc::ptr_eq(&self.view.borrow().set, &set) {
            return;
        }
        let view = &mut *self.view.borrow_mut();
        let peers: Vec<_> =
            set.endpoints.iter().map(|endpoint| self.peer(backend, view, endpoint, now)).collect();
        for metrics in self.metrics.iter().filter_map(OnceCell::get) {
            changes(&view.set, &set).for_each(|update| metrics.updated(update));
        }
        for gone in view.peers.iter().filter(|peer| !has_pool(&peers, peer)) {
            gone.pool.retire();
        }
        *view = View { set: Arc::clone(&set), peers };
    }

    fn peer(&self, backend: &Backend, view: &View, endpoint: &Arc<Endpoint>, now: Instant) -> Rc<Peer> {
        // Sets are in the order of addresses.
        let known = view.peers.binary_search_by_key(&endpoint.addr, |peer| peer.endpoint.addr);
        match known.ok().map(|index| &view.peers[index]) {
            Some(known) if Arc::ptr_eq(&known.endpoint, endpoint) => Rc::clone(known),
            Some(known) if *known.pool.transport() == endpoint.transport => Rc::new(Peer {
                endpoint: Arc::clone(endpoint),
                pool: Rc::clone(&known.pool),
                metrics: self.common.metrics.endpoint(&endpoint.labels),
                load: Rc::clone(&known.load),
            }),
            _ => {
                let metrics = self.common.metrics.endpoint(&endpoint.labels);
                let (transport, health) = (endpoint.transport.clone(), Arc::clone(&endpoint.health));
                let pool =
                    Pool::new(transport, health, Rc::clone(&self.common.settings), Rc::clone(&metrics));
                let ewma = RefCell::new(PeakEwma::new(backend.setup.ewma, now));
                let load = Rc::new(PeerLoad { ewma, inflight: Cell::new(0) });
                Rc::new(Peer { endpoint: Arc::clone(endpoint), pool, metrics, load })
            }
        }
    }
}

/// Whether the pool of `peer` is among those of `peers`, which are in the order of addresses.
fn has_pool(peers: &[Rc<Peer>], peer: &Peer) -> bool {
    let found = peers.binary_search_by_key(&peer.endpoint.addr, |other| other.endpoint.addr);
    found.is_ok_and(|index| Rc::ptr_eq(&peers[index].pool, &peer.pool))
}

/// What changed between two sets, in the words of Linkerd's metrics.
fn changes(old: &EndpointSet, new: &EndpointSet) -> impl Iterator<Item = P2cUpdate> + use<> {
    let lacks = |set: &EndpointSet, addr| set.endpoints.binary_search_by_key(&addr, |e| e.addr).is_err();
    let first = old.known == Known::Pending && new.known == Known::Present;
    let added = !first && new.endpoints.iter().any(|e| lacks(old, e.addr));
    let removed = old.endpoints.iter().any(|e| lacks(new, e.addr));
    let gone = new.known == Known::Absent && old.known != Known::Absent;
    let all = [
        (first, P2cUpdate::Reset),
        (added, P2cUpdate::Add),
        (removed, P2cUpdate::Remove),
        (gone, P2cUpdate::Gone),
    ];
    all.into_iter().filter_map(|(happened, update)| happened.then_some(update))
}

impl Peer {
    /// What it carries; `None` where it cannot take one more.
    fn load(&self, backend: &Backend, tried: &[SocketAddr], now: Instant) -> Option<Load> {
        let endpoint = &self.endpoint;
        if !endpoint.health.ready() || tried.contains(&endpoint.addr) || backend.is_full(endpoint) {
            return None;
        }
        let rtt = self.load.ewma.borrow().seconds(now);
        let factor = endpoint.health.age(now).map_or(1.0, |age| handicap(age, backend.setup.slow_start));
        Some(Load { rtt: rtt * factor, inflight: self.load.inflight.get() })
    }
}

#[cfg(test)]
mod tests;
