//! The admin server: liveness, readiness, metrics, configuration, log level, shutdown. Also the gateway's probe, which
//! says whether it is ready and nothing else.

use crate::body::Body;
use crate::config::{Env, redacted};
use crate::drain::Drain;
use crate::http::guard::Limits;
use crate::http::server::{self, Handler};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use mesh_metrics::Registry;
use mesh_runtime::LogHandle;
use mesh_tls::MeshTls;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};

/// Where `/env.json` shows the digest of the trust bundle in force; `check` compares it.
pub const BUNDLE_KEY: &str = "ISTHMUS_TRUST_BUNDLE_SHA256";
/// Scrapers, probes and people; more connections are closed at once, so that traffic keeps its descriptors.
const MAX_CONNECTIONS: usize = 256;
/// How long a connection may stay without a request, and take for its head.
const LIMITS: Limits = Limits { head: Duration::from_secs(60), idle: Some(Duration::from_secs(60)) };
/// A log filter is a line of text.
const MAX_FILTER: usize = 4096;

/// Whether the proxy takes traffic.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Sets whether the proxy takes traffic.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Whether the proxy takes traffic.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What the admin server answers from.
#[derive(Clone)]
pub struct Admin {
    /// Whether the proxy takes traffic.
    pub ready: Readiness,
    /// All metrics.
    pub registry: Registry,
    /// The environment, shown redacted.
    pub env: Env,
    /// The credentials, whose bundle's digest is shown.
    pub tls: MeshTls,
    /// The log filter.
    pub log: Option<LogHandle>,
    /// Told by `POST /shutdown`; `None` where that is not enabled.
    pub shutdown: Option<Arc<Notify>>,
}

/// Serves the admin server for ever. Must run on a local tokio runtime.
pub async fn serve(listener: TcpListener, admin: Admin) {
    accept(listener, Rc::new(admin)).await;
}

/// Serves `GET /ready` and nothing else for ever. Must run on a local tokio runtime.
pub async fn serve_probe(listener: TcpListener, ready: Readiness) {
    accept(listener, Rc::new(Probe(ready))).await;
}

/// Who answers the requests of `peer`.
struct Peer<A> {
    answers: Rc<A>,
    peer: SocketAddr,
}

/// Answers requests, and knows whose.
trait Answer: 'static {
    async fn answer(&self, request: Request<Body>, peer: SocketAddr) -> Response<Body>;
}

impl<A: Answer> Handler for Peer<A> {
    async fn call(self: Rc<Self>, request: Request<Body>) -> Response<Body> {
        self.answers.answer(request, self.peer).await
    }
}

/// Answers probes.
struct Probe(Readiness);

impl Answer for Probe {
    async fn answer(&self, request: Request<Body>, _: SocketAddr) -> Response<Body> {
        match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/ready") => readiness(&self.0),
            _ => text(StatusCode::NOT_FOUND, "only GET /ready is served here\n"),
        }
    }
}

async fn accept(listener: TcpListener, answers: Rc<impl Answer>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // It answers to the end: what is drained is asked here how it goes.
    let drain = Drain::new();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "admin: accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let handler = Rc::new(Peer { answers: Rc::clone(&answers), peer });
        let drain = drain.clone();
        tokio::task::spawn_local(async move {
            let _place = place;
            if let Err(error) = server::serve_http1(stream, LIMITS, handler, &drain).await {
                tracing::debug!(%peer, %error, "admin: connection failed");
            }
        });
    }
}

impl Answer for Admin {
    async fn answer(&self, request: Request<Body>, peer: SocketAddr) -> Response<Body> {
        let (get, path) = (matches!(*request.method(), Method::GET | Method::HEAD), request.uri().path());
        match path {
            "/live" if get => text(StatusCode::OK, "live\n"),
            "/ready" if get => readiness(&self.ready),
            "/metrics" if get => typed(self.registry.encode(), mesh_metrics::CONTENT_TYPE),
            "/env.json" if get => self.env(),
            "/proxy-log-level" if get => {
                let filter = self.log.as_ref().map(LogHandle::filter).unwrap_or_default();
                text(StatusCode::OK, format!("{filter}\n"))
            }
            "/proxy-log-level" if *request.method() == Method::PUT => self.set_log(request).await,
            "/shutdown" if *request.method() == Method::POST => self.shut_down(peer),
            "/live" | "/ready" | "/metrics" | "/env.json" | "/proxy-log-level" | "/shutdown" => {
                text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n")
            }
            _ => text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }
}

impl Admin {
    fn env(&self) -> Response<Body> {
        let mut env = redacted(&self.env);
        env.insert(BUNDLE_KEY.to_owned(), self.tls.bundle().sha256().to_owned());
        match serde_json::to_string_pretty(&env) {
            Ok(json) => typed(json, "application/json"),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }

    async fn set_log(&self, request: Request<Body>) -> Response<Body> {
        let Ok(body) = Limited::new(request.into_body(), MAX_FILTER).collect().await else {
            return text(StatusCode::BAD_REQUEST, "the filter cannot be read or is too long\n");
        };
        let bytes = body.to_bytes();
        let filter = String::from_utf8_lossy(&bytes);
        match self.log.as_ref().map(|log| log.set_filter(filter.trim())) {
            None => text(StatusCode::NOT_FOUND, "logging is not adjustable here\n"),
            Some(Ok(())) => text(StatusCode::NO_CONTENT, ""),
            Some(Err(error)) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        }
    }

    fn shut_down(&self, peer: SocketAddr) -> Response<Body> {
        match &self.shutdown {
            _ if !peer.ip().to_canonical().is_loopback() => {
                text(StatusCode::FORBIDDEN, "only from the pod itself\n")
            }
            None => {
                text(StatusCode::NOT_FOUND, "set LINKERD2_PROXY_SHUTDOWN_ENDPOINT_ENABLED to enable this\n")
            }
            Some(shutdown) => {
                shutdown.notify_one();
                text(StatusCode::OK, "shutdown\n")
            }
        }
    }
}

fn readiness(ready: &Readiness) -> Response<Body> {
    if ready.get() {
        text(StatusCode::OK, "ready\n")
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

fn typed(body: String, content_type: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::full(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

#[cfg(test)]
mod tests;
