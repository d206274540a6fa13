//! Routes of connections.

use super::named;
use crate::error::Error;
use mesh_metrics::{Counter, CounterFamily, Labels, Registry};
use std::net::SocketAddr;

/// The families of routes of opaque connections.
#[derive(Clone)]
pub(super) struct TcpRouteFamilies {
    open: CounterFamily,
    close: CounterFamily,
}

/// A route of opaque connections.
pub(in crate::outbound) struct TcpRouteMetrics {
    families: TcpRouteFamilies,
    labels: Labels,
}

impl TcpRouteFamilies {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            open: registry.counter("outbound_tcp_route_open", "Opaque connections forwarded"),
            close: registry.counter("outbound_tcp_route_close", "Opaque connections that ended"),
        }
    }

    pub(super) fn route(&self, labels: &Labels) -> TcpRouteMetrics {
        TcpRouteMetrics { families: self.clone(), labels: labels.clone() }
    }
}

impl TcpRouteMetrics {
    /// A connection is forwarded to this address.
    pub(in crate::outbound) fn opened(&self, to: SocketAddr) {
        self.families.open.get(&self.target(to)).inc();
    }

    /// A connection to this address ended; `error` is empty when it ended well.
    pub(in crate::outbound) fn closed(&self, to: SocketAddr, error: &'static str) {
        self.families.close.get(&self.target(to).with("error", error)).inc();
    }

    fn target(&self, to: SocketAddr) -> Labels {
        self.labels.with("target_ip", to.ip().to_string()).with("target_port", to.port().to_string())
    }
}

/// The families of routes of TLS connections.
#[derive(Clone)]
pub(super) struct TlsRouteFamilies {
    open: CounterFamily,
    close: CounterFamily,
}

/// A route of TLS connections.
pub(in crate::outbound) struct TlsRouteMetrics {
    open: Counter,
    close: CounterFamily,
    labels: Labels,
}

impl TlsRouteFamilies {
    pub(super) fn new(registry: &Registry) -> Self {
        let close = "TLS connections that ended, or were refused, after a route was found for them";
        Self {
            open: registry.counter("outbound_tls_route_open", "TLS connections for which a route was found"),
            close: registry.counter("outbound_tls_route_close", close),
        }
    }

    pub(super) fn route(&self, labels: &Labels, hostname: Option<&str>) -> TlsRouteMetrics {
        let labels = named(labels, hostname);
        TlsRouteMetrics { open: self.open.get(&labels), close: self.close.clone(), labels }
    }
}

impl TlsRouteMetrics {
    /// A connection takes the route.
    pub(in crate::outbound) fn opened(&self) {
        self.open.inc();
    }

    /// A connection ended; the label tells why in the words of Linkerd's proxy, which are few.
    pub(in crate::outbound) fn closed(&self, error: Option<&Error>) {
        let error = match error {
            None => "",
            Some(Error::Forbidden(_)) => "forbidden",
            Some(Error::InvalidBackend(_)) => "invalid_backend",
            Some(_) => "unexpected",
        };
        self.close.get(&self.labels.with("error", error)).inc();
    }
}
