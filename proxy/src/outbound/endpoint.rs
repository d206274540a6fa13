//! Where requests can go: endpoints with what is needed to reach them, and the state that all workers share about them.

mod health;

pub use health::{Ailing, Health};

use ahash::AHashMap;
use http::uri::Authority as UriAuthority;
use mesh_balance::{Backoff, BreakerConfig, EwmaConfig, Standing, Tier, Weights};
use mesh_metrics::Labels;
use mesh_tls::ServerName;
use mesh_types::Identity;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// One place a request can be sent to.
#[derive(Debug)]
pub struct Endpoint {
    /// Its address, as discovery names it.
    pub addr: SocketAddr,
    /// How to reach it.
    pub transport: Transport,
    /// Its share among the others.
    pub weight: u32,
    /// What metrics say about it.
    pub labels: Labels,
    /// How it fares; kept when discovery changes anything else about the endpoint.
    pub health: Arc<Health>,
}

impl Endpoint {
    fn is_described_as(&self, other: &Self) -> bool {
        (self.addr, &self.transport, self.weight, &self.labels)
            == (other.addr, &other.transport, other.weight, &other.labels)
    }
}

/// How to reach an endpoint. Connections are kept while this stays the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Where to connect to.
    pub dial: SocketAddr,
    /// The identity to verify, and the name to ask for; `None` means plaintext.
    pub tls: Option<(Identity, ServerName<'static>)>,
    /// What the transport header says, where there is one.
    pub header: Option<(u16, Option<String>)>,
    /// What the endpoint's proxy understands.
    pub hint: Hint,
    /// The authority to ask for in place of the client's.
    pub authority: Option<UriAuthority>,
    /// HTTP/2 keep-alive: interval, timeout, whether without streams too.
    pub keep_alive: Option<(Duration, Duration, bool)>,
    /// HTTP/2 flow control, where discovery sets it.
    pub flow_control: Option<FlowControl>,
}

#[cfg(test)]
impl Transport {
    /// In plaintext.
    pub(crate) fn plain(dial: SocketAddr) -> Self {
        Self {
            dial,
            tls: None,
            header: None,
            hint: Hint::Unknown,
            authority: None,
            keep_alive: None,
            flow_control: None,
        }
    }
}

/// HTTP/2 flow control of connections to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowControl {
    /// Stream window, bytes; 0 leaves the default.
    pub stream_window: u32,
    /// Connection window, bytes; 0 leaves the default.
    pub connection_window: u32,
    /// Windows grow with what the path holds.
    pub adaptive: bool,
}

/// What an endpoint's proxy understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Whatever the client speaks.
    Unknown,
    /// HTTP/1 carried over HTTP/2.
    Http2,
    /// Bytes.
    Opaque,
}

/// What discovery says about a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing yet.
    Pending,
    /// There is no such service.
    Absent,
    /// It exists, with or without endpoints.
    Present,
}

/// The endpoints of a backend at one moment.
#[derive(Debug)]
pub struct EndpointSet {
    /// What is known.
    pub known: Known,
    /// The endpoints.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Their weights, prepared.
    pub weights: Weights,
}

impl EndpointSet {
    /// A set of endpoints.
    pub fn new(known: Known, endpoints: Vec<Arc<Endpoint>>) -> Arc<Self> {
        let weights = Weights::new(endpoints.iter().map(|e| e.weight));
        Arc::new(Self { known, endpoints, weights })
    }
}

/// How a backend treats its endpoints and requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setup {
    /// How latency is estimated.
    pub ewma: EwmaConfig,
    /// When endpoints are ejected.
    pub accrual: BreakerConfig,
    /// Endpoints that are never ejected by requests.
    pub min_ready: usize,
    /// Requests that may wait for an endpoint.
    pub queue_capacity: usize,
    /// How long a request may wait, and after which the backend fails at once.
    pub failfast_timeout: Duration,
    /// Time over which an endpoint that joins others gets its share; zero gives it at once.
    pub slow_start: Duration,
    /// Requests and connections that one endpoint takes at a time; 0 means any number.
    pub max_in_flight: u32,
}

impl Default for Setup {
    /// What Linkerd's policy controller writes for services without annotations; no ejection by requests.
    fn default() -> Self {
        let backoff = Backoff { min: Duration::from_secs(1), max: Duration::from_secs(60), jitter: 0.5 };
        Self {
            ewma: EwmaConfig::default(),
            accrual: BreakerConfig { max_failures: 0, success_rate: None, backoff, honor_retry_after: false },
            min_ready: 0,
            queue_capacity: 100,
            failfast_timeout: Duration::from_secs(3),
            slow_start: Duration::ZERO,
            max_in_flight: 0,
        }
    }
}

/// A group of endpoints, shared by all workers and by everything that refers to it.
#[derive(Debug)]
pub struct Backend {
    /// Unique in the process.
    pub id: usize,
    /// What it is called in messages.
    pub name: Arc<str>,
    /// What metrics say about it (`backend_*`).
    pub labels: Labels,
    /// How it is set up.
    pub setup: Setup,
    /// The endpoints.
    pub endpoints: watch::Receiver<Arc<EndpointSet>>,
    /// How many of them are out of use.
    pub ailing: Arc<Ailing>,
    /// Told when an endpoint comes back or connects.
    pub recovered: Notify,
    /// Its standing as a tier.
    pub tier: Tier,
    /// Requests waiting for an endpoint.
    pub waiting: AtomicUsize,
    /// A request has waited in vain: the next ones do not wait until an endpoint has taken one.
    pub failfast: AtomicBool,
}

static NEXT_ID: AtomicUsize = AtomicUsize::new(0);

impl Backend {
    /// A backend over `endpoints`.
    pub fn new(
        name: Arc<str>,
        labels: Labels,
        setup: Setup,
        endpoints: watch::Receiver<Arc<EndpointSet>>,
        ailing: Arc<Ailing>,
        now: Instant,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Relaxed),
            name,
            labels,
            setup,
            endpoints,
            ailing,
            recovered: Notify::new(),
            tier: Tier::new(now),
            waiting: AtomicUsize::new(0),
            failfast: AtomicBool::new(false),
        })
    }

    /// The endpoints now.
    pub fn current(&self) -> Arc<EndpointSet> {
        Arc::clone(&self.endpoints.borrow())
    }

    /// Whether requests do not wait.
    pub fn in_failfast(&self) -> bool {
        self.failfast.load(Relaxed)
    }

    /// Whether there may be news of its endpoints.
    pub fn may_change(&self) -> bool {
        self.endpoints.has_changed().is_ok()
    }

    /// How the backend stands as a tier. While nothing is known of it, it is neither up nor down.
    pub fn standing(&self, now: Instant) -> Option<Standing> {
        let set = self.endpoints.borrow();
        if set.known == Known::Pending {
            return None;
        }
        let all_well = self.ailing.is_none() && !set.endpoints.is_empty();
        let ready = all_well || set.endpoints.iter().any(|e| e.health.ready());
        let trial = !ready && set.endpoints.iter().any(|e| e.health.on_probation(now));
        Some(self.tier.observe(ready, trial, now))
    }

    /// Waits until something is known, for at most `limit`.
    pub async fn known(&self, limit: Duration) {
        let mut endpoints = self.endpoints.clone();
        // Neither the end of the wait nor that of discovery is an error here: the standing says what is known.
        let _ = tokio::time::timeout(limit, endpoints.wait_for(|set| set.known != Known::Pending)).await;
    }

    /// Why no endpoint can take a request, in words for the client.
    pub fn reason(&self) -> String {
        let set = self.endpoints.borrow();
        let (total, ready) = (set.endpoints.len(), set.endpoints.iter().filter(|e| e.health.ready()).count());
        match set.known {
            Known::Pending => format!("{} (endpoints not known yet)", self.name),
            Known::Absent => format!("{} (no such service)", self.name),
            Known::Present => format!("{} ({ready} of {total} ready)", self.name),
        }
    }

    /// Whether one more endpoint may be ejected.
    pub fn may_eject(&self) -> bool {
        let floor = self.setup.min_ready;
        floor == 0 || self.endpoints.borrow().endpoints.iter().filter(|e| e.health.ready()).count() > floor
    }

    /// Whether endpoints are ready, and each has all the requests it may have.
    pub fn is_busy(&self) -> bool {
        let set = self.endpoints.borrow();
        let mut ready = set.endpoints.iter().filter(|e| e.health.ready()).peekable();
        ready.peek().is_some() && ready.all(|endpoint| self.is_full(endpoint))
    }

    /// Whether an endpoint has all the requests it may have at a time.
    pub fn is_full(&self, endpoint: &Endpoint) -> bool {
        let most = self.setup.max_in_flight;
        most > 0 && endpoint.health.in_flight().load(Relaxed) >= most
    }
}

/// Builds the next set from discovery's description, keeping what is known about endpoints that stay.
#[derive(Debug, Default)]
pub struct Members {
    members: AHashMap<SocketAddr, Arc<Endpoint>>,
}

impl Members {
    /// Adds or replaces an endpoint.
    pub fn put(&mut self, mut endpoint: Endpoint) {
        if let Some(known) = self.members.get(&endpoint.addr) {
            if known.is_described_as(&endpoint) {
                return;
            }
            endpoint.health = Arc::clone(&known.health);
        }
        self.members.insert(endpoint.addr, Arc::new(endpoint));
    }

    /// Removes an endpoint.
    pub fn remove(&mut self, addr: SocketAddr) {
        self.members.remove(&addr);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.members.clear();
    }

    /// Keeps only these, as after a stream was opened anew.
    pub fn retain(&mut self, keep: impl Fn(&SocketAddr) -> bool) {
        self.members.retain(|addr, _| keep(addr));
    }

    /// The set, in the order of addresses.
    pub fn set(&self, known: Known) -> Arc<EndpointSet> {
        let mut endpoints: Vec<_> = self.members.values().cloned().collect();
        endpoints.sort_unstable_by_key(|e| e.addr);
        EndpointSet::new(known, endpoints)
    }
}
