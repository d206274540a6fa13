//! HTTP and gRPC routes.

use super::{Choices, Context, ROUTE, backoff_config, duration, grpc_choices, http_choices, resource_labels};
use crate::http::limit::Timeouts;
use crate::outbound::policy::{Http, HttpRule, Retry, Terms};
use http::StatusCode;
use http::uri::Scheme;
use mesh_api::outbound as api;
use mesh_api::{grpc_route, http_route, http_types};
use mesh_rules::{
    Filter, HeaderModifier, HostMatch, PathMatch, PathRewrite, Pattern, Redirect, RequestMatch, Route, Rule,
    ValueMatch,
};
use std::sync::Arc;

impl Context<'_> {
    pub(super) fn http(&self, routes: Vec<api::HttpRoute>) -> Http {
        let route = |route: api::HttpRoute| {
            let labels = resource_labels(&self.parent, ROUTE, route.metadata.as_ref());
            let rule = |rule: api::http_route::Rule| {
                let backends = rule.backends.map_or(Choices::Empty, http_choices);
                let value = HttpRule {
                    labels: labels.clone(),
                    filters: filters(rule.filters),
                    backends: self.distribution(backends, &labels),
                    terms: Terms { timeouts: timeouts(rule.timeouts), retry: rule.retry.map(retry) },
                    allow_overrides: rule.allow_l5d_request_headers,
                    grpc: false,
                };
                matched(rule.matches.into_iter().map(http_match).collect(), value)
            };
            Route { hosts: hosts(route.hosts), rules: route.rules.into_iter().filter_map(rule).collect() }
        };
        Http { routes: routes.into_iter().map(route).collect() }
    }

    pub(super) fn grpc(&self, routes: Vec<api::GrpcRoute>) -> Http {
        let route = |route: api::GrpcRoute| {
            let labels = resource_labels(&self.parent, ROUTE, route.metadata.as_ref());
            let rule = |rule: api::grpc_route::Rule| {
                let backends = rule.backends.map_or(Choices::Empty, grpc_choices);
                let value = HttpRule {
                    labels: labels.clone(),
                    filters: grpc_filters(rule.filters),
                    backends: self.distribution(backends, &labels),
                    terms: Terms { timeouts: timeouts(rule.timeouts), retry: rule.retry.map(grpc_retry) },
                    allow_overrides: rule.allow_l5d_request_headers,
                    grpc: true,
                };
                matched(rule.matches.into_iter().map(grpc_match).collect(), value)
            };
            Route { hosts: hosts(route.hosts), rules: route.rules.into_iter().filter_map(rule).collect() }
        };
        Http { routes: routes.into_iter().map(route).collect() }
    }
}

/// A rule of which some match is unknown to us matches by the others; one with none left matches nothing.
fn matched(matches: Vec<Option<RequestMatch>>, value: HttpRule) -> Option<Rule<Arc<HttpRule>>> {
    let asked = !matches.is_empty();
    let matches: Vec<_> = matches.into_iter().flatten().collect();
    (!asked || !matches.is_empty()).then(|| Rule { matches, value: Arc::new(value) })
}

fn hosts(hosts: Vec<http_route::HostMatch>) -> Vec<HostMatch> {
    use http_route::host_match::Match;
    let host = |host: http_route::HostMatch| match host.r#match? {
        Match::Exact(name) => Some(HostMatch::Exact(name.to_ascii_lowercase())),
        Match::Suffix(suffix) => {
            let labels: Vec<_> = suffix.reverse_labels.into_iter().rev().collect();
            Some(HostMatch::Suffix(labels.join(".").to_ascii_lowercase()))
        }
    };
    hosts.into_iter().filter_map(host).collect()
}

fn http_match(m: http_route::HttpRouteMatch) -> Option<RequestMatch> {
    use http_route::{path_match, query_param_match};
    let path = match m.path.and_then(|p| p.kind) {
        None => None,
        Some(path_match::Kind::Exact(path)) => Some(PathMatch::Exact(path)),
        Some(path_match::Kind::Prefix(path)) => Some(PathMatch::Prefix(path)),
        Some(path_match::Kind::Regex(regex)) => Some(PathMatch::Regex(Pattern::new(&regex).ok()?)),
    };
    let query = |q: http_route::QueryParamMatch| {
        let value = match q.value? {
            query_param_match::Value::Exact(value) => ValueMatch::Exact(value),
            query_param_match::Value::Regex(regex) => ValueMatch::Regex(Pattern::new(&regex).ok()?),
        };
        Some((q.name, value))
    };
    Some(RequestMatch {
        path,
        method: m.method.map(http::Method::try_from).transpose().ok()?,
        headers: m.headers.into_iter().map(header_match).collect::<Option<_>>()?,
        query: m.query_params.into_iter().map(query).collect::<Option<_>>()?,
    })
}

fn header_match(m: http_route::HeaderMatch) -> Option<(http::HeaderName, ValueMatch)> {
    use http_route::header_match::Value;
    let value = match m.value? {
        Value::Exact(bytes) => ValueMatch::Exact(String::from_utf8(bytes).ok()?),
        Value::Regex(regex) => ValueMatch::Regex(Pattern::new(&regex).ok()?),
    };
    Some((m.name.parse().ok()?, value))
}

fn grpc_match(m: grpc_route::GrpcRouteMatch) -> Option<RequestMatch> {
    let rpc = m.rpc.unwrap_or_default();
    let path = match (rpc.service.as_str(), rpc.method.as_str()) {
        ("", "") => None,
        (service, "") => Some(PathMatch::Prefix(format!("/{service}"))),
        ("", method) => Some(PathMatch::Regex(Pattern::new(&format!("/[^/]+/{}", escape(method))).ok()?)),
        (service, method) => Some(PathMatch::Exact(format!("/{service}/{method}"))),
    };
    let headers = m.headers.into_iter().map(header_match).collect::<Option<_>>()?;
    Some(RequestMatch { path, headers, ..RequestMatch::default() })
}

/// Method names are identifiers; anything else is made harmless.
fn escape(method: &str) -> String {
    method.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '.' }).collect()
}

/// Filters we cannot make answer with 500, so that a broken route is seen.
pub(super) fn filters(filters: Vec<api::http_route::Filter>) -> Vec<Filter> {
    use api::http_route::filter::Kind;
    let filter = |filter: api::http_route::Filter| match filter.kind? {
        Kind::FailureInjector(f) => Some(Filter::Fail {
            status: u16::try_from(f.status).ok().and_then(|s| StatusCode::from_u16(s).ok())?,
            grpc: None,
            message: f.message,
            ratio: ratio(f.ratio),
        }),
        Kind::RequestHeaderModifier(m) => modifier(m.add, m.set, m.remove).map(Filter::RequestHeaders),
        Kind::ResponseHeaderModifier(m) => modifier(m.add, m.set, m.remove).map(Filter::ResponseHeaders),
        Kind::Redirect(r) => redirect(r).map(Filter::Redirect),
    };
    filters.into_iter().map(|f| filter(f).unwrap_or_else(invalid)).collect()
}

pub(super) fn grpc_filters(filters: Vec<api::grpc_route::Filter>) -> Vec<Filter> {
    use api::grpc_route::filter::Kind;
    let filter = |filter: api::grpc_route::Filter| match filter.kind? {
        Kind::FailureInjector(f) => Some(Filter::Fail {
            status: StatusCode::OK,
            grpc: Some(u8::try_from(f.code).ok()?),
            message: f.message,
            ratio: ratio(f.ratio),
        }),
        Kind::RequestHeaderModifier(m) => modifier(m.add, m.set, m.remove).map(Filter::RequestHeaders),
    };
    filters.into_iter().map(|f| filter(f).unwrap_or_else(invalid)).collect()
}

fn invalid() -> Filter {
    let message = "a filter of the route is invalid".to_owned();
    Filter::Fail { status: StatusCode::INTERNAL_SERVER_ERROR, grpc: None, message, ratio: 1.0 }
}

fn ratio(ratio: Option<http_route::Ratio>) -> f64 {
    ratio.filter(|r| r.denominator > 0).map_or(1.0, |r| f64::from(r.numerator) / f64::from(r.denominator))
}

fn modifier(
    add: Option<http_types::Headers>,
    set: Option<http_types::Headers>,
    remove: Vec<String>,
) -> Option<HeaderModifier> {
    let fields = |headers: Option<http_types::Headers>| {
        let headers = headers.unwrap_or_default().headers.into_iter();
        headers.map(|h| HeaderModifier::field(&h.name, &h.value).ok()).collect::<Option<Vec<_>>>()
    };
    let remove = remove.iter().map(|name| name.parse().ok()).collect::<Option<_>>()?;
    Some(HeaderModifier { add: fields(add)?, set: fields(set)?, remove })
}

fn redirect(r: http_route::RequestRedirect) -> Option<Redirect> {
    use http_route::path_modifier::Replace;
    use http_types::scheme::{Registered, Type};
    let scheme = match r.scheme.and_then(|s| s.r#type) {
        None => None,
        Some(Type::Registered(s)) if s == Registered::Https as i32 => Some(Scheme::HTTPS),
        Some(Type::Registered(_)) => Some(Scheme::HTTP),
        Some(Type::Unregistered(s)) => Some(s.parse().ok()?),
    };
    let path = r.path.and_then(|p| p.replace).map(|replace| match replace {
        Replace::Full(path) => PathRewrite::Full(path),
        Replace::Prefix(path) => PathRewrite::Prefix(path),
    });
    let status = match r.status {
        0 => None,
        status => Some(StatusCode::from_u16(u16::try_from(status).ok()?).ok()?),
    };
    let host = Some(r.host).filter(|h| !h.is_empty());
    Some(Redirect { scheme, host, port: u16::try_from(r.port).ok().filter(|p| *p > 0), path, status })
}

fn timeouts(timeouts: Option<http_route::Timeouts>) -> Timeouts {
    let timeouts = timeouts.unwrap_or_default();
    Timeouts {
        response: duration(timeouts.response),
        request: duration(timeouts.request),
        idle: duration(timeouts.idle),
    }
}

fn retry(retry: api::http_route::Retry) -> Retry {
    let ranges = retry.conditions.unwrap_or_default().status_ranges.into_iter();
    let range = |r: api::http_route::retry::conditions::StatusRange| {
        Some(u16::try_from(r.start).ok()?..=u16::try_from(r.end).ok()?)
    };
    Retry {
        max: retry.max_retries,
        max_bytes: retry.max_request_bytes as usize,
        statuses: ranges.filter_map(range).collect(),
        grpc: Vec::new(),
        timeout: duration(retry.timeout),
        honor_retry_after: retry.backoff.as_ref().is_some_and(|b| b.respect_retry_after_hint),
        backoff: retry.backoff.and_then(backoff_config),
    }
}

fn grpc_retry(retry: api::grpc_route::Retry) -> Retry {
    let c = retry.conditions.unwrap_or_default();
    let codes = [
        (c.cancelled, 1),
        (c.deadine_exceeded, 4),
        (c.resource_exhausted, 8),
        (c.internal, 13),
        (c.unavailable, 14),
    ];
    Retry {
        max: retry.max_retries,
        max_bytes: retry.max_request_bytes as usize,
        statuses: Vec::new(),
        grpc: codes.into_iter().filter_map(|(on, code)| on.then_some(code)).collect(),
        timeout: duration(retry.timeout),
        honor_retry_after: retry.backoff.as_ref().is_some_and(|b| b.respect_retry_after_hint),
        backoff: retry.backoff.and_then(backoff_config),
    }
}
