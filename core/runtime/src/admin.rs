//! The admin server of a controller: `/live`, `/ready`, `/metrics`, `/log-level`, over plain HTTP/1.

use crate::{Error, LogHandle, Shutdown};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpListener;
use tracing::{debug, info};

/// A log filter is short; anything longer is a mistake.
const MAX_FILTER_BYTES: usize = 4096;

/// Gives the metrics in the text format of Prometheus.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

/// What the admin server shows.
#[derive(Clone)]
pub struct AdminState {
    ready: Arc<AtomicBool>,
    metrics: MetricsText,
    log: Option<LogHandle>,
}

impl AdminState {
    /// Not ready yet; metrics are asked for at every scrape.
    pub fn new(metrics: MetricsText, log: Option<LogHandle>) -> Self {
        Self { ready: Arc::default(), metrics, log }
    }

    /// Sets what `/ready` answers.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// Whether `/ready` answers 200.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }
}

/// Listens on `addr` and serves until the drain ends; `/live` answers while draining, `/ready` does not.
///
/// # Errors
/// [`Error::Listen`].
pub async fn serve(addr: SocketAddr, state: AdminState, shutdown: &Shutdown) -> Result<SocketAddr, Error> {
    let listener = TcpListener::bind(addr).await.map_err(|source| Error::Listen { addr, source })?;
    let local = listener.local_addr().map_err(|source| Error::Listen { addr, source })?;
    info!(%local, "admin server listens");
    let for_task = shutdown.clone();
    drop(shutdown.spawn_until_drain("admin", accept(listener, state, for_task)));
    Ok(local)
}

async fn accept(listener: TcpListener, state: AdminState, shutdown: Shutdown) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!(%error, "admin accept");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        let state = state.clone();
        let draining = shutdown.clone();
        drop(shutdown.spawn_until_drain("admin-connection", async move {
            let service = hyper::service::service_fn(|request| {
                let (state, draining) = (state.clone(), draining.is_draining());
                async move { Ok::<_, Infallible>(answer(request, &state, draining).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new();
            if let Err(error) = connection.serve_connection(TokioIo::new(stream), service).await {
                debug!(%error, "admin connection");
            }
        }));
    }
}

async fn answer(request: Request<Incoming>, state: &AdminState, draining: bool) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/live" | "/ping") => text(StatusCode::OK, "live\n"),
        (&Method::GET | &Method::HEAD, "/ready") if state.is_ready() && !draining => {
            text(StatusCode::OK, "ready\n")
        }
        (&Method::GET | &Method::HEAD, "/ready") => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        (&Method::GET, "/metrics") => metrics((state.metrics)()),
        (&Method::GET, "/log-level") => match &state.log {
            Some(log) => text(StatusCode::OK, format!("{}\n", log.filter())),
            None => text(StatusCode::NOT_FOUND, "no log handle\n"),
        },
        (&Method::PUT, "/log-level") => set_log_level(request, state).await,
        (_, "/live" | "/ping" | "/ready" | "/metrics" | "/log-level") => {
            text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n")
        }
        _ => text(StatusCode::NOT_FOUND, "not found; try /live /ready /metrics /log-level\n"),
    }
}

async fn set_log_level(request: Request<Incoming>, state: &AdminState) -> Response<Full<Bytes>> {
    let Some(log) = &state.log else { return text(StatusCode::NOT_FOUND, "no log handle\n") };
    let body = match Limited::new(request.into_body(), MAX_FILTER_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    match std::str::from_utf8(&body)
        .map_err(|e| e.to_string())
        .and_then(|filter| log.set_filter(filter.trim()).map_err(|e| e.to_string()))
    {
        Ok(()) => text(StatusCode::NO_CONTENT, ""),
        Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

fn metrics(body: String) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::OK, body);
    let kind = header::HeaderValue::from_static("text/plain; version=0.0.4");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;
