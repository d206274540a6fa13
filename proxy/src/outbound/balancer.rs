//! One worker's view of a backend: load estimates, connections, and the choice of an endpoint.

use super::endpoint::{Backend, Endpoint, EndpointSet};
use super::metrics::{BalancerMetrics, EndpointMetrics, OutboundMetrics};
use crate::http::client::{Pool, Settings};
use mesh_balance::{Admission, BreakerStatus, Load, PeakEwma};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// One worker's view of a backend.
pub(super) struct Balancer {
    backend: Weak<Backend>,
    settings: Rc<Settings>,
    metrics: OutboundMetrics,
    endpoints: BalancerMetrics,
    view: RefCell<View>,
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

/// Leave to use an endpoint for one request or connection, which counts as its load until dropped.
pub(super) struct Ticket {
    peer: Rc<Peer>,
    backend: Arc<Backend>,
    admission: Admission,
    settled: Cell<bool>,
}

/// What a backend is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Requests: connections are pooled and made ahead.
    Http,
    /// Connections of their own.
    Tcp,
}

impl Balancer {
    /// An empty view; it fills at the first use.
    pub(super) fn new(backend: &Arc<Backend>, settings: Rc<Settings>, metrics: OutboundMetrics) -> Rc<Self> {
        let set = EndpointSet::new(super::endpoint::Known::Pending, Vec::new());
        let view = RefCell::new(View { set, peers: Vec::new() });
        let endpoints = metrics.balancer(&backend.name);
        Rc::new(Self { backend: Arc::downgrade(backend), settings, metrics, endpoints, view })
    }

    /// Whether nobody refers to the backend any more.
    pub(super) fn is_orphan(&self) -> bool {
        self.backend.strong_count() == 0
    }

    /// Closes connections that were idle for too long.
    pub(super) fn close_idle(&self) {
        self.view.borrow().peers.iter().for_each(|peer| peer.pool.close_idle());
    }

    /// Brings the gauges of the backend up to date.
    pub(super) fn report(&self) {
        let Some(backend) = self.backend.upgrade() else { return };
        let (set, now) = (backend.current(), Instant::now());
        let ready = set.endpoints.iter().filter(|e| e.health.ready(now)).count();
        self.endpoints.report(ready, set.endpoints.len() - ready);
    }

    /// Picks an endpoint that was not `tried`, without waiting.
    pub(super) fn pick(&self, backend: &Arc<Backend>, tried: &[SocketAddr], for_: Use) -> Option<Ticket> {
        let now = Instant::now();
        self.refresh(backend, now);
        let view = self.view.borrow();
        let ticket =
            |peer: &Rc<Peer>, admission| Ticket::new(Rc::clone(peer), Arc::clone(backend), admission);
        self.reconnect(backend, &view, for_, now);
        if let Some(trial) = self.on_trial(&view, tried, now) {
            return Some(ticket(trial, Admission::Trial));
        }
        let load = |index: usize| {
            let peer = &view.peers[index];
            let usable = peer.endpoint.health.ready(now) && !tried.contains(&peer.endpoint.addr);
            usable.then(|| Load {
                rtt: peer.load.ewma.borrow().seconds(now),
                inflight: peer.load.inflight.get(),
            })
        };
        let picked = view.set.weights.pick(load, &mut rand::rng())?;
        Some(ticket(&view.peers[picked], Admission::Normal))
    }

    /// Connects to endpoints that could not be connected to, where it is time to; no request has to try.
    pub(super) fn revive(&self, backend: &Arc<Backend>, for_: Use) {
        let now = Instant::now();
        self.refresh(backend, now);
        self.reconnect(backend, &self.view.borrow(), for_, now);
    }

    fn reconnect(&self, backend: &Arc<Backend>, view: &View, for_: Use, now: Instant) {
        for peer in &view.peers {
            let connect = &peer.endpoint.health.connect;
            if connect.status(now) != BreakerStatus::Probation || connect.admit(now).is_none() {
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
        view.peers.iter().find(|peer| {
            let health = &peer.endpoint.health;
            health.on_probation(now)
                && !tried.contains(&peer.endpoint.addr)
                && health.requests.admit(now).is_some()
        })
    }

    /// Follows discovery; connections and estimates of endpoints that stay are kept.
    fn refresh(&self, backend: &Arc<Backend>, now: Instant) {
        let set = backend.endpoints.borrow();
        if Arc::ptr_eq(&self.view.borrow().set, &set) {
            return;
        }
        let view = &mut *self.view.borrow_mut();
        let peer = |endpoint: &Arc<Endpoint>| {
            let known = view.peers.iter().find(|peer| peer.endpoint.addr == endpoint.addr);
            match known {
                Some(known) if Arc::ptr_eq(&known.endpoint, endpoint) => Rc::clone(known),
                Some(known) if *known.pool.transport() == endpoint.transport => Rc::new(Peer {
                    endpoint: Arc::clone(endpoint),
                    pool: Rc::clone(&known.pool),
                    metrics: self.metrics.endpoint(&endpoint.labels),
                    load: Rc::clone(&known.load),
                }),
                _ => {
                    let metrics = self.metrics.endpoint(&endpoint.labels);
                    let (transport, health) = (endpoint.transport.clone(), Arc::clone(&endpoint.health));
                    let pool = Pool::new(transport, health, Rc::clone(&self.settings), Rc::clone(&metrics));
                    Rc::new(Peer {
                        endpoint: Arc::clone(endpoint),
                        pool,
                        metrics,
                        load: Rc::new(PeerLoad {
                            ewma: RefCell::new(PeakEwma::new(backend.setup.ewma, now)),
                            inflight: Cell::new(0),
                        }),
                    })
                }
            }
        };
        let peers = set.endpoints.iter().map(peer).collect();
        *view = View { set: Arc::clone(&set), peers };
    }
}

impl Ticket {
    fn new(peer: Rc<Peer>, backend: Arc<Backend>, admission: Admission) -> Self {
        peer.load.inflight.set(peer.load.inflight.get() + 1);
        Self { peer, backend, admission, settled: Cell::new(false) }
    }

    /// The endpoint.
    pub(super) fn peer(&self) -> &Rc<Peer> {
        &self.peer
    }

    /// A response began after this time.
    pub(super) fn answered(&self, after: Duration) {
        self.peer.load.ewma.borrow_mut().record(after, Instant::now());
    }

    /// How the use went, for failure accrual; the first word counts.
    pub(super) fn settle(&self, success: bool) {
        if self.settled.replace(true) {
            return;
        }
        let (requests, now) = (&self.peer.endpoint.health.requests, Instant::now());
        let changed = if success {
            requests.success(self.admission)
        } else {
            requests.failure(self.admission, self.backend.may_eject(now), rand::random(), now)
        };
        if changed {
            tracing::info!(endpoint = %self.peer.endpoint.addr, back = success, backend = %self.backend.name, "failure accrual");
            self.backend.standing(now);
            if success {
                self.backend.recovered.notify_waiters();
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let inflight = &self.peer.load.inflight;
        inflight.set(inflight.get().saturating_sub(1));
    }
}
