//! What Linkerd counts by server and route since its 2.19: requests, statuses, durations and sizes of frames, for HTTP and
//! gRPC apart.

use super::{Meta, ServerPolicy, with_meta};
use crate::inbound::policy::Protocol;
use http::StatusCode;
use mesh_metrics::{Counter, CounterFamily, Histogram, HistogramFamily, Labels, Registry};
use std::cell::RefCell;
use std::time::Duration;

/// Upper bounds of frame sizes (Linkerd's).
const FRAME_BYTES: &[f64] = &[128.0, 1024.0, 10_240.0];
/// Upper bounds of a request's duration (those of Linkerd's outbound routes).
const REQUEST_SECONDS: &[f64] = &[0.05, 0.5, 1.0, 10.0];
/// Upper bounds of a response's duration (those of Linkerd's outbound backends).
const RESPONSE_SECONDS: &[f64] = &[0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 10.0];

/// The families of both kinds.
pub(super) struct RouteFamilies {
    http: Families,
    grpc: Families,
}

#[derive(Clone)]
struct Families {
    grpc: bool,
    requests: CounterFamily,
    statuses: CounterFamily,
    request_duration: HistogramFamily,
    response_duration: HistogramFamily,
    request_frames: HistogramFamily,
    response_frames: HistogramFamily,
}

/// The series of one route of a server.
pub(in crate::inbound) struct Route {
    /// Requests.
    pub(in crate::inbound) requests: Counter,
    /// Sizes of a request body's frames.
    pub(in crate::inbound) request_frames: Histogram,
    /// Sizes of a response body's frames.
    pub(in crate::inbound) response_frames: Histogram,
    request_duration: Histogram,
    response_duration: Histogram,
    grpc: bool,
    statuses: CounterFamily,
    labels: Labels,
    seen: RefCell<Vec<(StatusKey, Counter)>>,
}

/// HTTP status, gRPC status, error.
type StatusKey = (StatusCode, Option<u16>, &'static str);

impl RouteFamilies {
    pub(super) fn new(registry: &Registry) -> Self {
        Self { http: Families::new(registry, "http"), grpc: Families::new(registry, "grpc") }
    }

    /// The series of a route.
    pub(super) fn route(&self, policy: &ServerPolicy, port: u16, route: &Meta) -> Route {
        let families = if matches!(policy.protocol, Protocol::Grpc(_)) { &self.grpc } else { &self.http };
        let labels = with_meta(&Labels::new(), ["parent_group", "parent_kind", "parent_name"], &policy.meta)
            .with("parent_port", port.to_string());
        let labels = with_meta(&labels, ["route_group", "route_kind", "route_name"], route);
        Route {
            requests: families.requests.get(&labels),
            request_frames: families.request_frames.get(&labels),
            response_frames: families.response_frames.get(&labels),
            request_duration: families.request_duration.get(&labels),
            response_duration: families.response_duration.get(&labels),
            grpc: families.grpc,
            statuses: families.statuses.clone(),
            labels,
            seen: RefCell::default(),
        }
    }
}

impl Families {
    fn new(registry: &Registry, kind: &str) -> Self {
        let name = |rest: &str| format!("inbound_{kind}_{rest}");
        let histogram = |rest: &str, help, bounds| registry.histogram(&name(rest), help, bounds);
        Self {
            grpc: kind == "grpc",
            requests: registry.counter(&name("requests"), "Requests that were let in, by route"),
            statuses: registry.counter(&name("statuses"), "Completed responses, by route and status"),
            request_duration: histogram(
                "request_duration_seconds",
                "Time from a request's head to the end of its response",
                REQUEST_SECONDS,
            ),
            response_duration: histogram(
                "response_duration_seconds",
                "Time from the end of a request to the end of its response",
                RESPONSE_SECONDS,
            ),
            request_frames: histogram(
                "request_frame_size_bytes",
                "Sizes of the data frames of requests",
                FRAME_BYTES,
            ),
            response_frames: histogram(
                "response_frame_size_bytes",
                "Sizes of the data frames of responses",
                FRAME_BYTES,
            ),
        }
    }
}

impl Route {
    /// A response has ended: how long after the request's head, how long after its end.
    pub(in crate::inbound) fn ended(&self, key: StatusKey, request: Duration, response: Duration) {
        self.request_duration.observe(request.as_secs_f64());
        self.response_duration.observe(response.as_secs_f64());
        let mut seen = self.seen.borrow_mut();
        let known = seen.iter().position(|(known, _)| *known == key);
        let index = known.unwrap_or_else(|| {
            let (status, grpc, error) = key;
            let labels = if self.grpc {
                self.labels.with("grpc_status", grpc.map(|code| code.to_string()).unwrap_or_default())
            } else {
                self.labels.with("http_status", status.as_str().to_owned())
            };
            seen.push((key, self.statuses.get(&labels.with("error", error))));
            seen.len() - 1
        });
        seen[index].1.inc();
    }
}
