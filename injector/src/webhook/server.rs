//! HTTPS in front of the admissions.

use super::admission::{Refusal, answer, record};
use super::certificate::Acceptor;
use super::state::State;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use mesh_runtime::Shutdown;
use serde_json::Value;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, warn};

/// Objects in Kubernetes are at most about 1.5 MiB, and a review may hold one twice.
const MAX_BODY: usize = 4 * 1024 * 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// After a failed accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until the drain begins, then lets open connections finish their requests.
pub(super) async fn serve(listener: TcpListener, acceptor: Acceptor, state: Arc<State>, shutdown: &Shutdown) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.draining() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let task = connection(stream, acceptor.clone(), state.clone(), shutdown.clone());
                drop(shutdown.spawn("webhook-connection", task));
            }
            Err(error) => {
                warn!(%error, "accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, acceptor: Acceptor, state: Arc<State>, shutdown: Shutdown) {
    let Some(tls) = acceptor.current() else { return };
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%error, "handshake"),
        Err(_) => return debug!("handshake timed out"),
    };
    let tasks = shutdown.clone();
    let service = service_fn(move |request| {
        let (state, tasks) = (state.clone(), tasks.clone());
        async move { Ok::<_, Infallible>(respond(request, state, &tasks).await) }
    });
    let builder = Builder::new(TokioExecutor::new());
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let result = tokio::select! {
        result = &mut serving => result,
        () = shutdown.draining() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        debug!(%error, "connection");
    }
}

async fn respond(request: Request<Incoming>, state: Arc<State>, tasks: &Shutdown) -> Response<Full<Bytes>> {
    if request.method() != Method::POST {
        return text(StatusCode::METHOD_NOT_ALLOWED, "admission reviews are posted\n");
    }
    let body = match Limited::new(request.into_body(), MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return text(StatusCode::BAD_REQUEST, format!("body: {error}\n")),
    };
    let review: Value = match serde_json::from_slice(&body) {
        Ok(review) => review,
        Err(error) => return text(StatusCode::BAD_REQUEST, format!("body is not JSON: {error}\n")),
    };
    match answer(&state, &review).await {
        Ok(answer) => {
            if !answer.events.is_empty() {
                drop(tasks.spawn("events", record(state, answer.events)));
            }
            let mut response = text(StatusCode::OK, answer.review.to_string());
            let json = header::HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
        Err(refusal @ Refusal::Malformed(_)) => text(StatusCode::BAD_REQUEST, format!("{refusal}\n")),
        Err(refusal @ Refusal::NotReady) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{refusal}\n")),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}
