//! Serving one HTTP connection with one handler; HTTP/1 behind a guard that refuses what parsers may disagree on
//! ([`guard`](super::guard)).

mod http1;
mod http2;

use crate::body::Body;
use crate::config::Http as Settings;
use crate::drain::Drain;
use crate::error::Error;
use crate::http::guard::{Guard, Limits, Violation, Watch};
use crate::http::http1::Connection;
use crate::relay::ResetOnClose;
use futures::future::LocalBoxFuture;
use http::{HeaderValue, Request, Response, StatusCode, header};
use mesh_net::Http;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

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
pub fn serve<'a, I, H>(
    io: I,
    version: Http,
    settings: &'a Settings,
    handler: Rc<H>,
    drain: &'a Drain,
) -> LocalBoxFuture<'a, Result<(), Error>>
where
    I: AsyncRead + AsyncWrite + ResetOnClose + Unpin + Send + 'static,
    H: Handler,
{
    // Each has room for itself alone: there are many connections, and most of them wait.
    match version {
        Http::Http1 => {
            let limits = Limits { head: settings.header_read_timeout, idle: settings.idle_timeout };
            Box::pin(serve_http1(io, limits, handler, drain))
        }
        Http::Http2 => Box::pin(http2::serve(io, settings, handler, drain)),
    }
}

/// As [`serve`], for HTTP/1.
pub(crate) fn serve_http1<'a, I, H>(
    io: I,
    limits: Limits,
    handler: Rc<H>,
    drain: &'a Drain,
) -> impl Future<Output = Result<(), Error>> + use<'a, I, H>
where
    I: AsyncRead + AsyncWrite + ResetOnClose + Unpin + Send + 'static,
    H: Handler,
{
    let watch = Arc::new(Watch::default());
    let io = Guard::new(io, limits, Arc::clone(&watch));
    http1::serve(Connection::new(io), watch, handler, drain)
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
