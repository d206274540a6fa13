//! HTTP/1 connections that turn into something else: `101 Switching Protocols` and `CONNECT`. On HTTP/2, `CONNECT` is a
//! stream whose two bodies are relayed like any others.

use crate::body::Body;
use crate::drain::Drain;
use crate::relay::{self, ResetOnClose};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

/// What a connection is once it has left HTTP.
trait Stream: AsyncRead + AsyncWrite + ResetOnClose + Unpin + Send {}

impl<I: AsyncRead + AsyncWrite + ResetOnClose + Unpin + Send> Stream for I {}

/// A connection that has left HTTP, to be taken once; an extension of the response of a server that says so.
#[derive(Clone)]
pub struct Upgraded(Arc<Mutex<Option<Box<dyn Stream>>>>);

impl Upgraded {
    /// `io` is at the first byte after the response.
    pub fn new(io: impl AsyncRead + AsyncWrite + ResetOnClose + Unpin + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(io)))))
    }

    fn take(self) -> Option<Box<dyn Stream>> {
        self.0.lock().take()
    }
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgraded").finish_non_exhaustive()
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

/// The client's half of an upgrade that may happen.
pub type OfClient = oneshot::Receiver<Upgraded>;

/// An extension of requests on HTTP/1 connections that ask to leave HTTP.
#[derive(Clone, Debug)]
pub struct OnUpgrade(Arc<Mutex<Option<OfClient>>>);

/// To be kept when the connection has left HTTP.
pub struct Promise(oneshot::Sender<Upgraded>);

/// A promise, and the extension that tells of it.
pub fn promise() -> (Promise, OnUpgrade) {
    let (sender, receiver) = oneshot::channel();
    (Promise(sender), OnUpgrade(Arc::new(Mutex::new(Some(receiver)))))
}

impl Promise {
    /// The connection has left HTTP.
    pub fn happened(self, upgraded: Upgraded) {
        // Nobody waits for it where the proxy answered by itself.
        let _ = self.0.send(upgraded);
    }
}

/// The client's half of an upgrade; take it before the request is forwarded.
pub fn of_request(request: &mut Request<Body>) -> Option<OfClient> {
    let on = is_upgrade(request).then(|| request.extensions_mut().remove::<OnUpgrade>()).flatten();
    on.and_then(|on| on.0.lock().take())
}

/// When `response` accepts the upgrade, joins both connections once they have left HTTP, until both are done or `cut`
/// resolves. The response must go back to the client unchanged.
pub fn join<C>(
    client: Option<OfClient>,
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
    if let Some(server) = response.extensions_mut().remove::<Upgraded>() {
        relay(client, server, drain, cut());
    }
}

/// Copies bytes between two upgraded connections until both are done or `cut` resolves.
fn relay(client: OfClient, server: Upgraded, drain: &Drain, cut: impl Future<Output = ()> + 'static) {
    let guard = drain.guard();
    tokio::task::spawn_local(async move {
        let _guard = guard;
        let client = client.await.ok().and_then(Upgraded::take);
        let (Some(mut client), Some(mut server)) = (client, server.take()) else {
            return tracing::debug!("upgrade did not happen");
        };
        tokio::select! {
            result = relay::relay(&mut client, &mut server) => {
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
