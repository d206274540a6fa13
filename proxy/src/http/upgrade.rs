//! HTTP/1 connections that turn into something else: `101 Switching Protocols` and `CONNECT`.

use crate::body::Body;
use crate::drain::Drain;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use mesh_net::copy_bidirectional;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// What a connection is once it has left HTTP.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<I: AsyncRead + AsyncWrite + Unpin + Send> Stream for I {}

/// A connection to a server that has left HTTP: an extension of the response that says so, to be taken once.
#[derive(Clone)]
pub struct Upgraded(Arc<Mutex<Option<Box<dyn Stream>>>>);

impl Upgraded {
    /// `io` is at the first byte after the response.
    pub fn new(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(io)))))
    }
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgraded").finish_non_exhaustive()
    }
}

/// The server's half of an upgrade: at hand after HTTP/1, on its way after HTTP/2.
async fn of_response(response: (Option<Upgraded>, OnUpgrade)) -> hyper::Result<Box<dyn Stream>> {
    let (upgraded, on) = response;
    match upgraded.and_then(|upgraded| upgraded.0.lock().take()) {
        Some(stream) => Ok(stream),
        None => Ok(Box::new(TokioIo::new(on.await?))),
    }
}

/// Whether a request asks to leave HTTP, so that an HTTP/1 request must not be carried over HTTP/2.
///
/// HTTP/2 inside HTTP/1 (`h2c`) is not among it: requests in it would be seen by no policy. RFC 9113 has dropped it, and a
/// server may leave an offer to upgrade aside.
pub fn is_upgrade<B>(request: &Request<B>) -> bool {
    request.method() == Method::CONNECT
        || (request.version() == Version::HTTP_11
            && has_token(request.headers(), header::CONNECTION, "upgrade")
            && request.headers().contains_key(header::UPGRADE)
            && !has_token(request.headers(), header::UPGRADE, "h2c"))
}

/// The client's half of an upgrade; take it before the request is forwarded.
pub fn of_request(request: &mut Request<Body>) -> Option<OnUpgrade> {
    is_upgrade(request).then(|| hyper::upgrade::on(request))
}

/// When `response` accepts the upgrade, joins both connections once they have left HTTP, until both are done or `cut`
/// resolves. The response must go back to the client unchanged.
pub fn join<C>(
    client: Option<OnUpgrade>,
    connect: bool,
    response: &mut Response<Body>,
    drain: &Drain,
    cut: impl FnOnce() -> C,
) where
    C: Future<Output = ()> + 'static,
{
    let accepted =
        response.status() == StatusCode::SWITCHING_PROTOCOLS || (connect && response.status().is_success());
    let Some(client) = client.filter(|_| accepted) else { return };
    let server = of_response((response.extensions_mut().remove(), hyper::upgrade::on(response)));
    relay(client, server, drain, cut());
}

/// Copies bytes between two upgraded connections until both are done or `cut` resolves.
fn relay(
    client: OnUpgrade,
    server: impl Future<Output = hyper::Result<Box<dyn Stream>>> + 'static,
    drain: &Drain,
    cut: impl Future<Output = ()> + 'static,
) {
    let guard = drain.guard();
    tokio::task::spawn_local(async move {
        let _guard = guard;
        let (client, server) = match tokio::try_join!(client, server) {
            Ok(both) => both,
            Err(error) => return tracing::debug!(%error, "upgrade did not happen"),
        };
        let (mut client, mut server) = (TokioIo::new(client), server);
        tokio::select! {
            result = copy_bidirectional(&mut client, &mut server, |_, _| ()) => {
                if let Err(error) = result {
                    tracing::debug!(%error, end = ?error.end, "upgraded connection failed");
                }
            }
            () = cut => tracing::info!("upgraded connection cut: access was withdrawn"),
        }
    });
}

/// Whether a comma-separated header names `token`.
fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let values = headers.get_all(name);
    values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}
