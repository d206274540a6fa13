//! Endpoints and connections.

use crate::inbound::errno;
use http::StatusCode;
use mesh_metrics::{
    Counter, CounterFamily, Gauge, GaugeFamily, Histogram, HistogramFamily, Labels, Registry,
};
use std::cell::RefCell;
use std::io;
use std::rc::Rc;

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
    opened: Counter,
    open: Gauge,
    closed: CounterFamily,
    tcp: Labels,
    responses: CounterFamily,
    latency: HistogramFamily,
    labels: Labels,
    seen: RefCell<Vec<(Outcome, Counter, Histogram)>>,
}

/// A connection that is counted while it is open, and by its end.
pub(crate) struct OpenConnection {
    open: Gauge,
    closed: CounterFamily,
    labels: Labels,
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
            opened: self.open.get(&tcp),
            open: self.open_now.get(&tcp),
            closed: self.closed.clone(),
            read: self.read.get(&tcp),
            written: self.written.get(&tcp),
            tcp,
            responses: self.responses.clone(),
            latency: self.latency.clone(),
            labels: labels.clone(),
            seen: RefCell::default(),
        })
    }

    /// A connection was opened: read, written, and what counts it.
    pub(super) fn connection(&self, labels: &Labels) -> (Counter, Counter, OpenConnection) {
        self.open.get(labels).inc();
        let open = OpenConnection::new(self.open_now.get(labels), self.closed.clone(), labels.clone());
        (self.read.get(labels), self.written.get(labels), open)
    }
}

impl EndpointMetrics {
    /// A connection was made.
    pub(crate) fn connected(&self) -> OpenConnection {
        self.opened.inc();
        OpenConnection::new(self.open.clone(), self.closed.clone(), self.tcp.clone())
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
    fn new(open: Gauge, closed: CounterFamily, labels: Labels) -> Self {
        open.inc();
        Self { open, closed, labels, errno: "" }
    }

    /// Reading or writing failed; the first failure is what ended it.
    pub(crate) fn failed(&mut self, error: &io::Error) {
        if self.errno.is_empty() {
            self.errno = errno(error);
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.open.dec();
        self.closed.get(&self.labels.with("errno", self.errno)).inc();
    }
}
