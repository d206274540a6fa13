//! Endpoints and connections.

use crate::inbound::errno;
use http::StatusCode;
use mesh_metrics::{
    Counter, CounterFamily, Gauge, GaugeFamily, Histogram, HistogramFamily, Labels, Registry,
};
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

/// Upper bounds of `response_latency_ms` (Linkerd's).
const LATENCY_MS: &[f64] = &[
    1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 100.0, 200.0, 300.0, 400.0, 500.0, 1_000.0,
    2_000.0, 3_000.0, 4_000.0, 5_000.0, 10_000.0, 20_000.0, 30_000.0, 40_000.0, 50_000.0,
];

#[derive(Clone)]
pub(super) struct EndpointFamilies {
    requests: CounterFamily,
    responses: CounterFamily,
    latency: HistogramFamily,
    open: CounterFamily,
    open_now: GaugeFamily,
    closed: CounterFamily,
    read: CounterFamily,
    written: CounterFamily,
}

/// The series of one endpoint.
pub(crate) struct EndpointMetrics {
    /// Requests sent.
    pub(in crate::outbound) requests: Counter,
    /// Bytes read.
    pub(crate) read: Counter,
    /// Bytes written.
    pub(crate) written: Counter,
    connections: Arc<Connections>,
    responses: CounterFamily,
    latency: HistogramFamily,
    labels: Labels,
    seen: RefCell<Vec<(Outcome, Counter, Histogram)>>,
}

/// The series of connections accepted for one destination.
pub(in crate::outbound) struct AcceptedMetrics {
    /// Bytes read.
    pub(in crate::outbound) read: Counter,
    /// Bytes written.
    pub(in crate::outbound) written: Counter,
    connections: Arc<Connections>,
}

/// The series of connections with the same labels.
struct Connections {
    opened: Counter,
    open: Gauge,
    closed: CounterFamily,
    closed_well: OnceLock<Counter>,
    labels: Labels,
}

/// A connection that is counted while it is open, and by its end.
pub(crate) struct OpenConnection {
    among: Arc<Connections>,
    errno: &'static str,
}

/// What responses are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::outbound) struct Outcome {
    /// The HTTP status.
    pub(in crate::outbound) status: StatusCode,
    /// The gRPC status, where it is gRPC.
    pub(in crate::outbound) grpc: Option<u16>,
    /// Whether it counts as a success.
    pub(in crate::outbound) success: bool,
}

impl EndpointFamilies {
    pub(super) fn new(registry: &Registry) -> Self {
        let counter = |name, help| registry.counter(name, help);
        Self {
            requests: counter("request", "Total count of HTTP requests"),
            responses: counter("response", "Total count of HTTP responses"),
            latency: registry.histogram(
                "response_latency_ms",
                "Elapsed times between a request's headers being received and its response stream completing",
                LATENCY_MS,
            ),
            open: counter("tcp_open", "Connections opened"),
            open_now: registry.gauge("tcp_open_connections", "Connections open now"),
            closed: counter("tcp_close", "Connections closed"),
            read: counter("tcp_read_bytes", "Bytes read from peers"),
            written: counter("tcp_write_bytes", "Bytes written to peers"),
        }
    }

    pub(super) fn endpoint(&self, labels: &Labels) -> Rc<EndpointMetrics> {
        let tcp = labels.with("peer", "dst");
        Rc::new(EndpointMetrics {
            requests: self.requests.get(labels),
            read: self.read.get(&tcp),
            written: self.written.get(&tcp),
            connections: Connections::new(self, tcp),
            responses: self.responses.clone(),
            latency: self.latency.clone(),
            labels: labels.clone(),
            seen: RefCell::default(),
        })
    }

    /// The series of accepted connections.
    pub(super) fn accepted(&self, labels: Labels) -> AcceptedMetrics {
        AcceptedMetrics {
            read: self.read.get(&labels),
            written: self.written.get(&labels),
            connections: Connections::new(self, labels),
        }
    }
}

impl Connections {
    fn new(families: &EndpointFamilies, labels: Labels) -> Arc<Self> {
        Arc::new(Self {
            opened: families.open.get(&labels),
            open: families.open_now.get(&labels),
            closed: families.closed.clone(),
            closed_well: OnceLock::new(),
            labels,
        })
    }

    fn connected(self: &Arc<Self>) -> OpenConnection {
        self.opened.inc();
        self.open.inc();
        OpenConnection { among: Arc::clone(self), errno: "" }
    }

    fn closed(&self, errno: &'static str) {
        let closed = || self.closed.get(&self.labels.with("errno", errno));
        self.open.dec();
        if errno.is_empty() { self.closed_well.get_or_init(closed).inc() } else { closed().inc() }
    }
}

impl AcceptedMetrics {
    /// A connection was accepted.
    pub(in crate::outbound) fn connected(&self) -> OpenConnection {
        self.connections.connected()
    }
}

impl EndpointMetrics {
    /// A connection was made.
    pub(crate) fn connected(&self) -> OpenConnection {
        self.connections.connected()
    }

    /// A response has ended after this many milliseconds.
    pub(in crate::outbound) fn response(&self, outcome: Outcome, millis: f64) {
        let mut seen = self.seen.borrow_mut();
        let position = seen.iter().position(|(known, ..)| *known == outcome).unwrap_or_else(|| {
            let status = self.labels.with("status_code", outcome.status.as_str().to_owned());
            let mut labels =
                status.with("classification", if outcome.success { "success" } else { "failure" });
            if let Some(grpc) = outcome.grpc {
                labels = labels.with("grpc_status", grpc.to_string());
            }
            seen.push((outcome, self.responses.get(&labels), self.latency.get(&status)));
            seen.len() - 1
        });
        let (_, count, latency) = &seen[position];
        count.inc();
        latency.observe(millis);
    }
}

impl OpenConnection {
    /// Reading or writing failed; the first failure is what ended it.
    pub(crate) fn failed(&mut self, error: &io::Error) {
        if self.errno.is_empty() {
            self.errno = errno(error);
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.among.closed(self.errno);
    }
}
