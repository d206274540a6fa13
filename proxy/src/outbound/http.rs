//! The path of a request: route → filters → endpoint → send → account, again where that is safe.

mod account;
mod attempt;

use super::Outbound;
use super::balancer::{Ticket, Use};
use super::discovery::SnapshotReceiver;
use super::metrics::{BackendMetrics, RouteMetrics};
use super::policy::{Http as HttpPolicy, HttpRule, Protocol, RouteBackend, Snapshot};
use crate::body::Body;
use crate::error::{Error, is_grpc};
use crate::http::limit::Limited;
use crate::http::server::Handler;
use crate::http::{orig_proto, upgrade};
use ::http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use account::{Account, Verdict, verdict};
pub use attempt::RetrySafe;
use attempt::{Client, Template};
use mesh_net::Http;
use mesh_rules::{ShortCircuit, apply_request, apply_response};
use mesh_types::headers;
use smallvec::SmallVec;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Endpoints a request is tried on when nothing of it reached an application.
const MAX_SAFE_ATTEMPTS: usize = 8;

const RETRY_SAFE: HeaderName = HeaderName::from_static(headers::RETRY_SAFE);

/// Answers the requests of one connection.
pub struct Service {
    outbound: Rc<Outbound>,
    version: Http,
    name: String,
    snapshots: SnapshotReceiver,
    resolved: RefCell<Resolved>,
}

/// Metric handles of the routes in force; made again when the snapshot changes.
#[derive(Default)]
struct Resolved {
    snapshot: Option<Arc<Snapshot>>,
    routes: Vec<Rc<ResolvedRule>>,
}

/// A rule with its metric handles. Holding the rule keeps its address, and those of its backends, its own.
struct ResolvedRule {
    rule: Arc<HttpRule>,
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
        let snapshot = self.snapshot()?;
        let policy = self.policy(&snapshot)?;
        let found = mesh_rules::find(&policy.routes, &request).ok_or(Error::RouteNotFound)?;
        let (route, by) = (self.resolve(&snapshot, found.value), found.by);
        let rule = &route.rule;
        if let Err(answer) = apply_request(&rule.filters, &mut request, by, rand::random()) {
            route.metrics.statuses.inc(None, "");
            return short_circuit(answer);
        }
        let client_upgrade = upgrade::of_request(&mut request);
        let connect = *request.method() == ::http::Method::CONNECT;
        let client = Client::of(&request);
        let template = Template::new(request, rule.retry.as_ref().map(|retry| retry.max_bytes));
        let attempts = self.attempts(&route, &template);
        let limit = [rule.timeouts.request, rule.timeouts.response].into_iter().flatten().min();
        let deadline = limit.map(|limit| (tokio::time::Instant::now() + limit, limit));
        let result = match deadline {
            Some((deadline, limit)) => match tokio::time::timeout_at(deadline, attempts).await {
                Ok(result) => result,
                Err(_) => Err(Error::RequestTimeout(limit)),
            },
            None => attempts.await,
        };
        match &result {
            Ok(response) => route.metrics.statuses.inc(Some(response.status()), ""),
            Err(error) => route.metrics.statuses.inc(None, error.label()),
        }
        let mut response = result?;
        apply_response(&rule.filters, response.headers_mut());
        client.finish(&mut response);
        upgrade::join(client_upgrade, connect, &mut response, &self.outbound.drain, || {
            let mut snapshots = self.snapshots.clone();
            async move { drop(super::forbidden(&mut snapshots).await) }
        });
        Ok(match deadline {
            None => response,
            Some((deadline, limit)) => {
                response.map(|body| Body::Limited(Box::new(Limited::new(body, deadline, limit))))
            }
        })
    }

    /// Tries endpoints until one answers: other endpoints and tiers as long as nothing reached an application, and by the
    /// route's retry policy.
    async fn attempts(&self, route: &ResolvedRule, template: &Template) -> Result<Response<Body>, Error> {
        let rule = &route.rule;
        let mut tried: SmallVec<[SocketAddr; 4]> = SmallVec::new();
        let mut last: Option<Result<Response<Body>, Error>> = None;
        let (mut safe, mut retries, mut once_more) = (0, 0, true);
        loop {
            let (backend, ticket) = match self.outbound.place(&rule.backends, &tried, Use::Http).await {
                Ok(place) => place,
                Err(error) => match last.take() {
                    // A connection that went away says nothing about the endpoint: where there is no other, it gets another.
                    Some(Err(Error::Request(_) | Error::NotSent(_))) if once_more && !tried.is_empty() => {
                        once_more = false;
                        tried.clear();
                        continue;
                    }
                    // What the last endpoint said tells more than that there is no other.
                    last => return last.unwrap_or(Err(error)),
                },
            };
            let mut request = template.request(&ticket.peer().endpoint.transport)?;
            if let Err(answer) = apply_request(&backend.filters, &mut request, None, rand::random()) {
                return short_circuit(answer);
            }
            let addr = ticket.peer().endpoint.addr;
            let limit = rule.retry.as_ref().filter(|r| retries < r.max).and_then(|r| r.timeout);
            let metrics = self.backend_metrics(route, backend);
            let result = attempt(backend, metrics, ticket, request, limit).await;
            match verdict(&result, rule.retry.as_ref(), template.is_idempotent()) {
                Verdict::Final => return result,
                Verdict::Safe => {
                    safe += 1;
                    if safe >= MAX_SAFE_ATTEMPTS || !template.can_repeat() {
                        return result;
                    }
                    tracing::debug!(destination = self.name, endpoint = %addr, "trying elsewhere");
                    tried.push(addr);
                }
                Verdict::Retry => {
                    let Some(retry) = rule.retry.as_ref().filter(|r| retries < r.max) else { return result };
                    if !template.can_repeat() {
                        return result;
                    }
                    let delay = retry.backoff.map_or(Duration::ZERO, |b| b.delay(retries, rand::random()));
                    retries += 1;
                    route.metrics.retries.inc();
                    tokio::time::sleep(delay).await;
                }
            }
            last = Some(result);
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
            // The destination has become opaque while the connection was open.
            Protocol::Opaque(opaque) => {
                let reason = opaque.refused.clone();
                Err(Error::Forbidden(reason.unwrap_or_else(|| format!("{} is opaque now", self.name)).into()))
            }
        }
    }

    fn resolve(&self, snapshot: &Arc<Snapshot>, rule: &Arc<HttpRule>) -> Rc<ResolvedRule> {
        let resolved = &mut *self.resolved.borrow_mut();
        if !resolved.snapshot.as_ref().is_some_and(|known| Arc::ptr_eq(known, snapshot)) {
            *resolved = Resolved { snapshot: Some(Arc::clone(snapshot)), routes: Vec::new() };
        }
        if let Some(found) = resolved.routes.iter().find(|known| Arc::ptr_eq(&known.rule, rule)) {
            return Rc::clone(found);
        }
        let metrics = self.outbound.metrics.route(&rule.labels);
        let found = ResolvedRule { rule: Arc::clone(rule), metrics, backends: RefCell::default() };
        resolved.routes.push(Rc::new(found));
        Rc::clone(&resolved.routes[resolved.routes.len() - 1])
    }

    fn backend_metrics(&self, route: &ResolvedRule, backend: &RouteBackend) -> Rc<BackendMetrics> {
        let mut backends = route.backends.borrow_mut();
        let key = std::ptr::from_ref(backend);
        if let Some((_, found)) = backends.iter().find(|(known, _)| std::ptr::eq(*known, key)) {
            return Rc::clone(found);
        }
        let metrics = Rc::new(self.outbound.metrics.backend(&backend.labels));
        backends.push((key, Rc::clone(&metrics)));
        metrics
    }
}

impl Handler for Service {
    async fn call(self: Rc<Self>, request: Request<Body>) -> Response<Body> {
        let grpc = is_grpc(request.headers());
        match Service::call(&self, request).await {
            Ok(response) => response,
            Err(error) => {
                self.outbound.metrics.http_error(&self.name, &error);
                tracing::info!(destination = self.name, %error, "request failed");
                error.response(grpc)
            }
        }
    }
}

/// Sends a request to one endpoint.
async fn attempt(
    backend: &RouteBackend,
    metrics: Rc<BackendMetrics>,
    ticket: Ticket,
    request: Request<Body>,
    limit: Option<Duration>,
) -> Result<Response<Body>, Error> {
    let started = Instant::now();
    metrics.requests.inc();
    ticket.peer().metrics.requests.inc();
    let grpc = is_grpc(request.headers());
    let sending = ticket.peer().pool.send(request);
    let result = match limit {
        None => sending.await,
        Some(limit) => match tokio::time::timeout(limit, sending).await {
            Ok(result) => result,
            Err(_) => Err(Error::ResponseTimeout(limit)),
        },
    };
    match result {
        Ok(mut response) => {
            ticket.answered(started.elapsed());
            metrics.statuses.inc(Some(response.status()), "");
            orig_proto::restore_response(&mut response);
            if ticket.peer().endpoint.transport.tls.is_none() {
                // Only proxies of the mesh are believed that nothing reached an application.
                response.headers_mut().remove(&RETRY_SAFE);
            }
            apply_response(&backend.filters, response.headers_mut());
            Ok(Account::of(ticket, metrics, &response, grpc, started).observe(response))
        }
        Err(error) => {
            metrics.statuses.inc(None, error.label());
            // Failed connections are accounted for where they are made.
            if !matches!(error, Error::Connect { .. } | Error::ConnectTimeout { .. } | Error::Tls { .. }) {
                ticket.settle(false);
            }
            Err(error)
        }
    }
}

/// The answer a filter gives in place of the destination.
fn short_circuit(answer: ShortCircuit) -> Result<Response<Body>, Error> {
    let mut response = Response::new(Body::Empty);
    match answer {
        ShortCircuit::Fail { status, grpc: None, message } => {
            return Err(Error::Injected { status, message });
        }
        ShortCircuit::Fail { grpc: Some(code), message, .. } => {
            let map = response.headers_mut();
            map.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            map.insert("grpc-status", HeaderValue::from(u16::from(code)));
            if let Ok(message) = HeaderValue::from_str(&message) {
                map.insert("grpc-message", message.clone());
                map.insert(headers::PROXY_ERROR, message);
            }
        }
        ShortCircuit::Redirect { status, location } => {
            *response.status_mut() = status;
            let location = HeaderValue::from_str(&location).map_err(|_| Error::Injected {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                message: "the route redirects to an invalid location".to_owned(),
            })?;
            response.headers_mut().insert(header::LOCATION, location);
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
    }
    Ok(response)
}
