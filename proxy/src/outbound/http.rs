//! The path of a request: match → filters → distribution → backend, again where that is safe.

mod account;
mod attempt;
mod overrides;
mod send;
mod verdict;

use super::Outbound;
use super::balancer::Use;
use super::discovery::SnapshotReceiver;
use super::endpoint::Transport;
use super::metrics::{BackendMetrics, Ended, OutboundMetrics, ParentMetrics, RouteMetrics, named};
use super::place::{Failure, Tried};
use super::policy::{Distribution, Http as HttpPolicy, HttpRule, Protocol, RouteBackend, Snapshot, Terms};
use crate::body::Body;
use crate::error::{Error, is_grpc};
use crate::http::limit::{self, Clock};
use crate::http::replay::Keeping;
use crate::http::server::Handler;
use crate::http::upgrade;
use ::http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use account::Route;
pub use attempt::RetrySafe;
use attempt::{Client, KEPT, Template};
use mesh_net::Http;
use mesh_rules::{ShortCircuit, apply_request, apply_response};
use mesh_types::headers;
use send::{Answer, Sending};
use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use verdict::{Attempts, Step};

/// Routes, or routes and hosts, whose metric handles are kept for a snapshot.
const MAX_RESOLVED: usize = 256;

const RETRY_SAFE: HeaderName = HeaderName::from_static(headers::RETRY_SAFE);

/// Answers the requests of one connection.
pub struct Service {
    outbound: Rc<Outbound>,
    version: Http,
    name: String,
    snapshots: SnapshotReceiver,
    resolved: RefCell<Option<Rc<Resolved>>>,
}

/// Metric handles of the routes of a snapshot, which a worker's connections to a destination share: to look them up for
/// every connection would cost more than the connection.
pub(super) struct Resolved {
    snapshot: Arc<Snapshot>,
    /// The series of connections.
    pub(super) parent: ParentMetrics,
    routes: RefCell<Vec<Rc<ResolvedRule>>>,
}

/// What all attempts of one request have in common.
struct Exchange<'a> {
    route: &'a ResolvedRule,
    template: &'a Template,
    clock: Option<&'a Rc<Clock>>,
    grpc: bool,
}

impl Resolved {
    /// Nothing is resolved yet.
    pub(super) fn of(snapshot: &Arc<Snapshot>, metrics: &OutboundMetrics) -> Rc<Self> {
        let (parent, snapshot) = (metrics.parent(&snapshot.parent), Arc::clone(snapshot));
        Rc::new(Self { snapshot, parent, routes: RefCell::default() })
    }
}

/// A rule with its metric handles. Holding the rule keeps its address, and those of its backends, its own.
struct ResolvedRule {
    rule: Arc<HttpRule>,
    hostname: Option<String>,
    metrics: RouteMetrics,
    backends: RefCell<Vec<(*const RouteBackend, Rc<BackendMetrics>)>>,
}

impl Service {
    pub(super) fn new(
        outbound: Rc<Outbound>,
        version: Http,
        name: String,
        snapshots: SnapshotReceiver,
    ) -> Rc<Self> {
        Rc::new(Self { outbound, version, name, snapshots, resolved: RefCell::default() })
    }

    /// Answers one request.
    ///
    /// # Errors
    /// Why there is no answer; [`Error::retry_safe`] says whether nothing of the request reached an application.
    pub async fn call(&self, mut request: Request<Body>) -> Result<Response<Body>, Error> {
        let began = Instant::now();
        self.outbound.common.load.admit()?;
        let snapshot = self.snapshot()?;
        let policy = self.policy(&snapshot)?;
        let found = mesh_rules::find(&policy.routes, &request).ok_or(Error::RouteNotFound)?;
        let (route, by) = (self.resolve(&snapshot, found.value, self.hostname(&request)), found.by);
        let rule = &*route.rule;
        let terms = overrides::take(request.headers_mut(), &rule.terms, rule.allow_overrides);
        if let Err(answer) = apply_request(&rule.filters, &mut request, by, rand::random()) {
            route.metrics.ended(Ended::default(), began.elapsed());
            return short_circuit(answer);
        }
        let client_upgrade = upgrade::of_request(&mut request);
        let connect = *request.method() == ::http::Method::CONNECT;
        let client = Client::of(&request);
        let clock = Clock::start(terms.timeouts);
        let template = Template::new(request, || self.keeping(&route, &terms, clock.as_ref()));
        let exchange =
            Exchange { route: &route, template: &template, clock: clock.as_ref(), grpc: template.is_grpc() };
        let tiered = matches!(&rule.backends, Distribution::First(tiers, _) if tiers.len() > 1);
        if tiered || terms.retry.is_some() {
            snapshot.budget.deposit(began);
        }
        let attempts =
            Attempts::new(&template, terms.retry.as_ref(), &snapshot.budget, &route.metrics, tiered);
        let attempts = pin!(self.attempts(&exchange, attempts));
        let answer = match limit::within(clock.as_deref(), attempts).await {
            Ok(answer) => answer,
            Err(error) => {
                route.metrics.ended(Ended { error: error.label(), ..Ended::default() }, began.elapsed());
                return Err(error);
            }
        };
        let mut response = answer.give(Route { rule: Rc::clone(&route), began }, clock.as_ref());
        apply_response(&rule.filters, response.headers_mut());
        client.finish(&mut response);
        upgrade::join(client_upgrade, connect, &mut response, &self.outbound.drain, || {
            let mut snapshots = self.snapshots.clone();
            async move { drop(super::forbidden(&mut snapshots).await) }
        });
        Ok(response)
    }

    /// Tries endpoints until one answers: other endpoints and tiers as long as nothing reached an application, and by the
    /// route's retry policy.
    async fn attempts(&self, exchange: &Exchange<'_>, mut attempts: Attempts<'_>) -> Result<Answer, Error> {
        let backends = &exchange.route.rule.backends;
        let mut tried = Tried::new();
        let mut last: Option<Result<Answer, Error>> = None;
        loop {
            let (backend, ticket) = match self.outbound.place(backends, &mut tried, Use::Http).await {
                Ok(place) => place,
                // What the last endpoint said tells more than that there is no other.
                Err(error) => return last.unwrap_or(Err(error)),
            };
            attempts.in_round(tried.rounds());
            let peer = Rc::clone(ticket.peer());
            if let Some(clock) = exchange.clock {
                clock.restart();
                if exchange.template.is_empty() {
                    clock.sent();
                }
            }
            let mut request = exchange.template.request(&peer.endpoint.transport)?;
            if !backend.filters.is_empty() {
                backend_filters(backend, &mut request)?;
            }
            let sending = Sending {
                backend,
                metrics: self.backend_metrics(exchange.route, backend),
                ticket,
                request,
                limit: attempts.limit(),
                clock: exchange.clock,
                grpc: exchange.grpc,
                again: tried.rounds() > 0,
            };
            let mut result = sending.send().await;
            if let Some(Ok(answer)) = last.take() {
                answer.discard();
            }
            if attempts.retry.is_some_and(|retry| !retry.grpc.is_empty()) {
                result = match result {
                    Ok(answer) => answer.peeked(&self.outbound.common.load.bodies).await,
                    failed => failed,
                };
            }
            match attempts.after(&result) {
                Step::Give => {
                    if backend.backend.in_failfast() && result.as_ref().is_ok_and(|answer| !answer.refuses())
                    {
                        self.outbound.taken(&backend.backend, Use::Http);
                    }
                    return result;
                }
                Step::Elsewhere => {
                    tracing::debug!(destination = self.name, endpoint = %peer.endpoint.addr, "trying elsewhere");
                    tried.add(peer.endpoint.addr, failure(&result, &peer.endpoint.transport));
                    if let Ok(answer) = &result {
                        answer.step_aside();
                    }
                }
                Step::Again(pause) => Box::pin(tokio::time::sleep(pause)).await,
            }
            last = Some(result);
        }
    }

    /// What is kept of a request's body.
    fn keeping(&self, route: &ResolvedRule, terms: &Terms, clock: Option<&Rc<Clock>>) -> Keeping {
        Keeping {
            limit: terms.retry.as_ref().map_or(0, |retry| retry.max_bytes).max(KEPT),
            memory: Arc::clone(&self.outbound.common.load.bodies),
            clock: clock.cloned(),
            frames: Some(route.metrics.frames.clone()),
        }
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>, Error> {
        let snapshot = self.snapshots.borrow().clone();
        snapshot.ok_or_else(|| Error::NoEndpoints(format!("{} (not known yet)", self.name).into()))
    }

    fn policy<'a>(&self, snapshot: &'a Snapshot) -> Result<&'a HttpPolicy, Error> {
        match &snapshot.protocol {
            Protocol::Detect { http1, http2, .. } => {
                Ok(if self.version == Http::Http1 { http1 } else { http2 })
            }
            Protocol::Http1(http) | Protocol::Http2(http) => Ok(http),
            // The destination has changed while the connection was open, or a gateway's client takes it for what it is not.
            Protocol::Opaque(opaque) => {
                let reason = opaque.refused.as_ref().map(|refused| refused.reason().to_owned());
                Err(Error::Forbidden(reason.unwrap_or_else(|| format!("{} is opaque now", self.name)).into()))
            }
            Protocol::Tls(_) => Err(Error::Forbidden(format!("{} takes TLS only", self.name).into())),
        }
    }

    /// The host that metrics name, where they do.
    fn hostname<'a>(&self, request: &'a Request<Body>) -> Option<&'a str> {
        if !self.outbound.config.outbound.hostname_labels {
            return None;
        }
        let field = || request.headers().get(header::HOST)?.to_str().ok();
        let host = request.uri().host().or_else(field).unwrap_or_default();
        let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
        Some(name.map_or(host, |(name, _)| name))
    }

    fn resolve(
        &self,
        snapshot: &Arc<Snapshot>,
        rule: &Arc<HttpRule>,
        hostname: Option<&str>,
    ) -> Rc<ResolvedRule> {
        let resolved = self.resolved(snapshot);
        let mut routes = resolved.routes.borrow_mut();
        let same = |known: &&Rc<ResolvedRule>| {
            Arc::ptr_eq(&known.rule, rule) && known.hostname.as_deref() == hostname
        };
        if let Some(found) = routes.iter().find(same) {
            return Rc::clone(found);
        }
        if routes.len() >= MAX_RESOLVED {
            routes.clear();
        }
        let hostname = hostname.map(ToOwned::to_owned);
        let metrics =
            self.outbound.common.metrics.route(&named(&rule.labels, hostname.as_deref()), rule.grpc);
        let found = ResolvedRule { rule: Arc::clone(rule), hostname, metrics, backends: RefCell::default() };
        routes.push(Rc::new(found));
        Rc::clone(&routes[routes.len() - 1])
    }

    /// What is resolved of a snapshot.
    fn resolved(&self, snapshot: &Arc<Snapshot>) -> Rc<Resolved> {
        let mut current = self.resolved.borrow_mut();
        if let Some(known) = current.as_ref().filter(|known| Arc::ptr_eq(&known.snapshot, snapshot)) {
            return Rc::clone(known);
        }
        let found = self.outbound.resolved(snapshot);
        *current = Some(Rc::clone(&found));
        found
    }

    fn backend_metrics(&self, route: &ResolvedRule, backend: &RouteBackend) -> Rc<BackendMetrics> {
        let mut backends = route.backends.borrow_mut();
        let key = std::ptr::from_ref(backend);
        if let Some((_, found)) = backends.iter().find(|(known, _)| std::ptr::eq(*known, key)) {
            return Rc::clone(found);
        }
        let labels = named(&backend.labels, route.hostname.as_deref());
        let metrics = self.outbound.common.metrics.backend(&labels, route.rule.grpc);
        let metrics = Rc::new(metrics);
        backends.push((key, Rc::clone(&metrics)));
        metrics
    }
}

/// How an attempt failed after which the request goes elsewhere. What fails between the proxy of an endpoint and its
/// application, that proxy says; a gateway has waited itself.
fn failure(attempt: &Result<Answer, Error>, to: &Transport) -> Failure {
    match attempt {
        Ok(answer) => {
            let said = answer.response.headers().get(&RETRY_SAFE);
            let lost = said.is_some_and(|said| said != "true");
            let passing = said.is_some_and(|said| said != headers::BROKEN) && to.authority.is_none();
            Failure { lost, heard: lost, passing }
        }
        Err(error) => {
            let heard = matches!(error, Error::Request(_) | Error::Dropped(_));
            let lost = heard || matches!(error, Error::NotSent(_));
            Failure { lost, heard, ..Failure::to_connect(error, to) }
        }
    }
}

impl Handler for Service {
    async fn call(self: Rc<Self>, request: Request<Body>) -> Response<Body> {
        let grpc = is_grpc(request.headers());
        match Service::call(&self, request).await {
            Ok(response) => response,
            Err(error) => {
                self.outbound.common.metrics.http_error(&self.name, &error);
                tracing::info!(destination = self.name, %error, "request failed");
                error.response(grpc)
            }
        }
    }

    fn refuse(&self, error: &Error) -> Response<Body> {
        self.outbound.common.metrics.http_error(&self.name, error);
        tracing::info!(destination = self.name, %error, "request refused");
        error.response(false)
    }
}

/// The answer a filter gives in place of the destination.
fn short_circuit(answer: ShortCircuit) -> Result<Response<Body>, Error> {
    match answer {
        ShortCircuit::Fail { status, grpc: None, message } => Err(Error::Injected { status, message }),
        ShortCircuit::Fail { grpc: Some(code), message, .. } => {
            Err(Error::InjectedGrpc { code: u32::from(code), message })
        }
        ShortCircuit::Redirect { status, location } => {
            let location = HeaderValue::from_str(&location).map_err(|_| Error::Injected {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                message: "the route redirects to an invalid location".to_owned(),
            })?;
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = status;
            response.headers_mut().insert(header::LOCATION, location);
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
            Ok(response)
        }
    }
}

/// Lets the filters of a backend work on a request that goes there.
fn backend_filters(backend: &RouteBackend, request: &mut Request<Body>) -> Result<(), Error> {
    let Err(answer) = apply_request(&backend.filters, request, None, rand::random()) else { return Ok(()) };
    Err(match short_circuit(answer) {
        Err(error) => error,
        // Where to redirect to is for routes to say.
        Ok(_) => Error::Injected {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            message: "a backend of the route redirects, which only a route can".to_owned(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a future of this function takes.
    fn size<F>(_: fn(Rc<Service>, Request<Body>) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_future_of_a_request_is_small() {
        // It is moved for every request: what is rare belongs on the heap.
        let size = size(<Service as Handler>::call);
        assert!(size <= 6 * 1024, "{size} bytes");
    }
}
