//! Applications whose answers a test decides, and policies that a test changes.

use crate::destinations::service;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use mesh_api::outbound::proxy_protocol::Kind;
use mesh_api::outbound::{
    self as api, ExponentialBackoff, FailureAccrual, OutboundPolicy, failure_accrual, http_route,
};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::net::TcpListener;

pub(crate) type Answer = Response<BoxBody<Bytes, Infallible>>;

/// An application, and how many requests it got and has open.
pub(crate) struct App {
    pub(crate) addr: SocketAddr,
    pub(crate) asked: Arc<AtomicUsize>,
    pub(crate) connections: Arc<AtomicUsize>,
}

impl App {
    /// Answers the request of each number, counted from 0, as `answer` says; HTTP/1 and HTTP/2.
    pub(crate) async fn start<F, R>(answer: F) -> Self
    where
        F: Fn(usize, Request<Incoming>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Answer> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (asked, connections) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let app = Self { addr, asked: Arc::clone(&asked), connections: Arc::clone(&connections) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, asked) = (answer.clone(), Arc::clone(&asked));
                let serve = service_fn(move |request| {
                    let answer = answer(asked.fetch_add(1, SeqCst), request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let connections = Arc::clone(&connections);
                connections.fetch_add(1, SeqCst);
                tokio::spawn(async move {
                    let io = TokioIo::new(stream);
                    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(io, serve).await;
                    connections.fetch_sub(1, SeqCst);
                });
            }
        });
        app
    }

    /// Answers every request with this status.
    pub(crate) async fn always(status: u16) -> Self {
        Self::start(move |_, _| std::future::ready(answer(status, ""))).await
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

/// An answer with a status and a body.
pub(crate) fn answer(status: u16, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()).boxed());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

/// Never answers.
pub(crate) async fn silence() -> Answer {
    std::future::pending().await
}

/// The policy of a service, its HTTP rules changed.
pub(crate) fn ruled(path: &str, change: impl Fn(&mut http_route::Rule)) -> OutboundPolicy {
    changed(service(path), change)
}

/// A policy, its HTTP rules changed.
pub(crate) fn changed(mut policy: OutboundPolicy, change: impl Fn(&mut http_route::Rule)) -> OutboundPolicy {
    if let Some(Kind::Detect(detect)) = policy.protocol.as_mut().and_then(|p| p.kind.as_mut()) {
        let http1 = detect.http1.iter_mut().flat_map(|http| &mut http.routes);
        let http2 = detect.http2.iter_mut().flat_map(|http| &mut http.routes);
        http1.chain(http2).flat_map(|route| &mut route.rules).for_each(change);
    }
    policy
}

/// A policy with failure accrual.
pub(crate) fn accruing(
    mut policy: OutboundPolicy,
    kind: failure_accrual::Kind,
    ejection: Option<api::EjectionConfig>,
) -> OutboundPolicy {
    let accrual = FailureAccrual { kind: Some(kind), ejection };
    if let Some(Kind::Detect(detect)) = policy.protocol.as_mut().and_then(|p| p.kind.as_mut()) {
        detect.http1.as_mut().unwrap().failure_accrual = Some(accrual);
        detect.http2.as_mut().unwrap().failure_accrual = Some(accrual);
    }
    policy
}

pub(crate) fn duration(limit: Duration) -> Option<mesh_api::prost_types::Duration> {
    Some(limit.try_into().unwrap())
}

/// A backoff without jitter.
pub(crate) fn backoff(min: Duration, max: Duration) -> ExponentialBackoff {
    ExponentialBackoff {
        min_backoff: duration(min),
        max_backoff: duration(max),
        jitter_ratio: 0.0,
        respect_retry_after_hint: false,
    }
}

/// Retries of 5xx, almost without a pause.
pub(crate) fn retries(max_retries: u32) -> http_route::Retry {
    let range = http_route::retry::conditions::StatusRange { start: 500, end: 599 };
    http_route::Retry {
        max_retries,
        max_request_bytes: 64,
        conditions: Some(http_route::retry::Conditions { status_ranges: vec![range] }),
        timeout: None,
        backoff: Some(backoff(Duration::from_millis(1), Duration::from_millis(2))),
    }
}
