//! Serving one HTTP connection with one handler, behind guards that refuse what parsers may disagree on
//! ([`guard`](super::guard)) or what makes work for nothing ([`frames`](super::frames)).

mod http1;

use crate::body::Body;
use crate::config::Http as Settings;
use crate::drain::Drain;
use crate::error::{Error, StreamReset};
use crate::http::frames::{Flood, FrameGuard};
use crate::http::guard::{Guard, Limits, Violation, Watch};
use crate::rt::{ConnExec, ConnStreams};
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_net::Http;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// Streams a client may have open on one connection.
const MAX_CONCURRENT_STREAMS: u32 = 16 * 1024;
/// Streams that were reset before we looked at them; more are an attack (h2's own default, said here because it matters).
const MAX_PENDING_RESETS: usize = 20;
/// What a decoded header block may take: what an HTTP/1 head may, and 32 bytes for each field (RFC 9113, 6.5.2).
const MAX_HEADER_LIST: u32 = 64 * 1024;
/// Memory for unsent data of one HTTP/2 stream.
const MAX_SEND_BUFFER: usize = 1 << 20;

/// Whom an HTTP/2 request is for must be said once (RFC 9113, 8.3.1).
const TWO_HOSTS: Violation =
    Violation { status: StatusCode::BAD_REQUEST, reason: "the host is not the one that :authority names" };

/// Answers requests. Failures are answers too: see [`Error::response`].
pub trait Handler: 'static {
    /// Answers one request.
    fn call(self: Rc<Self>, request: Request<Body>) -> impl Future<Output = Response<Body>>;

    /// Answers a request that is not one; the connection is closed afterwards.
    fn refuse(&self, error: &Error) -> Response<Body> {
        tracing::info!(%error, "request refused");
        error.response(false)
    }
}

/// Serves a connection until the client closes it or the drain signal has let it finish.
///
/// # Errors
/// [`Error::Server`] when the client breaks the protocol or goes away in the middle, [`Error::Flood`] when it sends too
/// many control frames.
pub async fn serve<I, H>(
    io: I,
    version: Http,
    settings: &Settings,
    handler: Rc<H>,
    drain: &Drain,
) -> Result<(), Error>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    // Each has room for itself alone: there are many connections, and most of them wait.
    match version {
        Http::Http1 => Box::pin(serve_http1(io, settings, handler, drain)).await,
        Http::Http2 => Box::pin(serve_http2(io, settings, handler, drain)).await,
    }
}

async fn serve_http1<I, H>(io: I, settings: &Settings, handler: Rc<H>, drain: &Drain) -> Result<(), Error>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let watch = Arc::new(Watch::default());
    let limits = Limits { head: settings.header_read_timeout, idle: settings.idle_timeout };
    let io = Guard::new(io, limits, Arc::clone(&watch));
    http1::serve(io, &watch, handler, drain).await
}

/// Whether `host` names another authority than the request's target; default ports do not count.
fn names_two_hosts<B>(request: &Request<B>) -> bool {
    let strip = |text: &[u8]| -> usize {
        [&b":80"[..], b":443"]
            .iter()
            .find_map(|port| text.strip_suffix(*port))
            .map_or(text.len(), <[u8]>::len)
    };
    let Some(authority) = request.uri().authority().map(|authority| authority.as_str().as_bytes()) else {
        return false;
    };
    let differs = |host: &HeaderValue| {
        let host = host.as_bytes();
        !host[..strip(host)].eq_ignore_ascii_case(&authority[..strip(authority)])
    };
    request.headers().get_all(header::HOST).iter().any(differs)
}

async fn serve_http2<I, H>(io: I, settings: &Settings, handler: Rc<H>, drain: &Drain) -> Result<(), Error>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let flood = Flood::default();
    let io = FrameGuard::new(io, Arc::clone(&flood));
    let service = service_fn(move |request: Request<Incoming>| {
        let handler = Rc::clone(&handler);
        async move {
            let mut response = if names_two_hosts(&request) {
                handler.refuse(&Error::Malformed(TWO_HOSTS))
            } else {
                handler.call(request.map(Body::from)).await
            };
            match response.extensions_mut().remove::<StreamReset>() {
                Some(reset) => Err(reset),
                None => Ok(response),
            }
        }
    });
    let exec = ConnExec::default();
    let mut builder = http2::Builder::new(exec.clone());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .initial_stream_window_size(settings.h2_stream_window)
        .initial_connection_window_size(settings.h2_connection_window)
        .auto_date_header(false);
    if let Some((interval, timeout)) = settings.server_keep_alive {
        builder.keep_alive_interval(interval).keep_alive_timeout(timeout);
    }
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let mut streams = ConnStreams::of(&exec);
    let ended = tokio::select! {
        result = streams.until(connection.as_mut()) => result,
        () = drain.draining() => {
            connection.as_mut().graceful_shutdown();
            streams.until(connection).await
        }
    };
    match flood.get() {
        Some(kind) => Err(Error::Flood(kind)),
        None => ended.map_err(|error| Error::Server(error.into())),
    }
}
