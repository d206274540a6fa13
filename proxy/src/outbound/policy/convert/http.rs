//! HTTP and gRPC routes.

use super::{Choices, Context, ROUTE, backoff_config, duration, grpc_choices, http_choices, resource_labels};
use crate::http::limit::Timeouts;
use crate::outbound::policy::{Http, HttpRule, Retry, Terms};
use crate::rules;
use http::StatusCode;
use mesh_api::http_route;
use mesh_api::outbound as api;
use mesh_rules::{Filter, HostMatch, RequestMatch, Route, Rule};
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
                matched(rule.matches.into_iter().map(|m| rules::http_match(m).ok()).collect(), value)
            };
            let hosts = hosts(route.hosts)?;
            Some(Route { hosts, rules: route.rules.into_iter().filter_map(rule).collect() })
        };
        Http { routes: routes.into_iter().filter_map(route).collect() }
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
                matched(rule.matches.into_iter().map(|m| rules::grpc_match(m).ok()).collect(), value)
            };
            let hosts = hosts(route.hosts)?;
            Some(Route { hosts, rules: route.rules.into_iter().filter_map(rule).collect() })
        };
        Http { routes: routes.into_iter().filter_map(route).collect() }
    }
}

/// A rule of which some match is unknown to us matches by the others; one with none left matches nothing.
fn matched(matches: Vec<Option<RequestMatch>>, value: HttpRule) -> Option<Rule<Arc<HttpRule>>> {
    let asked = !matches.is_empty();
    let matches: Vec<_> = matches.into_iter().flatten().collect();
    (!asked || !matches.is_empty()).then(|| Rule { matches, value: Arc::new(value) })
}

/// A route of which some host is unknown to us is for the others; one with none left is for no host rather than for all.
fn hosts(hosts: Vec<http_route::HostMatch>) -> Option<Vec<HostMatch>> {
    let asked = !hosts.is_empty();
    let known: Vec<_> = hosts.into_iter().filter_map(|host| rules::host_match(host).ok()).collect();
    (!asked || !known.is_empty()).then_some(known)
}

/// Filters we cannot make answer with 500, so that a broken route is seen.
pub(super) fn filters(filters: Vec<api::http_route::Filter>) -> Vec<Filter> {
    use api::http_route::filter::Kind;
    let filter = |filter: api::http_route::Filter| match filter.kind {
        None => invalid(),
        Some(Kind::FailureInjector(failure)) => rules::http_failure(failure).unwrap_or_else(|_| invalid()),
        Some(Kind::RequestHeaderModifier(m)) => rules::request_headers(m).unwrap_or_else(|_| invalid()),
        Some(Kind::ResponseHeaderModifier(m)) => rules::response_headers(m).unwrap_or_else(|_| invalid()),
        Some(Kind::Redirect(redirect)) => rules::redirect(redirect).unwrap_or_else(|_| invalid()),
    };
    filters.into_iter().map(filter).collect()
}

pub(super) fn grpc_filters(filters: Vec<api::grpc_route::Filter>) -> Vec<Filter> {
    use api::grpc_route::filter::Kind;
    let filter = |filter: api::grpc_route::Filter| match filter.kind {
        None => invalid(),
        Some(Kind::FailureInjector(failure)) => rules::grpc_failure(failure).unwrap_or_else(|_| invalid()),
        Some(Kind::RequestHeaderModifier(m)) => rules::request_headers(m).unwrap_or_else(|_| invalid()),
    };
    filters.into_iter().map(filter).collect()
}

fn invalid() -> Filter {
    let message = "a filter of the route is invalid".to_owned();
    Filter::Fail { status: StatusCode::INTERNAL_SERVER_ERROR, grpc: None, message, ratio: 1.0 }
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
