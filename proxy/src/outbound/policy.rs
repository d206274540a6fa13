//! A destination as the control plane describes it: an immutable snapshot with everything a request needs resolved.

mod connections;
mod convert;

pub use connections::{Opaque, Refusal, Tls};
pub(super) use convert::{forward_policy, policy, profile_policy, sorted};

use super::endpoint::Backend;
use crate::http::limit::Timeouts;
use mesh_balance::{Backoff, BudgetConfig, RetryBudget};
use mesh_metrics::Labels;
use mesh_rules::{Filter, Route};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is known about a destination.
#[derive(Debug)]
pub struct Snapshot {
    /// What metrics say about the destination (`parent_*`).
    pub parent: Labels,
    /// What its clients speak.
    pub protocol: Protocol,
    /// How much may be retried; one for all that this proxy sends there.
    pub budget: Arc<RetryBudget>,
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
    /// TLS that is not for us: it passes as it is, and its server name picks the route.
    Tls(Arc<Tls>),
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
    /// How requests are treated, unless they say otherwise.
    pub terms: Terms,
    /// Whether requests may say otherwise, by `l5d-*` fields.
    pub allow_overrides: bool,
    /// Whether it is a gRPC route, which has metrics of its own.
    pub grpc: bool,
}

/// How long requests may take and what is tried again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terms {
    /// Time limits.
    pub timeouts: Timeouts,
    /// Which failures are tried again.
    pub retry: Option<Retry>,
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
    /// Whether the first pause is as long as the response asks (`Retry-After`), within the bounds of the backoff.
    pub honor_retry_after: bool,
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

impl Retry {
    /// What is tried again where only a request's own `l5d-retry-*` fields speak of it: nothing yet, once, with the
    /// pauses and the limit that Linkerd's policy controller writes.
    pub fn blank() -> Self {
        let (min, max) = (Duration::from_millis(25), Duration::from_millis(250));
        Self {
            max: 1,
            max_bytes: 64 * 1024,
            statuses: Vec::new(),
            grpc: Vec::new(),
            timeout: None,
            backoff: Some(Backoff { min, max, jitter: 1.0 }),
            honor_retry_after: false,
        }
    }

    /// The pause before the attempt after `retries` others.
    pub fn pause(&self, retries: u32, asked: Option<Duration>) -> Duration {
        let Some(backoff) = self.backoff else { return Duration::ZERO };
        let asked = asked.filter(|_| self.honor_retry_after);
        let min = asked.map_or(backoff.min, |asked| asked.clamp(backoff.min, backoff.max.max(backoff.min)));
        Backoff { min, ..backoff }.delay(retries, rand::random())
    }
}

impl Snapshot {
    /// A snapshot with a budget of its own.
    pub fn new(parent: Labels, protocol: Protocol) -> Self {
        let budget = RetryBudget::new(BudgetConfig::default(), Instant::now());
        Self { parent, protocol, budget: Arc::new(budget) }
    }

    /// Whether nothing gets through: the control plane has withdrawn or never gave access.
    pub fn forbidden(&self) -> Option<&str> {
        match &self.protocol {
            Protocol::Opaque(opaque) | Protocol::Detect { opaque, .. } => {
                let refused = opaque.refused.as_ref().map(Refusal::reason);
                refused.or_else(|| self.http().and_then(Http::forbidden))
            }
            Protocol::Tls(tls) => tls.forbidden(),
            Protocol::Http1(http) | Protocol::Http2(http) => http.forbidden(),
        }
    }

    /// Why open TLS connections to this server name, or to none, are refused now. Those whose route is gone are not.
    pub fn refuses_tls(&self, sni: Option<&str>) -> Option<Refusal> {
        match &self.protocol {
            Protocol::Tls(tls) => tls.route(sni)?.refused.clone(),
            _ => self.forbidden().map(|reason| Refusal::Forbidden(reason.to_owned())),
        }
    }

    fn http(&self) -> Option<&Http> {
        match &self.protocol {
            Protocol::Detect { http1, .. } | Protocol::Http1(http1) => Some(http1),
            Protocol::Http2(http2) => Some(http2),
            Protocol::Opaque(_) | Protocol::Tls(_) => None,
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
