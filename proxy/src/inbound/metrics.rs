//! The inbound side's metrics, by Linkerd's names and labels.

mod route;

pub(super) use route::Route;

use super::policy::{Authorization, Client, ClientTls, Exceeded, Meta, ServerPolicy};
use crate::error::Error;
use http::StatusCode;
use mesh_metrics::{
    Counter, CounterFamily, Gauge, GaugeFamily, Histogram, HistogramFamily, Labels, Registry,
};
use route::RouteFamilies;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// Upper bounds of `response_latency_ms` (Linkerd's).
const LATENCY_MS: &[f64] = &[
    1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 100.0, 200.0, 300.0, 400.0, 500.0, 1_000.0,
    2_000.0, 3_000.0, 4_000.0, 5_000.0, 10_000.0, 20_000.0, 30_000.0, 40_000.0, 50_000.0,
];

/// Upper bounds of the time it takes to find out a protocol, or to shake hands.
const SETUP_SECONDS: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 10.0];

/// The families of the inbound side.
pub(super) struct InboundMetrics {
    requests: CounterFamily,
    responses: CounterFamily,
    latency: HistogramFamily,
    http_allow: CounterFamily,
    http_deny: CounterFamily,
    route_not_found: CounterFamily,
    tcp_allow: CounterFamily,
    tcp_deny: CounterFamily,
    tcp_terminate: CounterFamily,
    http_errors: CounterFamily,
    tcp_errors: CounterFamily,
    open: CounterFamily,
    open_now: GaugeFamily,
    read: CounterFamily,
    written: CounterFamily,
    closed: CounterFamily,
    transport_header: CounterFamily,
    detected: CounterFamily,
    detect_duration: HistogramFamily,
    tls_accepts: CounterFamily,
    tls_handshake: Histogram,
    rate_limited: CounterFamily,
    routes: RouteFamilies,
}

/// The series of one accepted or made connection.
pub(super) struct Tcp {
    /// Bytes read.
    pub(super) read: Counter,
    /// Bytes written.
    pub(super) written: Counter,
    open_now: Gauge,
    closed: CounterFamily,
    labels: Labels,
}

/// The series of requests that share server, route, authorization and client.
pub(super) struct Requests {
    /// Requests.
    pub(super) requests: Counter,
    /// Requests that were let in.
    pub(super) allowed: Counter,
    /// What is counted by route only.
    pub(super) route: Route,
    /// Whether they are let in by a policy that wants it logged.
    pub(super) audited: bool,
    families: Rc<InboundMetrics>,
    labels: Labels,
    responses: RefCell<Vec<(ResponseKey, Responses)>>,
}

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ResponseKey {
    /// The HTTP status.
    pub(super) status: StatusCode,
    /// The gRPC status of gRPC responses.
    pub(super) grpc: Option<u16>,
    /// Why the exchange failed; empty when it did not.
    pub(super) error: &'static str,
}

struct Responses {
    count: Counter,
    latency: Histogram,
}

impl InboundMetrics {
    /// Registers the families.
    pub(super) fn new(registry: &Registry) -> Rc<Self> {
        let counter = |name, help| registry.counter(name, help);
        Rc::new(Self {
            requests: counter("request", "Total count of HTTP requests"),
            responses: counter("response", "Total count of HTTP responses"),
            latency: registry.histogram(
                "response_latency_ms",
                "Elapsed times between a request's headers being received and its response stream completing",
                LATENCY_MS,
            ),
            http_allow: counter("inbound_http_authz_allow", "HTTP requests that were authorized"),
            http_deny: counter("inbound_http_authz_deny", "HTTP requests that were denied"),
            route_not_found: counter("inbound_http_route_not_found", "HTTP requests that match no route"),
            tcp_allow: counter("inbound_tcp_authz_allow", "TCP connections that were authorized"),
            tcp_deny: counter("inbound_tcp_authz_deny", "TCP connections that were denied"),
            tcp_terminate: counter(
                "inbound_tcp_authz_terminate",
                "TCP connections that were cut because authorization changed",
            ),
            http_errors: counter("inbound_http_errors", "HTTP requests that failed in the proxy"),
            tcp_errors: counter("inbound_tcp_errors", "TCP connections that failed in the proxy"),
            open: counter("tcp_open", "Connections opened"),
            open_now: registry.gauge("tcp_open_connections", "Connections open now"),
            read: counter("tcp_read_bytes", "Bytes read from peers"),
            written: counter("tcp_write_bytes", "Bytes written to peers"),
            closed: counter("tcp_close", "Connections closed"),
            transport_header: counter(
                "inbound_tcp_transport_header_connections",
                "Direct connections by what their transport header says",
            ),
            detected: counter("inbound_tcp_detect_http_results", "Results of HTTP detection"),
            detect_duration: registry.histogram(
                "inbound_tcp_detect_http_duration_seconds",
                "Time taken by HTTP detection",
                SETUP_SECONDS,
            ),
            tls_accepts: counter(
                "isthmus_inbound_tls_accepts",
                "Connections by what their first bytes are to us: TLS of the mesh (established, failed, timeout), TLS of \
                 others that passes through, plaintext, or nothing in time",
            ),
            tls_handshake: registry
                .histogram(
                    "isthmus_inbound_tls_handshake_duration_seconds",
                    "Time taken by TLS handshakes with clients",
                    SETUP_SECONDS,
                )
                .get(&Labels::new()),
            rate_limited: counter(
                "inbound_http_local_ratelimit",
                "HTTP requests that were refused because a rate limit was used up",
            ),
            routes: RouteFamilies::new(registry),
        })
    }

    /// A connection of which `peer` (`src` or `dst`) is the other side.
    pub(super) fn tcp(&self, peer: &'static str, target: SocketAddr, tls: &ClientTls) -> Tcp {
        let labels = base(target, tls).with("peer", peer);
        self.open.get(&labels).inc();
        let open_now = self.open_now.get(&labels);
        open_now.inc();
        Tcp {
            read: self.read.get(&labels),
            written: self.written.get(&labels),
            open_now,
            closed: self.closed.clone(),
            labels,
        }
    }

    /// Requests of a client on a server's route.
    pub(super) fn requests(
        self: &Rc<Self>,
        target: SocketAddr,
        client: &Client,
        policy: &ServerPolicy,
        route: &Meta,
        authorization: &Authorization,
    ) -> Requests {
        let labels = with_server(&base(target, &client.tls), policy, target.port());
        let labels = with_meta(&labels, ["route_group", "route_kind", "route_name"], route);
        let labels = with_authz(&labels, authorization);
        Requests {
            requests: self.requests.get(&labels),
            allowed: self.http_allow.get(&labels),
            route: self.routes.route(policy, target.port(), route),
            audited: authorization.is_audit(),
            families: Rc::clone(self),
            labels,
            responses: RefCell::default(),
        }
    }

    /// A request was denied.
    pub(super) fn http_denied(
        &self,
        target: SocketAddr,
        client: &Client,
        policy: &ServerPolicy,
        route: &Meta,
    ) {
        let labels = with_server(&base(target, &client.tls), policy, target.port());
        let labels = with_meta(&labels, ["route_group", "route_kind", "route_name"], route);
        self.http_deny.get(&labels).inc();
    }

    /// A request matched no route.
    pub(super) fn route_not_found(&self, target: SocketAddr, client: &Client, policy: &ServerPolicy) {
        self.route_not_found.get(&with_server(&base(target, &client.tls), policy, target.port())).inc();
    }

    /// A connection was let in.
    pub(super) fn tcp_allowed(
        &self,
        target: SocketAddr,
        client: &Client,
        policy: &ServerPolicy,
        authorization: &Authorization,
    ) {
        let labels = with_server(&base(target, &client.tls), policy, target.port());
        self.tcp_allow.get(&with_authz(&labels, authorization)).inc();
    }

    /// A connection was denied.
    pub(super) fn tcp_denied(&self, target: SocketAddr, client: &Client, policy: &ServerPolicy) {
        self.tcp_deny.get(&with_server(&base(target, &client.tls), policy, target.port())).inc();
    }

    /// A connection was cut because its authorization was withdrawn.
    pub(super) fn tcp_terminated(&self, target: SocketAddr, client: &Client, policy: &ServerPolicy) {
        self.tcp_terminate.get(&with_server(&base(target, &client.tls), policy, target.port())).inc();
    }

    /// A request failed in the proxy.
    pub(super) fn http_error(&self, target: SocketAddr, error: &Error) {
        self.http_errors.get(&error_labels(target, error)).inc();
    }

    /// A connection failed in the proxy.
    pub(super) fn tcp_error(&self, target: SocketAddr, error: &Error) {
        self.tcp_errors.get(&error_labels(target, error)).inc();
    }

    /// A direct connection told what it is for.
    pub(super) fn transport_header(
        &self,
        protocol: &'static str,
        port: u16,
        name: Option<&str>,
        client: &Client,
    ) {
        let labels = Labels::from_iter([("session_protocol", protocol)])
            .with("target_port", port.to_string())
            .with("target_name", name.unwrap_or_default().to_owned())
            .with("client_id", client.identity().map(ToString::to_string).unwrap_or_default());
        self.transport_header.get(&labels).inc();
    }

    /// HTTP detection ended.
    pub(super) fn detected(&self, result: &'static str, policy: &ServerPolicy, port: u16, took: Duration) {
        let labels = with_server(&Labels::new(), policy, port);
        self.detected.get(&labels.with("result", result)).inc();
        self.detect_duration.get(&labels).observe(took.as_secs_f64());
    }

    /// It is known what a connection's first bytes are to us.
    pub(super) fn tls_accepted(&self, result: &'static str) {
        self.tls_accepts.get(&Labels::from_iter([("result", result)])).inc();
    }

    /// A handshake with a client ended.
    pub(super) fn tls_handshake(&self, result: &'static str, took: Duration) {
        self.tls_accepted(result);
        self.tls_handshake.observe(took.as_secs_f64());
    }

    /// A request was refused by a rate limit.
    pub(super) fn rate_limited(
        &self,
        target: SocketAddr,
        client: &Client,
        policy: &ServerPolicy,
        limit: &Meta,
        exceeded: Exceeded,
    ) {
        let labels = with_server(&base(target, &client.tls), policy, target.port());
        let labels = with_meta(&labels, ["ratelimit_group", "ratelimit_kind", "ratelimit_name"], limit);
        self.rate_limited.get(&labels.with("scope", exceeded.scope)).inc();
    }
}

impl Tcp {
    /// The connection ended; `errno` is empty when it ended well.
    pub(super) fn close(&self, errno: &'static str) {
        self.closed.get(&self.labels.with("errno", errno)).inc();
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        self.open_now.dec();
    }
}

impl Requests {
    /// A response ended: counts it, and how long it took since the request's head and since its end.
    pub(super) fn responded(&self, key: ResponseKey, took: Duration, response: Duration) {
        self.route.ended((key.status, key.grpc, key.error), took, response);
        let mut responses = self.responses.borrow_mut();
        let known = responses.iter().position(|(known, _)| *known == key);
        let index = known.unwrap_or_else(|| {
            responses.push((key, self.series(key)));
            responses.len() - 1
        });
        let (_, series) = &responses[index];
        series.count.inc();
        series.latency.observe(took.as_secs_f64() * 1000.0);
    }

    fn series(&self, key: ResponseKey) -> Responses {
        let labels = self.labels.with("status_code", key.status.as_str().to_owned());
        let latency = self.families.latency.get(&labels);
        let mut labels = labels.with("classification", if key.success() { "success" } else { "failure" });
        if let Some(grpc) = key.grpc {
            labels = labels.with("grpc_status", grpc.to_string());
        }
        if !key.error.is_empty() {
            labels = labels.with("error", key.error);
        }
        Responses { count: self.families.responses.get(&labels), latency }
    }
}

impl ResponseKey {
    fn success(self) -> bool {
        self.error.is_empty()
            && match self.grpc {
                Some(code) => code == 0,
                None => !self.status.is_server_error(),
            }
    }
}

/// The label for an I/O error of a closed connection, as Linkerd writes it.
pub(crate) fn errno(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => "ECONNREFUSED",
        Kind::ConnectionReset => "ECONNRESET",
        Kind::ConnectionAborted => "ECONNABORTED",
        Kind::NotConnected => "ENOTCONN",
        Kind::BrokenPipe => "EPIPE",
        Kind::TimedOut => "ETIMEDOUT",
        Kind::UnexpectedEof => "UnexpectedEof",
        _ => "unexpected",
    }
}

fn base(target: SocketAddr, tls: &ClientTls) -> Labels {
    let labels = Labels::from_iter([("direction", "inbound")])
        .with("target_addr", target.to_string())
        .with("target_ip", target.ip().to_string())
        .with("target_port", target.port().to_string());
    match tls {
        ClientTls::Mesh(identity) => {
            let id = identity.as_ref().map(ToString::to_string).unwrap_or_default();
            labels.with("tls", "true").with("client_id", id)
        }
        ClientTls::Passthrough => labels.with("tls", "opaque"),
        ClientTls::None => labels.with("tls", "no_identity").with("no_tls_reason", "no_tls_from_remote"),
    }
}

fn with_server(labels: &Labels, policy: &ServerPolicy, port: u16) -> Labels {
    with_meta(labels, ["srv_group", "srv_kind", "srv_name"], &policy.meta).with("srv_port", port.to_string())
}

fn with_authz(labels: &Labels, authorization: &Authorization) -> Labels {
    with_meta(labels, ["authz_group", "authz_kind", "authz_name"], &authorization.meta)
}

fn with_meta(labels: &Labels, names: [&'static str; 3], meta: &Meta) -> Labels {
    let [group, kind, name] = names;
    labels.extend([
        (group, meta.group.to_string()),
        (kind, meta.kind.to_string()),
        (name, meta.name.to_string()),
    ])
}

fn error_labels(target: SocketAddr, error: &Error) -> Labels {
    Labels::from_iter([("error", error.label())])
        .with("target_addr", target.to_string())
        .with("target_ip", target.ip().to_string())
        .with("target_port", target.port().to_string())
}
