//! Routes of requests, and their backends.

use http::StatusCode;
use mesh_metrics::{Counter, CounterFamily, Histogram, HistogramFamily, Labels, Registry};
use std::cell::RefCell;
use std::time::Duration;

/// Upper bounds of `…_route_request_duration_seconds` (Linkerd's).
const ROUTE_SECONDS: &[f64] = &[0.05, 0.5, 1.0, 10.0];
/// Upper bounds of `…_route_backend_response_duration_seconds` (Linkerd's).
const BACKEND_SECONDS: &[f64] = &[0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 10.0];
/// Upper bounds of `…_frame_size_bytes`.
const FRAME_BYTES: &[f64] = &[128.0, 1024.0, 10_240.0];

/// The families of routes of one kind.
#[derive(Clone)]
pub(super) struct RouteFamilies {
    grpc: bool,
    statuses: CounterFamily,
    durations: HistogramFamily,
    frames: HistogramFamily,
    retries: CounterFamily,
    retry_successes: CounterFamily,
    retry_limited: CounterFamily,
    retry_overflow: CounterFamily,
    backend_requests: CounterFamily,
    backend_statuses: CounterFamily,
    backend_durations: HistogramFamily,
    backend_frames: HistogramFamily,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::outbound) struct Ended {
    /// The HTTP status, if there was a response.
    pub(in crate::outbound) status: Option<StatusCode>,
    /// The gRPC status, if there was one.
    pub(in crate::outbound) grpc: Option<u16>,
    /// Why it failed in the proxy; empty if it did not.
    pub(in crate::outbound) error: &'static str,
}

/// Counters of a route or of one of its backends, by status and error.
struct Statuses {
    grpc: bool,
    family: CounterFamily,
    labels: Labels,
    seen: RefCell<Vec<(Ended, Counter)>>,
}

/// The series of one route as one connection uses it.
pub(in crate::outbound) struct RouteMetrics {
    statuses: Statuses,
    duration: Histogram,
    /// Data frames of requests.
    pub(in crate::outbound) frames: Histogram,
    /// Attempts that the retry policy asked for.
    pub(in crate::outbound) retries: Counter,
    /// Requests that succeeded in such an attempt.
    pub(in crate::outbound) retry_successes: Counter,
    /// Requests that failed in the last attempt they had.
    pub(in crate::outbound) retry_limited: Counter,
    /// Attempts that the retry budget did not allow.
    pub(in crate::outbound) retry_overflow: Counter,
}

/// The series of one backend of a route.
pub(in crate::outbound) struct BackendMetrics {
    /// Requests sent.
    pub(in crate::outbound) requests: Counter,
    statuses: Statuses,
    duration: Histogram,
    /// Data frames of responses.
    pub(in crate::outbound) frames: Histogram,
}

impl RouteFamilies {
    pub(super) fn http(registry: &Registry) -> Self {
        Self::new(registry, "http", false)
    }

    pub(super) fn grpc(registry: &Registry) -> Self {
        Self::new(registry, "grpc", true)
    }

    fn new(registry: &Registry, kind: &str, grpc: bool) -> Self {
        let name = |part: &str| format!("outbound_{kind}_route_{part}");
        let counter = |part, help| registry.counter(&name(part), help);
        let histogram = |part, help, bounds| registry.histogram(&name(part), help, bounds);
        Self {
            grpc,
            statuses: counter("request_statuses", "Responses and errors that clients got"),
            durations: histogram(
                "request_duration_seconds",
                "Time from a request's beginning to its response's end",
                ROUTE_SECONDS,
            ),
            frames: histogram(
                "request_frame_size_bytes",
                "Sizes of the data frames of requests",
                FRAME_BYTES,
            ),
            retries: counter("retry_requests", "Attempts that the retry policy asked for"),
            retry_successes: counter("retry_successes", "Requests that succeeded in such an attempt"),
            retry_limited: counter("retry_limit_exceeded", "Requests that failed in their last attempt"),
            retry_overflow: counter("retry_overflow", "Attempts that the retry budget did not allow"),
            backend_requests: counter("backend_requests", "Requests sent to a backend"),
            backend_statuses: counter("backend_response_statuses", "Responses and errors of a backend"),
            backend_durations: histogram(
                "backend_response_duration_seconds",
                "Time from sending a request to a backend to the end of its response",
                BACKEND_SECONDS,
            ),
            backend_frames: histogram(
                "backend_response_frame_size_bytes",
                "Sizes of the data frames of responses",
                FRAME_BYTES,
            ),
        }
    }

    pub(super) fn route(&self, labels: &Labels) -> RouteMetrics {
        RouteMetrics {
            statuses: Statuses::new(self.grpc, &self.statuses, labels),
            duration: self.durations.get(labels),
            frames: self.frames.get(labels),
            retries: self.retries.get(labels),
            retry_successes: self.retry_successes.get(labels),
            retry_limited: self.retry_limited.get(labels),
            retry_overflow: self.retry_overflow.get(labels),
        }
    }

    pub(super) fn backend(&self, labels: &Labels) -> BackendMetrics {
        BackendMetrics {
            requests: self.backend_requests.get(labels),
            statuses: Statuses::new(self.grpc, &self.backend_statuses, labels),
            duration: self.backend_durations.get(labels),
            frames: self.backend_frames.get(labels),
        }
    }
}

impl RouteMetrics {
    /// A client got a response or an error, so long after its request.
    pub(in crate::outbound) fn ended(&self, ended: Ended, after: Duration) {
        self.statuses.inc(ended);
        self.duration.observe(after.as_secs_f64());
    }
}

impl BackendMetrics {
    /// A backend's response ended, or none came, so long after the request was sent.
    pub(in crate::outbound) fn ended(&self, ended: Ended, after: Duration) {
        self.statuses.inc(ended);
        self.duration.observe(after.as_secs_f64());
    }
}

impl Statuses {
    fn new(grpc: bool, family: &CounterFamily, labels: &Labels) -> Self {
        Self { grpc, family: family.clone(), labels: labels.clone(), seen: RefCell::default() }
    }

    fn inc(&self, ended: Ended) {
        // What is not shown does not tell series apart.
        let key = if self.grpc { Ended { status: None, ..ended } } else { Ended { grpc: None, ..ended } };
        let mut seen = self.seen.borrow_mut();
        let position = seen.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
            let labels = if self.grpc {
                self.labels.with("grpc_status", key.grpc.map(|code| code.to_string()).unwrap_or_default())
            } else {
                self.labels.with("http_status", key.status.map(|s| s.as_str().to_owned()).unwrap_or_default())
            };
            seen.push((key, self.family.get(&labels.with("error", key.error))));
            seen.len() - 1
        });
        seen[position].1.inc();
    }
}
