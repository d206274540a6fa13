//! Requests: each is authorized by the policy in force when it arrives, and forwarded to the application.

use super::app::App;
use super::headers;
use super::metrics::{Requests, ResponseKey};
use super::policies::PolicyReceiver;
use super::policy::{Client, ClientLimit, ClientTls, Meta, ServerPolicy, Taken};
use super::tcp::unauthorized;
use super::{Inbound, InboundMetrics};
use crate::access_log::AccessLog;
use crate::body::{Body, End, Observe};
use crate::config::Config;
use crate::drain::Drain;
use crate::error::{Error, is_grpc};
use crate::http::server::{self, Handler};
use crate::http::{orig_proto, upgrade};
use crate::relay::ResetOnClose;
use futures::future::LocalBoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use mesh_net::Http;
use mesh_rules::{ShortCircuit, apply_request};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};

const RETRY_SAFE: HeaderName = HeaderName::from_static(mesh_types::headers::RETRY_SAFE);
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// What all requests of one connection share.
struct Connection {
    client: Client,
    /// What requests say of the client.
    client_id: Option<HeaderValue>,
    target: SocketAddr,
    policy: PolicyReceiver,
    app: Rc<App>,
    metrics: Rc<InboundMetrics>,
    drain: Drain,
    config: Arc<Config>,
    access_log: Option<AccessLog>,
    /// Metric handles by route and authorization; rebuilt when the policy changes.
    resolved: RefCell<Resolved>,
}

/// Positions of a route (if there are routes) and of its authorization.
type RouteKey = (Option<usize>, usize);

/// What a request may do.
struct Permit<'a> {
    metrics: Rc<Requests>,
    /// The route, if the server has routes.
    taken: Option<Taken<'a>>,
}

#[derive(Default)]
struct Resolved {
    policy: Option<Arc<ServerPolicy>>,
    limit: Option<ClientLimit>,
    requests: Vec<(RouteKey, Rc<Requests>)>,
}

impl Inbound {
    pub(super) fn serve_http<I>(
        self: &Rc<Self>,
        io: I,
        version: Http,
        client: Client,
        target: SocketAddr,
        policy: PolicyReceiver,
    ) -> LocalBoxFuture<'_, Result<(), Error>>
    where
        I: AsyncRead + AsyncWrite + ResetOnClose + Unpin + Send + 'static,
    {
        let connection = Rc::new(Connection {
            client_id: headers::client_id(client.identity()),
            client,
            target,
            policy,
            app: self.app(target),
            metrics: Rc::clone(&self.metrics),
            drain: self.drain.clone(),
            config: Arc::clone(&self.config),
            access_log: self.access_log.clone(),
            resolved: RefCell::default(),
        });
        server::serve(io, version, &self.config.inbound.http, connection, &self.drain)
    }
}

impl Handler for Connection {
    async fn call(self: Rc<Self>, request: Request<Body>) -> Response<Body> {
        let grpc = is_grpc(request.headers());
        let log = self.access_log.as_ref();
        let entry = log.map(|log| log.begin(&request, self.client.addr, self.client.identity()));
        let response = match self.serve(request).await {
            Ok(response) => response,
            Err(error) => {
                self.failed(&error);
                let mut response = error.response(grpc);
                if matches!(self.client.tls, ClientTls::Mesh(_)) {
                    error.mark(&mut response);
                }
                response
            }
        };
        if let Some(entry) = entry {
            entry.end(&response);
        }
        response
    }

    fn refuse(&self, error: &Error) -> Response<Body> {
        self.failed(error);
        let response = error.response(false);
        if let Some(log) = &self.access_log {
            log.refused(self.client.addr, self.client.identity(), &response);
        }
        response
    }
}

impl Connection {
    fn failed(&self, error: &Error) {
        self.metrics.http_error(self.target, error);
        tracing::info!(target = %self.target, client = %self.client.addr, %error, "request failed");
    }

    /// The path of a request.
    async fn serve(&self, mut request: Request<Body>) -> Result<Response<Body>, Error> {
        let started = Instant::now();
        let meshed = matches!(self.client.tls, ClientTls::Mesh(_));
        let carried = if meshed { orig_proto::downgrade_request(&mut request) } else { None };
        let policy = Arc::clone(&self.policy.borrow());
        let permit = self.authorize(&policy, &request)?;
        permit.metrics.allowed.inc();
        if permit.metrics.audited {
            let (client, server) = (self.client.describe(), &policy.meta.name);
            tracing::info!(%client, %server, method = %request.method(), uri = %request.uri(), "request audited");
        }
        self.limit_rate(&policy)?;
        permit.metrics.requests.inc();
        permit.metrics.route.requests.inc();
        if let Some(answer) = permit.filter(&mut request)? {
            return Ok(answer);
        }
        let metrics = permit.metrics;
        let (identity, id) = (self.client.identity(), self.client_id.as_ref());
        headers::sanitize(request.headers_mut(), identity, id, &self.config.inbound.gateways);
        let client_upgrade = upgrade::of_request(&mut request);
        let http1 = request.version() != Version::HTTP_2;
        if http1 && client_upgrade.is_none() {
            orig_proto::strip_connection_headers(request.headers_mut());
        }
        let connect = *request.method() == Method::CONNECT;
        let head = client_upgrade.is_some().then(|| head_of(&request));
        let completed = Rc::new(Cell::new(started));
        let request = observe_request(request, &metrics, &completed);
        let result = self.app.send(request).await;
        let mut response = match result {
            Ok(response) => response,
            Err(error) => {
                let key = ResponseKey { status: error.status(), grpc: None, error: error.label() };
                metrics.responded(key, started.elapsed(), completed.get().elapsed());
                return Err(error);
            }
        };
        // That nothing reached an application is for proxies to say.
        response.headers_mut().remove(&RETRY_SAFE);
        upgrade::join(client_upgrade, connect, &mut response, &self.drain, || self.withdrawn(head));
        if let Some(carried) = carried {
            orig_proto::mark_response(&mut response, carried);
        } else if http1 && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            orig_proto::strip_connection_headers(response.headers_mut());
        }
        let observer = ResponseObserver {
            metrics,
            started,
            completed,
            status: response.status(),
            grpc: is_grpc(response.headers()),
            grpc_status: grpc_status(response.headers()),
        };
        Ok(response.map(|body| body.observed(observer)))
    }

    /// Takes one request out of the rate limit's buckets.
    fn limit_rate(&self, policy: &Arc<ServerPolicy>) -> Result<(), Error> {
        if policy.rate_limit.is_none() {
            return Ok(());
        }
        let mut resolved = self.resolved.borrow_mut();
        let Some(limit) = resolved.limit(policy, &self.client) else { return Ok(()) };
        limit.take().map_err(|exceeded| {
            self.metrics.rate_limited(self.target, &self.client, policy, limit.meta(), exceeded);
            Error::RateLimited { scope: exceeded.scope, rate: exceeded.rate }
        })
    }

    /// Resolves when policy no longer lets the client make this request.
    fn withdrawn(&self, head: Option<Request<()>>) -> impl Future<Output = ()> + use<> {
        let (client, mut policy) = (self.client.clone(), self.policy.clone());
        async move {
            while policy.changed().await.is_ok() {
                let current = Arc::clone(&policy.borrow_and_update());
                if head.as_ref().is_some_and(|head| !current.allows(head, &client)) {
                    return;
                }
            }
            // Nobody changes this policy any more.
            std::future::pending().await
        }
    }

    /// Finds the route and the authorization, and what both lead to.
    fn authorize<'a>(
        &self,
        policy: &'a Arc<ServerPolicy>,
        request: &Request<Body>,
    ) -> Result<Permit<'a>, Error> {
        let taken = match policy.routes() {
            None => None,
            Some(routes) => match routes.find(request) {
                Some(taken) => Some(taken),
                None => {
                    self.metrics.route_not_found(self.target, &self.client, policy);
                    return Err(Error::RouteNotFound);
                }
            },
        };
        let authorizations =
            taken.as_ref().map_or(&policy.authorizations, |taken| &taken.route.authorizations);
        let found = authorizations.iter().position(|authorization| authorization.permits(&self.client));
        let meta = || taken.as_ref().map_or_else(Meta::default_route, |taken| taken.route.meta.clone());
        let Some(position) = found else {
            self.metrics.http_denied(self.target, &self.client, policy, &meta());
            return Err(unauthorized("request", &policy.meta.name, &self.client));
        };
        let key = (taken.as_ref().map(|taken| taken.index), position);
        let metrics = self.resolved.borrow_mut().requests(policy, key, || {
            self.metrics.requests(self.target, &self.client, policy, &meta(), &authorizations[position])
        });
        Ok(Permit { metrics, taken })
    }
}

impl Resolved {
    /// Forgets what was resolved for another policy.
    fn renew(&mut self, policy: &Arc<ServerPolicy>) {
        if !self.policy.as_ref().is_some_and(|known| Arc::ptr_eq(known, policy)) {
            *self = Self { policy: Some(Arc::clone(policy)), ..Self::default() };
        }
    }

    /// The client's rate limit under a policy that has one.
    fn limit(&mut self, policy: &Arc<ServerPolicy>, client: &Client) -> Option<&ClientLimit> {
        self.renew(policy);
        if self.limit.is_none() {
            self.limit = policy.rate_limit.as_ref().map(|limit| limit.of(client));
        }
        self.limit.as_ref()
    }

    /// The handles for a route and authorization of a policy, looked up once.
    fn requests(
        &mut self,
        policy: &Arc<ServerPolicy>,
        key: RouteKey,
        make: impl FnOnce() -> Requests,
    ) -> Rc<Requests> {
        self.renew(policy);
        if let Some((_, found)) = self.requests.iter().find(|(known, _)| *known == key) {
            return Rc::clone(found);
        }
        let requests = Rc::new(make());
        self.requests.push((key, Rc::clone(&requests)));
        requests
    }
}

impl Permit<'_> {
    /// Lets the route's filters work on the request; they may answer in the application's place.
    fn filter(&self, request: &mut Request<Body>) -> Result<Option<Response<Body>>, Error> {
        let Some(taken) = &self.taken else { return Ok(None) };
        match apply_request(taken.filters, request, taken.matched, rand::random()) {
            Ok(()) => Ok(None),
            Err(ShortCircuit::Fail { grpc: Some(code), message, .. }) => {
                Err(Error::InjectedGrpc { code: u32::from(code), message })
            }
            Err(ShortCircuit::Fail { status, message, .. }) => Err(Error::Injected { status, message }),
            Err(ShortCircuit::Redirect { status, location }) => {
                let location = HeaderValue::try_from(location)
                    .map_err(|error| Error::InvalidRequest(error.to_string()))?;
                let mut response = Response::new(Body::Empty);
                *response.status_mut() = status;
                response.headers_mut().insert(header::LOCATION, location);
                Ok(Some(response))
            }
        }
    }
}

/// Watches the body of a request, if it has one, for its end and the sizes of its frames.
fn observe_request(
    request: Request<Body>,
    metrics: &Rc<Requests>,
    completed: &Rc<Cell<Instant>>,
) -> Request<Body> {
    if matches!(request.body(), Body::Empty) {
        return request;
    }
    let observer = RequestObserver { metrics: Rc::clone(metrics), completed: Rc::clone(completed) };
    request.map(|body| body.observed(observer))
}

struct RequestObserver {
    metrics: Rc<Requests>,
    completed: Rc<Cell<Instant>>,
}

impl Observe for RequestObserver {
    #[allow(clippy::cast_precision_loss)]
    fn data(&mut self, len: usize) {
        self.metrics.route.request_frames.observe(len as f64);
    }

    fn end(&mut self, _: End<'_>) {
        self.completed.set(Instant::now());
    }
}

/// Accounts for a response once it has ended.
struct ResponseObserver {
    metrics: Rc<Requests>,
    started: Instant,
    /// When the request had ended.
    completed: Rc<Cell<Instant>>,
    status: StatusCode,
    grpc: bool,
    grpc_status: Option<u16>,
}

impl Observe for ResponseObserver {
    #[allow(clippy::cast_precision_loss)]
    fn data(&mut self, len: usize) {
        self.metrics.route.response_frames.observe(len as f64);
    }

    fn end(&mut self, end: End<'_>) {
        let error = match end {
            End::Complete(trailers) => {
                self.grpc_status = trailers.and_then(grpc_status).or(self.grpc_status);
                ""
            }
            End::Failed(error) => error.label(),
            End::Dropped => "unexpected",
        };
        let grpc = self.grpc.then_some(self.grpc_status.unwrap_or(GRPC_UNKNOWN));
        let key = ResponseKey { status: self.status, grpc, error };
        let now = Instant::now();
        self.metrics.responded(key, now - self.started, now - self.completed.get());
    }
}

/// What routes see of a request, to be looked at again when policy changes.
fn head_of(request: &Request<Body>) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = request.uri().clone();
    *head.headers_mut() = request.headers().clone();
    head
}

/// The gRPC status of a response that has none, or none we can read.
const GRPC_UNKNOWN: u16 = 2;

fn grpc_status(headers: &HeaderMap) -> Option<u16> {
    headers.get(&GRPC_STATUS)?.to_str().ok()?.parse().ok()
}
