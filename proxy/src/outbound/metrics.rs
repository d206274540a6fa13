//! The outbound side's metrics, by Linkerd's names and labels.

use crate::error::Error;
use http::StatusCode;
use mesh_metrics::{
    Counter, CounterFamily, Gauge, GaugeFamily, Histogram, HistogramFamily, Labels, Registry,
};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

/// Upper bounds of `response_latency_ms` (Linkerd's).
const LATENCY_MS: &[f64] = &[
    1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 100.0, 200.0, 300.0, 400.0, 500.0, 1_000.0,
    2_000.0, 3_000.0, 4_000.0, 5_000.0, 10_000.0, 20_000.0, 30_000.0, 40_000.0, 50_000.0,
];

/// Upper bounds of `outbound_http_route_backend_response_duration_seconds` (Linkerd's).
const DURATION_SECONDS: &[f64] = &[0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 10.0];

/// The families of the outbound side.
#[derive(Clone)]
pub(super) struct OutboundMetrics {
    requests: CounterFamily,
    responses: CounterFamily,
    latency: HistogramFamily,
    open: CounterFamily,
    open_now: GaugeFamily,
    read: CounterFamily,
    written: CounterFamily,
    http_errors: CounterFamily,
    tcp_errors: CounterFamily,
    route_statuses: CounterFamily,
    route_retries: CounterFamily,
    backend_requests: CounterFamily,
    backend_statuses: CounterFamily,
    backend_durations: HistogramFamily,
    balancer_endpoints: GaugeFamily,
    protocols: CounterFamily,
    detected: CounterFamily,
}

/// The series of one endpoint.
pub(crate) struct EndpointMetrics {
    /// Requests sent.
    pub(super) requests: Counter,
    /// Connections made.
    pub(crate) opened: Counter,
    /// Connections open now.
    pub(crate) open: Gauge,
    /// Bytes read.
    pub(crate) read: Counter,
    /// Bytes written.
    pub(crate) written: Counter,
    responses: CounterFamily,
    latency: HistogramFamily,
    labels: Labels,
    seen: RefCell<Vec<(Outcome, Counter, Histogram)>>,
}

/// What responses are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The HTTP status.
    pub(super) status: StatusCode,
    /// The gRPC status, where it is gRPC.
    pub(super) grpc: Option<u16>,
    /// Whether it counts as a success.
    pub(super) success: bool,
}

/// Counters of a route or of one of its backends, by HTTP status and error.
pub(super) struct Statuses {
    family: CounterFamily,
    labels: Labels,
    seen: RefCell<Vec<((u16, &'static str), Counter)>>,
}

/// The series of one route as one connection uses it.
pub(super) struct RouteMetrics {
    /// Responses given to clients.
    pub(super) statuses: Statuses,
    /// Attempts beyond the first.
    pub(super) retries: Counter,
}

/// The series of one backend of a route.
pub(super) struct BackendMetrics {
    /// Requests sent.
    pub(super) requests: Counter,
    /// Responses received.
    pub(super) statuses: Statuses,
    /// Seconds from sending a request to the end of its response.
    pub(super) duration: Histogram,
}

/// How many endpoints of a backend take requests, and how many do not now.
pub(super) struct BalancerMetrics {
    ready: Gauge,
    pending: Gauge,
}

impl BalancerMetrics {
    /// Sets both.
    pub(super) fn report(&self, ready: usize, pending: usize) {
        self.ready.set(i64::try_from(ready).unwrap_or(i64::MAX));
        self.pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
    }
}

impl OutboundMetrics {
    /// Registers the families.
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
            read: counter("tcp_read_bytes", "Bytes read from peers"),
            written: counter("tcp_write_bytes", "Bytes written to peers"),
            http_errors: counter("outbound_http_errors", "HTTP requests that failed in the proxy"),
            tcp_errors: counter("outbound_tcp_errors", "TCP connections that failed in the proxy"),
            route_statuses: counter(
                "outbound_http_route_request_statuses",
                "Responses and errors that clients got",
            ),
            route_retries: counter("outbound_http_route_retry_requests", "Attempts beyond the first"),
            backend_requests: counter("outbound_http_route_backend_requests", "Requests sent to a backend"),
            backend_statuses: counter(
                "outbound_http_route_backend_response_statuses",
                "Responses and errors of a backend",
            ),
            backend_durations: registry.histogram(
                "outbound_http_route_backend_response_duration_seconds",
                "Time from sending a request to a backend to the end of its response",
                DURATION_SECONDS,
            ),
            balancer_endpoints: registry.gauge(
                "outbound_http_balancer_endpoints",
                "Endpoints of a backend by whether they take requests",
            ),
            protocols: counter("outbound_tcp_protocol_connections", "Connections by protocol"),
            detected: counter("outbound_tcp_detect_http_results", "Results of HTTP detection"),
        }
    }

    /// The series of an endpoint.
    pub(super) fn endpoint(&self, labels: &Labels) -> Rc<EndpointMetrics> {
        let tcp = labels.with("peer", "dst");
        Rc::new(EndpointMetrics {
            requests: self.requests.get(labels),
            opened: self.open.get(&tcp),
            open: self.open_now.get(&tcp),
            read: self.read.get(&tcp),
            written: self.written.get(&tcp),
            responses: self.responses.clone(),
            latency: self.latency.clone(),
            labels: labels.clone(),
            seen: RefCell::default(),
        })
    }

    /// The series of accepted connections to a destination: read, written, open now.
    pub(super) fn accepted(&self, target: SocketAddr) -> (Counter, Counter, Gauge) {
        let labels = Labels::from_iter([("direction", "outbound"), ("peer", "src")])
            .with("target_addr", target.to_string())
            .with("target_ip", target.ip().to_string())
            .with("target_port", target.port().to_string())
            .with("tls", "loopback");
        self.open.get(&labels).inc();
        (self.read.get(&labels), self.written.get(&labels), self.open_now.get(&labels))
    }

    /// The series of a route.
    pub(super) fn route(&self, labels: &Labels) -> RouteMetrics {
        RouteMetrics {
            statuses: Statuses::new(&self.route_statuses, labels),
            retries: self.route_retries.get(labels),
        }
    }

    /// The series of a backend of a route.
    pub(super) fn backend(&self, labels: &Labels) -> BackendMetrics {
        BackendMetrics {
            requests: self.backend_requests.get(labels),
            statuses: Statuses::new(&self.backend_statuses, labels),
            duration: self.backend_durations.get(labels),
        }
    }

    /// The gauges of a backend.
    pub(super) fn balancer(&self, name: &str) -> BalancerMetrics {
        let labels = Labels::from_iter([("backend_name", name.to_owned())]);
        let state = |state: &'static str| self.balancer_endpoints.get(&labels.with("endpoint_state", state));
        BalancerMetrics { ready: state("ready"), pending: state("pending") }
    }

    /// A request failed in the proxy.
    pub(super) fn http_error(&self, target: &str, error: &Error) {
        self.http_errors.get(&error_labels(target, error)).inc();
    }

    /// A connection failed in the proxy.
    pub(super) fn tcp_error(&self, target: &str, error: &Error) {
        self.tcp_errors.get(&error_labels(target, error)).inc();
    }

    /// A connection speaks this.
    pub(super) fn protocol(&self, protocol: &'static str, parent: &Labels) {
        self.protocols.get(&Labels::from_iter([("protocol", protocol)]).extend(pairs(parent))).inc();
    }

    /// HTTP detection ended.
    pub(super) fn detected(&self, result: &'static str, parent: &Labels) {
        self.detected.get(&parent.with("result", result)).inc();
    }
}

fn pairs(labels: &Labels) -> impl Iterator<Item = (String, String)> + '_ {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()))
}

fn error_labels(target: &str, error: &Error) -> Labels {
    Labels::from_iter([("error", error.label())]).with("target_addr", target.to_owned())
}

impl EndpointMetrics {
    /// A response has ended after this many milliseconds.
    pub(super) fn response(&self, outcome: Outcome, millis: f64) {
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

impl Statuses {
    fn new(family: &CounterFamily, labels: &Labels) -> Self {
        Self { family: family.clone(), labels: labels.clone(), seen: RefCell::default() }
    }

    /// One more with this status, or with this error.
    pub(super) fn inc(&self, status: Option<StatusCode>, error: &'static str) {
        let key = (status.map_or(0, |s| s.as_u16()), error);
        let mut seen = self.seen.borrow_mut();
        let position = seen.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
            let status = status.map(|s| s.as_str().to_owned()).unwrap_or_default();
            let labels = self.labels.with("http_status", status).with("error", error);
            seen.push((key, self.family.get(&labels)));
            seen.len() - 1
        });
        seen[position].1.inc();
    }
}
