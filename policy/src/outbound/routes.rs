//! The routes of a policy: until route resources come, one default route for each protocol.

mod grpc;

use crate::model::{Accrual, Backoff, Balance, Penalty, Retry, Timeouts};
use mesh_api::convert::{default_metadata, duration};
use mesh_api::http_route::{self, HttpFailureInjector, HttpRouteMatch, PathMatch, Ratio, path_match};
use mesh_api::meta::{Metadata, metadata};
use mesh_api::opaque_route::Forbidden;
use mesh_api::outbound::backend::balance_p2c::{Load, PeakEwma, PenaltyPeakEwma};
use mesh_api::outbound::backend::endpoint_discovery::{self, DestinationGet};
use mesh_api::outbound::backend::{self, BalanceP2c, EndpointDiscovery};
use mesh_api::outbound::failure_accrual::{self, ConsecutiveFailures, Unified};
use mesh_api::outbound::proxy_protocol::{Detect, Grpc, Http1, Http2, Kind, Opaque};
use mesh_api::outbound::{
    Backend, ExponentialBackoff, FailureAccrual, HttpRoute, OpaqueRoute, OutboundPolicy, ProxyProtocol,
    Queue, http_route as http, opaque_route as opaque,
};
use mesh_types::AppProtocol;
use std::time::Duration;

/// How long a proxy waits for the first bytes before it takes a connection for opaque.
const DETECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Latency that is assumed of an endpoint not tried yet, and how fast what was seen is forgotten.
const DEFAULT_RTT: Duration = Duration::from_millis(30);
const EWMA_DECAY: Duration = Duration::from_secs(10);
/// Requests that wait for an endpoint, and how long before they are failed.
const QUEUE_CAPACITY: u32 = 100;
const QUEUE_FAILFAST: Duration = Duration::from_secs(3);
/// A body of more bytes than this is not kept for another try.
const RETRY_MAX_BYTES: u32 = 64 * 1024;
/// Pauses between tries.
const RETRY_BACKOFF: Backoff = Backoff {
    min: Duration::from_millis(25),
    max: Duration::from_millis(250),
    jitter: 1.0,
    honor_retry_after: false,
};

/// What the routes of a Service's port are made from.
pub(super) struct Routes<'a> {
    pub(super) metadata: Metadata,
    /// Section and discovery path of each backend, in the order they are tried.
    pub(super) backends: Vec<(String, String)>,
    pub(super) protocol: Option<AppProtocol>,
    pub(super) balance: &'a Balance,
    /// Failing members must be left for the next, so failures count unless annotations say how.
    pub(super) tiered: bool,
    pub(super) allow_l5d_request_headers: bool,
}

/// The policy that sends traffic to backends.
pub(super) fn forwarded(routes: &Routes<'_>) -> OutboundPolicy {
    let default = routes.tiered.then(Accrual::consecutive);
    let accrual = routes.balance.accrual.as_ref().or(default.as_ref()).map(failure_accrual);
    let metadata = Some(routes.metadata.clone());
    // HTTP routes have no words for gRPC codes, and only a port that is known to speak HTTP/2 can have a gRPC route alone.
    let codes = routes.balance.retry.as_ref().is_some_and(|retry| !retry.grpc.is_empty());
    if codes && routes.protocol == Some(AppProtocol::Http2) {
        let kind = Kind::Grpc(Grpc { routes: vec![grpc::route(routes)], failure_accrual: accrual });
        return OutboundPolicy { protocol: Some(ProxyProtocol { kind: Some(kind) }), metadata };
    }
    let http = vec![http_route(routes)];
    let opaque = vec![opaque_route(routes)];
    OutboundPolicy { protocol: Some(protocol(routes.protocol, http, opaque, accrual)), metadata }
}

/// The policy that refuses all traffic: 403 for HTTP, a closed connection for anything else.
pub(super) fn forbidden(target: Metadata, name: &str, reason: &str) -> OutboundPolicy {
    let injector = HttpFailureInjector {
        status: 403,
        message: reason.to_owned(),
        ratio: Some(Ratio { numerator: 1, denominator: 1 }),
    };
    let http_rule = http::Rule {
        matches: vec![any_path()],
        filters: vec![http::Filter { kind: Some(http::filter::Kind::FailureInjector(injector)) }],
        backends: Some(http::Distribution {
            kind: Some(http::distribution::Kind::Empty(http::distribution::Empty {})),
        }),
        ..http::Rule::default()
    };
    let empty = opaque::distribution::Kind::Empty(opaque::distribution::Empty {});
    let opaque_rule = opaque::Rule {
        backends: Some(opaque::Distribution { kind: Some(empty) }),
        filters: vec![opaque::Filter { kind: Some(opaque::filter::Kind::Forbidden(Forbidden {})) }],
    };
    let metadata = Some(default_metadata(name));
    let http = vec![HttpRoute { metadata: metadata.clone(), hosts: Vec::new(), rules: vec![http_rule] }];
    let opaque = vec![OpaqueRoute { metadata, rules: vec![opaque_rule] }];
    OutboundPolicy { protocol: Some(protocol(None, http, opaque, None)), metadata: Some(target) }
}

fn protocol(
    known: Option<AppProtocol>,
    routes: Vec<HttpRoute>,
    opaque: Vec<OpaqueRoute>,
    failure_accrual: Option<FailureAccrual>,
) -> ProxyProtocol {
    let http1 = |routes| Http1 { routes, failure_accrual };
    let http2 = |routes| Http2 { routes, failure_accrual };
    let kind = match known {
        Some(AppProtocol::Http1) => Kind::Http1(http1(routes)),
        Some(AppProtocol::Http2) => Kind::Http2(http2(routes)),
        Some(AppProtocol::Opaque) => Kind::Opaque(Opaque { routes: opaque }),
        None => Kind::Detect(Detect {
            timeout: Some(duration(DETECT_TIMEOUT)),
            opaque: Some(Opaque { routes: opaque }),
            http1: Some(http1(routes.clone())),
            http2: Some(http2(routes)),
        }),
    };
    ProxyProtocol { kind: Some(kind) }
}

fn any_path() -> HttpRouteMatch {
    let everything = path_match::Kind::Prefix("/".to_owned());
    HttpRouteMatch { path: Some(PathMatch { kind: Some(everything) }), ..HttpRouteMatch::default() }
}

fn http_route(routes: &Routes<'_>) -> HttpRoute {
    let backends = all_backends(routes);
    let backends = backends.map(|b| http::RouteBackend { backend: Some(b), ..http::RouteBackend::default() });
    let first = http::distribution::FirstAvailable { backends: backends.collect() };
    let rule = http::Rule {
        matches: vec![any_path()],
        backends: Some(http::Distribution { kind: Some(http::distribution::Kind::FirstAvailable(first)) }),
        timeouts: timeouts(&routes.balance.timeouts),
        retry: routes.balance.retry.as_ref().filter(|retry| !retry.statuses.is_empty()).map(retry),
        allow_l5d_request_headers: routes.allow_l5d_request_headers,
        ..http::Rule::default()
    };
    HttpRoute { metadata: Some(default_metadata("http")), hosts: Vec::new(), rules: vec![rule] }
}

fn opaque_route(routes: &Routes<'_>) -> OpaqueRoute {
    let backends = all_backends(routes);
    let backends = backends.map(|b| opaque::RouteBackend { backend: Some(b), filters: Vec::new() });
    let first = opaque::distribution::FirstAvailable { backends: backends.collect() };
    let rule = opaque::Rule {
        backends: Some(opaque::Distribution {
            kind: Some(opaque::distribution::Kind::FirstAvailable(first)),
        }),
        filters: Vec::new(),
    };
    OpaqueRoute { metadata: Some(default_metadata("opaque")), rules: vec![rule] }
}

fn all_backends<'a>(routes: &'a Routes<'_>) -> impl Iterator<Item = Backend> + 'a {
    routes.backends.iter().map(|(section, path)| {
        let mut metadata = routes.metadata.clone();
        if let Some(metadata::Kind::Resource(resource)) = &mut metadata.kind {
            resource.section.clone_from(section);
        }
        let get = endpoint_discovery::Kind::Dst(DestinationGet { path: path.clone() });
        let balancer = BalanceP2c {
            discovery: Some(EndpointDiscovery { kind: Some(get) }),
            load: Some(load(routes.balance.penalty.as_ref())),
        };
        Backend {
            metadata: Some(metadata),
            queue: Some(Queue { capacity: QUEUE_CAPACITY, failfast_timeout: Some(duration(QUEUE_FAILFAST)) }),
            kind: Some(backend::Kind::Balancer(balancer)),
        }
    })
}

fn load(penalty: Option<&Penalty>) -> Load {
    let (default_rtt, decay) = (Some(duration(DEFAULT_RTT)), Some(duration(EWMA_DECAY)));
    match penalty {
        None => Load::PeakEwma(PeakEwma { default_rtt, decay }),
        Some(penalty) => Load::PenaltyPeakEwma(PenaltyPeakEwma {
            default_rtt,
            decay,
            penalty: Some(duration(penalty.amount)),
            max_retry_after: Some(duration(penalty.max_retry_after)),
            penalty_decay: decay,
        }),
    }
}

fn timeouts(limits: &Timeouts) -> Option<http_route::Timeouts> {
    (*limits != Timeouts::default()).then(|| http_route::Timeouts {
        request: limits.request.map(duration),
        response: limits.response.map(duration),
        idle: limits.idle.map(duration),
    })
}

fn retry(retry: &Retry) -> http::Retry {
    let range = |&(start, end): &(u16, u16)| http::retry::conditions::StatusRange {
        start: u32::from(start),
        end: u32::from(end),
    };
    http::Retry {
        max_retries: retry.limit,
        max_request_bytes: RETRY_MAX_BYTES,
        conditions: Some(http::retry::Conditions {
            status_ranges: retry.statuses.iter().map(range).collect(),
        }),
        timeout: retry.timeout.map(duration),
        backoff: Some(backoff(&RETRY_BACKOFF)),
    }
}

fn backoff(backoff: &Backoff) -> ExponentialBackoff {
    ExponentialBackoff {
        min_backoff: Some(duration(backoff.min)),
        max_backoff: Some(duration(backoff.max)),
        jitter_ratio: backoff.jitter as f32,
        respect_retry_after_hint: backoff.honor_retry_after,
    }
}

fn failure_accrual(accrual: &Accrual) -> FailureAccrual {
    let kind = match accrual {
        Accrual::Consecutive { max_failures, backoff: pause } => {
            failure_accrual::Kind::ConsecutiveFailures(ConsecutiveFailures {
                max_failures: *max_failures,
                backoff: Some(backoff(pause)),
            })
        }
        Accrual::Unified { success_rate, window, min_requests, max_failures, backoff: pause } => {
            failure_accrual::Kind::Unified(Unified {
                success_rate_threshold: *success_rate,
                decay: Some(duration(*window)),
                min_requests: *min_requests,
                max_consecutive_failures: *max_failures,
                backoff: Some(backoff(pause)),
            })
        }
    };
    FailureAccrual { kind: Some(kind), ejection: None }
}
