//! Turning a request's connection into SPDY/3.1 streams: what kubectl before 1.31 asks for, and every kubectl that is told
//! to or finds WebSocket refused.

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use mesh_apiserver::{Body, RequestBody, full};

use super::bad_request;

const SPDY: &str = "SPDY/3.1";
/// Which protocols a client offers over its streams, and which one was chosen.
const PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// What the server would have accepted.
const ACCEPTED: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");

/// The bytes of an upgraded connection.
pub(super) type Upgraded = TokioIo<hyper::upgrade::Upgraded>;

/// How a client wants to stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Over a WebSocket.
    WebSocket,
    /// Over SPDY/3.1.
    Spdy,
}

/// What the request's headers ask for.
///
/// # Errors
/// The refusal of a request that asks for neither.
pub(super) fn asked(headers: &HeaderMap) -> Result<Asked, Box<Response<Body>>> {
    let upgrade = headers.get(UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if upgrade.eq_ignore_ascii_case("websocket") {
        Ok(Asked::WebSocket)
    } else if upgrade.eq_ignore_ascii_case(SPDY) {
        Ok(Asked::Spdy)
    } else {
        Err(Box::new(bad_request("Upgrade request required: to websocket or to SPDY/3.1")))
    }
}

/// The values of a header that is a list, in order.
pub(super) fn listed<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|value| !value.is_empty()).collect()
}

/// The answer that changes protocols, and what to await for the connection once the answer has been sent.
pub(super) type Accepted = (Response<Body>, BoxFuture<'static, Option<Upgraded>>);

/// Accepts SPDY for a protocol.
///
/// # Errors
/// The refusal of a client that does not offer it.
pub(super) fn accept(
    mut request: Request<RequestBody>,
    protocol: &'static str,
) -> Result<Accepted, Box<Response<Body>>> {
    let offered = listed(request.headers(), &PROTOCOL);
    if !offered.contains(&protocol) {
        let text = format!("unable to upgrade: the client offers {offered:?}, the server accepts {protocol}");
        let mut response = super::refusal(StatusCode::FORBIDDEN, "Forbidden", &text);
        response.headers_mut().insert(ACCEPTED, HeaderValue::from_static(protocol));
        return Err(Box::new(response));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(SPDY));
    headers.insert(PROTOCOL, HeaderValue::from_static(protocol));
    Ok((response, Box::pin(async move { upgrade.await.ok().map(TokioIo::new) })))
}
