//! The outbound side's metrics, by Linkerd's names and labels. Series are looked up when an endpoint, a route or a
//! backend is built, and dropped some time after it is gone.

mod balancer;
mod endpoint;
mod route;
mod stream;

pub(super) use balancer::{BalancerMetrics, P2cUpdate};
pub(super) use endpoint::{AcceptedMetrics, Outcome};
pub(crate) use endpoint::{EndpointMetrics, OpenConnection};
pub(super) use route::{BackendMetrics, Ended, RouteMetrics};
pub(super) use stream::{TcpRouteMetrics, TlsRouteMetrics};

use super::balancer::Use;
use crate::error::Error;
use balancer::BalancerFamilies;
use endpoint::EndpointFamilies;
use mesh_metrics::{Counter, CounterFamily, Histogram, HistogramFamily, Labels, Registry};
use route::RouteFamilies;
use std::cell::{OnceCell, RefCell};
use std::net::SocketAddr;
use std::time::Duration;
use stream::{TcpRouteFamilies, TlsRouteFamilies};

/// Upper bounds of `outbound_tcp_detect_http_duration_seconds`.
const DETECT_SECONDS: &[f64] = &[0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 10.0];

/// The families of the outbound side.
#[derive(Clone)]
pub(super) struct OutboundMetrics {
    endpoints: EndpointFamilies,
    http: RouteFamilies,
    grpc: RouteFamilies,
    tcp: TcpRouteFamilies,
    tls: TlsRouteFamilies,
    http_balancer: BalancerFamilies,
    tcp_balancer: BalancerFamilies,
    tls_balancer: BalancerFamilies,
    http_errors: CounterFamily,
    tcp_errors: CounterFamily,
    ejections: CounterFamily,
    protocols: CounterFamily,
    detected: CounterFamily,
    detect_seconds: HistogramFamily,
}

/// The series of connections to one parent of routes.
pub(super) struct ParentMetrics {
    families: OutboundMetrics,
    labels: Labels,
    seen: RefCell<Vec<((&'static str, &'static str), Counter)>>,
    seconds: OnceCell<Histogram>,
}

impl OutboundMetrics {
    /// Registers the families.
    pub(super) fn new(registry: &Registry) -> Self {
        let counter = |name, help| registry.counter(name, help);
        Self {
            endpoints: EndpointFamilies::new(registry),
            http: RouteFamilies::http(registry),
            grpc: RouteFamilies::grpc(registry),
            tcp: TcpRouteFamilies::new(registry),
            tls: TlsRouteFamilies::new(registry),
            http_balancer: BalancerFamilies::new(registry, "http"),
            tcp_balancer: BalancerFamilies::new(registry, "tcp"),
            tls_balancer: BalancerFamilies::new(registry, "tls"),
            http_errors: counter("outbound_http_errors", "HTTP requests that failed in the proxy"),
            tcp_errors: counter("outbound_tcp_errors", "TCP connections that failed in the proxy"),
            ejections: counter(
                "isthmus_outbound_ejections",
                "Endpoints put out of use by failure accrual, by what they did",
            ),
            protocols: counter("outbound_tcp_protocol_connections", "Connections by protocol"),
            detected: counter("outbound_tcp_detect_http_results", "Results of HTTP detection"),
            detect_seconds: registry.histogram(
                "outbound_tcp_detect_http_duration_seconds",
                "Time that HTTP detection took",
                DETECT_SECONDS,
            ),
        }
    }

    /// The series of an endpoint.
    pub(super) fn endpoint(&self, labels: &Labels) -> std::rc::Rc<EndpointMetrics> {
        self.endpoints.endpoint(labels)
    }

    /// The series of connections accepted for a destination.
    pub(super) fn accepted(&self, target: SocketAddr) -> AcceptedMetrics {
        let labels = Labels::from_iter([("direction", "outbound"), ("peer", "src")])
            .with("target_addr", target.to_string())
            .with("target_ip", target.ip().to_string())
            .with("target_port", target.port().to_string())
            .with("tls", "loopback");
        self.endpoints.accepted(labels)
    }

    /// The series of a route; gRPC routes have families of their own.
    pub(super) fn route(&self, labels: &Labels, grpc: bool) -> RouteMetrics {
        if grpc { self.grpc.route(labels) } else { self.http.route(labels) }
    }

    /// The series of a backend of a route.
    pub(super) fn backend(&self, labels: &Labels, grpc: bool) -> BackendMetrics {
        if grpc { self.grpc.backend(labels) } else { self.http.backend(labels) }
    }

    /// The series of a route of opaque connections.
    pub(super) fn tcp_route(&self, labels: &Labels) -> TcpRouteMetrics {
        self.tcp.route(labels)
    }

    /// The series of a route of TLS connections to this server name, where metrics name it.
    pub(super) fn tls_route(&self, labels: &Labels, hostname: Option<&str>) -> TlsRouteMetrics {
        self.tls.route(labels, hostname)
    }

    /// The series of a backend as one that takes requests, or connections.
    pub(super) fn balancer(&self, labels: &Labels, failfast: Duration, for_: Use) -> BalancerMetrics {
        let families = match for_ {
            Use::Http => &self.http_balancer,
            Use::Tcp => &self.tcp_balancer,
            Use::Tls => &self.tls_balancer,
        };
        families.balancer(labels, failfast)
    }

    /// An endpoint of a backend was put out of use.
    pub(super) fn ejected(&self, backend: &Labels, cause: mesh_balance::Cause) {
        let cause = match cause {
            mesh_balance::Cause::Consecutive => "consecutive",
            mesh_balance::Cause::SuccessRate => "success_rate",
        };
        self.ejections.get(&backend.with("cause", cause)).inc();
    }

    /// A request failed in the proxy.
    pub(super) fn http_error(&self, target: &str, error: &Error) {
        self.http_errors.get(&error_labels(target, error)).inc();
    }

    /// A connection failed in the proxy.
    pub(super) fn tcp_error(&self, target: &str, error: &Error) {
        self.tcp_errors.get(&error_labels(target, error)).inc();
    }

    /// The series of connections to a parent of routes.
    pub(super) fn parent(&self, labels: &Labels) -> ParentMetrics {
        let (families, labels) = (self.clone(), labels.clone());
        ParentMetrics { families, labels, seen: RefCell::default(), seconds: OnceCell::new() }
    }
}

impl ParentMetrics {
    /// A connection speaks this.
    pub(super) fn protocol(&self, protocol: &'static str) {
        self.inc(("protocol", protocol), |families| {
            let labels = Labels::from_iter([("protocol", protocol)]).extend(pairs(&self.labels));
            families.protocols.get(&labels)
        });
    }

    /// HTTP detection ended.
    pub(super) fn detected(&self, result: &'static str, after: Duration) {
        self.inc(("result", result), |families| families.detected.get(&self.labels.with("result", result)));
        let seconds = self.seconds.get_or_init(|| self.families.detect_seconds.get(&self.labels));
        seconds.observe(after.as_secs_f64());
    }

    fn inc(&self, what: (&'static str, &'static str), find: impl FnOnce(&OutboundMetrics) -> Counter) {
        let mut seen = self.seen.borrow_mut();
        let known = seen.iter().position(|(known, _)| *known == what).unwrap_or_else(|| {
            seen.push((what, find(&self.families)));
            seen.len() - 1
        });
        seen[known].1.inc();
    }
}

fn pairs(labels: &Labels) -> impl Iterator<Item = (String, String)> + '_ {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()))
}

fn error_labels(target: &str, error: &Error) -> Labels {
    Labels::from_iter([("error", error.label())]).with("target_addr", target.to_owned())
}

/// Labels with the host, where metrics name it.
pub(super) fn named(labels: &Labels, hostname: Option<&str>) -> Labels {
    hostname.map_or_else(|| labels.clone(), |name| labels.with("hostname", name.to_owned()))
}
