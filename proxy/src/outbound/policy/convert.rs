//! From the control plane's messages to snapshots. What is invalid in a part of a policy makes that part refuse
//! traffic with the reason, never the whole policy disappear.

mod connections;
mod http;

use super::{Distribution, Http, HttpRule, Opaque, Protocol, Refusal, RouteBackend, Snapshot, Tiers};
use crate::outbound::discovery::Backends;
use crate::outbound::endpoint::Setup;
use mesh_api::destination::{DestinationProfile, WeightedAddr};
use mesh_api::meta;
use mesh_api::outbound::{self as api, backend, failure_accrual, proxy_protocol::Kind};
use mesh_balance::{Backoff, BreakerConfig, EwmaConfig, Penalty, SuccessRate};
use mesh_metrics::Labels;
use mesh_rules::{Filter, Route, Rule};
use std::sync::Arc;
use std::time::Duration;

/// Where a policy leaves the detection timeout open (Linkerd's default).
const DETECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Where a policy asks for a success rate and leaves the window open (Linkerd's default).
const SUCCESS_RATE_WINDOW: Duration = Duration::from_secs(10);
/// Where a policy asks for penalties and leaves their size, and the longest, open (Linkerd's defaults).
const PENALTY: Duration = Duration::from_secs(5);
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// A backend of a distribution before its endpoints are looked up.
pub(super) struct Choice {
    pub(super) backend: Option<api::Backend>,
    pub(super) filters: Vec<Filter>,
    /// Why it takes no connections.
    pub(super) refused: Option<Refusal>,
    pub(super) weight: u32,
}

/// A distribution of any kind of route.
pub(super) enum Choices {
    Empty,
    First(Vec<Choice>),
    Random(Vec<Choice>),
}

/// Backends by what describes them, so that the parts of one policy share them.
struct Context<'a> {
    backends: &'a Backends,
    parent: Labels,
    accrual: (BreakerConfig, usize),
}

/// An outbound policy.
///
/// # Errors
/// What makes it unusable.
pub(crate) fn policy(policy: api::OutboundPolicy, backends: &Backends) -> Result<Snapshot, String> {
    let parent = resource_labels(&Labels::new(), PARENT, policy.metadata.as_ref());
    let kind = policy.protocol.and_then(|p| p.kind).ok_or("the policy has no protocol")?;
    let context = |accrual: &Option<api::FailureAccrual>| Context {
        backends,
        parent: parent.clone(),
        accrual: accrual_config(accrual.as_ref()),
    };
    let opaque = |routes: Vec<api::OpaqueRoute>| Arc::new(context(&None).opaque(routes));
    let http1 = |p: api::proxy_protocol::Http1| Arc::new(context(&p.failure_accrual).http(p.routes));
    let http2 = |p: api::proxy_protocol::Http2| Arc::new(context(&p.failure_accrual).http(p.routes));
    let protocol = match kind {
        Kind::Detect(detect) => Protocol::Detect {
            timeout: duration(detect.timeout).unwrap_or(DETECT_TIMEOUT),
            http1: http1(detect.http1.unwrap_or_default()),
            http2: http2(detect.http2.unwrap_or_default()),
            opaque: opaque(detect.opaque.unwrap_or_default().routes),
        },
        Kind::Http1(p) => Protocol::Http1(http1(p)),
        Kind::Http2(p) => Protocol::Http2(http2(p)),
        Kind::Grpc(p) => Protocol::Http2(Arc::new(context(&p.failure_accrual).grpc(p.routes))),
        Kind::Opaque(p) => Protocol::Opaque(opaque(p.routes)),
        Kind::Tls(p) => Protocol::Tls(Arc::new(context(&None).tls(p.routes))),
    };
    Ok(Snapshot::new(parent, protocol))
}

/// What a profile says of an address for which there is no policy; `None` when it says nothing.
pub(crate) fn profile_policy(
    profile: &DestinationProfile,
    port: u16,
    backends: &Backends,
) -> Option<Snapshot> {
    let parent = resource_labels(&Labels::new(), PARENT, profile.parent_ref.as_ref());
    let setup = Setup::default();
    let named = |name: &str| Labels::from_iter([("backend_name", name.to_owned())]);
    let backend = |backend| RouteBackend { backend, filters: Vec::new(), labels: parent.clone() };
    let distribution = if let Some(endpoint) = &profile.endpoint {
        Distribution::First(
            vec![backend(backends.forward(endpoint, &parent, setup)?)],
            Arc::new(Tiers::default()),
        )
    } else if !profile.dst_overrides.is_empty() {
        let weighted = |dst: &mesh_api::destination::WeightedDst| {
            let path = dst.authority.trim_end_matches('.');
            (backend(backends.discovered(path, &named(path), setup)), dst.weight)
        };
        Distribution::Random(profile.dst_overrides.iter().map(weighted).collect())
    } else if !profile.fully_qualified_name.is_empty() {
        let path = format!("{}:{port}", profile.fully_qualified_name);
        let only = backend(backends.discovered(&path, &named(&path), setup));
        Distribution::First(vec![only], Arc::new(Tiers::default()))
    } else {
        return None;
    };
    Some(simple(parent.clone(), distribution, profile.opaque_protocol))
}

/// Forwards to one address in plaintext, for destinations nobody knows.
pub(crate) fn forward_policy(
    addr: std::net::SocketAddr,
    opaque: bool,
    backends: &Backends,
) -> Option<Snapshot> {
    let endpoint = WeightedAddr { addr: Some(addr.into()), weight: 1, ..WeightedAddr::default() };
    let backend = backends.forward(&endpoint, &Labels::new(), Setup::default())?;
    let only = RouteBackend { backend, filters: Vec::new(), labels: Labels::new() };
    Some(simple(Labels::new(), Distribution::First(vec![only], Arc::new(Tiers::default())), opaque))
}

fn simple(parent: Labels, backends: Distribution, opaque: bool) -> Snapshot {
    let opaque_policy = Arc::new(Opaque::new(parent.clone(), backends.clone()));
    if opaque {
        return Snapshot::new(parent, Protocol::Opaque(opaque_policy));
    }
    let rule = HttpRule {
        labels: parent.clone(),
        filters: Vec::new(),
        backends,
        terms: super::Terms::default(),
        allow_overrides: false,
        grpc: false,
    };
    let rules = vec![Rule { matches: Vec::new(), value: Arc::new(rule) }];
    let http = Arc::new(Http { routes: vec![Route { hosts: Vec::new(), rules }] });
    let protocol = Protocol::Detect {
        timeout: DETECT_TIMEOUT,
        http1: Arc::clone(&http),
        http2: http,
        opaque: opaque_policy,
    };
    Snapshot::new(parent, protocol)
}

impl Context<'_> {
    fn distribution(&self, choices: Choices, route: &Labels) -> Distribution {
        let resolve = |choice: Choice| {
            let labels = resource_labels(route, BACKEND, choice.backend.as_ref()?.metadata.as_ref());
            let backend = self.backend(choice.backend?)?;
            Some((RouteBackend { backend, filters: choice.filters, labels }, choice.weight))
        };
        match choices {
            Choices::Empty => Distribution::Empty,
            Choices::First(list) => {
                let tiers = list.into_iter().filter_map(resolve).map(|(backend, _)| backend).collect();
                Distribution::First(tiers, Arc::new(Tiers::default()))
            }
            Choices::Random(list) => Distribution::Random(list.into_iter().filter_map(resolve).collect()),
        }
    }

    fn backend(&self, backend: api::Backend) -> Option<Arc<crate::outbound::endpoint::Backend>> {
        let mut setup = Setup { accrual: self.accrual.0, min_ready: self.accrual.1, ..Setup::default() };
        if let Some(queue) = backend.queue {
            setup.queue_capacity = queue.capacity as usize;
            setup.failfast_timeout = duration(queue.failfast_timeout).unwrap_or(setup.failfast_timeout);
        }
        let labels = resource_labels(&Labels::new(), BACKEND, backend.metadata.as_ref());
        match backend.kind? {
            backend::Kind::Forward(endpoint) => self.backends.forward(&endpoint, &labels, setup),
            backend::Kind::Balancer(balancer) => {
                let backend::endpoint_discovery::Kind::Dst(dst) = balancer.discovery?.kind?;
                setup.ewma = ewma_config(balancer.load);
                Some(self.backends.discovered(&dst.path, &labels, setup))
            }
        }
    }
}

/// The distributions of all kinds of routes have one shape and different types.
macro_rules! choices {
    ($name:ident, $module:ident, $filters:expr) => {
        fn $name(distribution: api::$module::Distribution) -> Choices {
            use api::$module::distribution::Kind;
            let choice = |backend: api::$module::RouteBackend, weight| {
                let of = backend.backend.as_ref().and_then(|backend| backend.metadata.as_ref());
                let (filters, refused) = $filters(backend.filters, of);
                Choice { backend: backend.backend, filters, refused, weight }
            };
            match distribution.kind {
                None | Some(Kind::Empty(_)) => Choices::Empty,
                Some(Kind::FirstAvailable(first)) => {
                    Choices::First(first.backends.into_iter().map(|b| choice(b, 1)).collect())
                }
                Some(Kind::RandomAvailable(random)) => {
                    let weighted = random.backends.into_iter();
                    Choices::Random(weighted.filter_map(|w| Some(choice(w.backend?, w.weight))).collect())
                }
            }
        }
    };
}
choices!(http_choices, http_route, |filters, _| (http::filters(filters), None));
choices!(grpc_choices, grpc_route, |filters, _| (http::grpc_filters(filters), None));
choices!(opaque_choices, opaque_route, |filters: Vec<_>, of| {
    (Vec::new(), connections::opaque_refusal(&filters, of))
});
choices!(tls_choices, tls_route, |filters: Vec<_>, of| (Vec::new(), connections::tls_refusal(&filters, of)));

/// Label names for a resource: group, kind, namespace, name, port, section.
type ResourceNames = [&'static str; 6];
const PARENT: ResourceNames =
    ["parent_group", "parent_kind", "parent_namespace", "parent_name", "parent_port", "parent_section_name"];
const ROUTE: ResourceNames = ["route_group", "route_kind", "route_namespace", "route_name", "", ""];
const BACKEND: ResourceNames = [
    "backend_group",
    "backend_kind",
    "backend_namespace",
    "backend_name",
    "backend_port",
    "backend_section_name",
];

fn resource_labels(base: &Labels, names: ResourceNames, metadata: Option<&meta::Metadata>) -> Labels {
    let values: [String; 6] = match metadata.and_then(|m| m.kind.as_ref()) {
        Some(meta::metadata::Kind::Resource(r)) => [
            r.group.clone(),
            r.kind.clone(),
            r.namespace.clone(),
            r.name.clone(),
            if r.port == 0 { String::new() } else { r.port.to_string() },
            r.section.clone(),
        ],
        Some(meta::metadata::Kind::Default(name)) => {
            [String::new(), "default".to_owned(), String::new(), name.clone(), String::new(), String::new()]
        }
        None => Default::default(),
    };
    base.extend(names.into_iter().zip(values).filter(|(name, _)| !name.is_empty()))
}

fn name_of(metadata: Option<&meta::Metadata>) -> String {
    match metadata.and_then(|m| m.kind.as_ref()) {
        Some(meta::metadata::Kind::Resource(r)) => format!("{}/{}", r.namespace, r.name),
        Some(meta::metadata::Kind::Default(name)) => name.clone(),
        None => "forbidden by policy".to_owned(),
    }
}

fn accrual_config(accrual: Option<&api::FailureAccrual>) -> (BreakerConfig, usize) {
    let off = Setup::default().accrual;
    let Some(accrual) = accrual else { return (off, 0) };
    let min_ready = accrual.ejection.as_ref().map_or(0, |e| e.min_ready_endpoints as usize);
    let (max_failures, success_rate, backoff) = match &accrual.kind {
        None => (0, None, None),
        Some(failure_accrual::Kind::ConsecutiveFailures(c)) => (c.max_failures, None, c.backoff),
        Some(failure_accrual::Kind::Unified(u)) => {
            let rate = SuccessRate {
                threshold: u.success_rate_threshold.clamp(0.0, 1.0),
                window: duration(u.decay).unwrap_or(SUCCESS_RATE_WINDOW),
                min_requests: u.min_requests,
            };
            // A threshold of zero switches this part off (the API's words).
            (u.max_consecutive_failures, (rate.threshold > 0.0).then_some(rate), u.backoff)
        }
    };
    let honor_retry_after = backoff.as_ref().is_some_and(|b| b.respect_retry_after_hint);
    let backoff = backoff.and_then(backoff_config).unwrap_or(off.backoff);
    (BreakerConfig { max_failures, success_rate, backoff, honor_retry_after }, min_ready)
}

fn ewma_config(load: Option<backend::balance_p2c::Load>) -> EwmaConfig {
    use backend::balance_p2c::Load;
    let default = EwmaConfig::default();
    let or_default =
        |rtt, decay| (duration(rtt).unwrap_or(default.default_rtt), duration(decay).unwrap_or(default.decay));
    match load {
        None => default,
        Some(Load::PeakEwma(p)) => {
            let (default_rtt, decay) = or_default(p.default_rtt, p.decay);
            EwmaConfig { default_rtt, decay, penalty: None }
        }
        Some(Load::PenaltyPeakEwma(p)) => {
            let (default_rtt, decay) = or_default(p.default_rtt, p.decay);
            let penalty = Penalty {
                amount: duration(p.penalty).unwrap_or(PENALTY),
                max_retry_after: duration(p.max_retry_after).unwrap_or(MAX_RETRY_AFTER),
                decay: duration(p.penalty_decay).unwrap_or(decay),
            };
            EwmaConfig { default_rtt, decay, penalty: Some(penalty) }
        }
    }
}

fn backoff_config(backoff: api::ExponentialBackoff) -> Option<Backoff> {
    Some(Backoff {
        min: duration(backoff.min_backoff)?,
        max: duration(backoff.max_backoff)?,
        jitter: f64::from(backoff.jitter_ratio),
    })
}

fn duration(d: Option<mesh_api::prost_types::Duration>) -> Option<Duration> {
    d.and_then(|d| d.try_into().ok()).filter(|d: &Duration| !d.is_zero())
}

/// Sorted, so that equal labels make one series.
pub(crate) fn sorted(labels: &std::collections::HashMap<String, String>) -> Vec<(&String, &String)> {
    let mut pairs: Vec<_> = labels.iter().collect();
    pairs.sort_unstable();
    pairs
}

#[cfg(test)]
mod tests;
