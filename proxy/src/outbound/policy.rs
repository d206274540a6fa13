//! A destination as the control plane describes it: an immutable snapshot with everything a request needs resolved.

mod convert;

pub(super) use convert::{forward_policy, policy, profile_policy, sorted};

use super::endpoint::Backend;
use mesh_balance::Backoff;
use mesh_metrics::Labels;
use mesh_rules::{Filter, Route};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// What is known about a destination.
#[derive(Debug)]
pub struct Snapshot {
    /// What metrics say about the destination (`parent_*`).
    pub parent: Labels,
    /// What its clients speak.
    pub protocol: Protocol,
}

/// What a destination's clients speak.
#[derive(Debug)]
pub enum Protocol {
    /// To be found out within a time limit.
    Detect {
        /// The limit.
        timeout: Duration,
        /// Where it is HTTP/1.
        http1: Arc<Http>,
        /// Where it is HTTP/2.
        http2: Arc<Http>,
        /// Where it is neither.
        opaque: Arc<Opaque>,
    },
    /// HTTP/1.
    Http1(Arc<Http>),
    /// HTTP/2, gRPC included.
    Http2(Arc<Http>),
    /// Bytes.
    Opaque(Arc<Opaque>),
}

/// HTTP routes.
#[derive(Debug)]
pub struct Http {
    /// The routes.
    pub routes: Vec<Route<Arc<HttpRule>>>,
}

/// Where a rule leads.
#[derive(Debug)]
pub struct HttpRule {
    /// What metrics say about the route (`route_*`, after `parent_*`).
    pub labels: Labels,
    /// What happens to requests and responses.
    pub filters: Vec<Filter>,
    /// Who gets the requests.
    pub backends: Distribution,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Which failures are tried again.
    pub retry: Option<Retry>,
}

/// Time limits of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the end of the request to the end of the response.
    pub response: Option<Duration>,
    /// From the beginning of the request to the end of the response.
    pub request: Option<Duration>,
}

/// Which failures are tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// How many times at most.
    pub max: u32,
    /// Bodies up to this size can be sent again.
    pub max_bytes: usize,
    /// These HTTP statuses.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// These gRPC statuses.
    pub grpc: Vec<u16>,
    /// Limit for each attempt but the last.
    pub timeout: Option<Duration>,
    /// Between attempts.
    pub backoff: Option<Backoff>,
}

/// Opaque routes: the first one counts.
#[derive(Debug)]
pub struct Opaque {
    /// Connections are refused, for this reason.
    pub refused: Option<String>,
    /// Who gets the connections.
    pub backends: Distribution,
}

/// Who gets requests or connections.
#[derive(Clone, Debug)]
pub enum Distribution {
    /// Nobody.
    Empty,
    /// The first of these that works.
    First(Vec<RouteBackend>, Arc<Tiers>),
    /// Any of these that works, in proportion to their weights.
    Random(Vec<(RouteBackend, u32)>),
}

/// State that the tiers of a distribution share.
#[derive(Debug, Default)]
pub struct Tiers {
    /// Requests that passed over a better tier.
    pub passed: std::sync::atomic::AtomicU64,
}

/// A backend of a route.
#[derive(Debug, Clone)]
pub struct RouteBackend {
    /// The endpoints.
    pub backend: Arc<Backend>,
    /// What happens to requests and responses here.
    pub filters: Vec<Filter>,
    /// What metrics say (`backend_*`, after `parent_*` and `route_*`).
    pub labels: Labels,
}

impl Snapshot {
    /// Whether nothing gets through: the control plane has withdrawn or never gave access.
    pub fn forbidden(&self) -> Option<&str> {
        match &self.protocol {
            Protocol::Opaque(opaque) | Protocol::Detect { opaque, .. } => {
                opaque.refused.as_deref().or_else(|| self.http().and_then(Http::forbidden))
            }
            Protocol::Http1(http) | Protocol::Http2(http) => http.forbidden(),
        }
    }

    fn http(&self) -> Option<&Http> {
        match &self.protocol {
            Protocol::Detect { http1, .. } | Protocol::Http1(http1) => Some(http1),
            Protocol::Http2(http2) => Some(http2),
            Protocol::Opaque(_) => None,
        }
    }
}

impl Http {
    /// The message of a filter that answers every request with 403.
    fn forbidden(&self) -> Option<&str> {
        let mut rules = self.routes.iter().flat_map(|route| &route.rules).peekable();
        rules.peek()?;
        let mut message = None;
        for rule in rules {
            message = rule.value.filters.iter().find_map(|filter| match filter {
                Filter::Fail { status, grpc, message, ratio } if *ratio >= 1.0 => {
                    let denied = *status == http::StatusCode::FORBIDDEN || *grpc == Some(7);
                    denied.then_some(message.as_str())
                }
                _ => None,
            });
            message?;
        }
        message
    }
}
