//! Kubernetes' channel protocols over WebSocket: binary messages whose first byte names a channel.

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use mesh_apiserver::{Body, full};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// A WebSocket on an upgraded connection.
pub(super) type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// Accepts a WebSocket with the first of `known` subprotocols that the client offers. Answers the response, and what to
/// await for the socket once the response has been sent.
///
/// # Errors
/// The refusal, in words.
pub(super) fn accept(
    mut request: Request<Incoming>,
    known: &[&'static str],
) -> Result<(Response<Body>, &'static str, impl Future<Output = Option<Socket>> + Send + use<>), String> {
    let headers = request.headers();
    let key = headers.get("sec-websocket-key").filter(|_| asks_for_websocket(headers)).ok_or_else(|| {
        "this server streams over WebSocket only: use kubectl 1.31 or later, or kube-rs".to_owned()
    })?;
    let accept = derive_accept_key(key.as_bytes());
    let offered: Vec<&str> = headers
        .get_all("sec-websocket-protocol")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    let chosen = known.iter().copied().find(|protocol| offered.contains(protocol)).ok_or_else(|| {
        format!("none of the offered subprotocols {offered:?} is known here; known are {known:?}")
    })?;
    let upgrade = hyper::upgrade::on(&mut request);
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header("sec-websocket-accept", accept)
        .header("sec-websocket-protocol", chosen)
        .body(full(Bytes::new()))
        .map_err(|error| error.to_string())?;
    let socket = async move {
        let upgraded = upgrade.await.ok()?;
        Some(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await)
    };
    Ok((response, chosen, socket))
}

fn asks_for_websocket(headers: &HeaderMap) -> bool {
    headers
        .get(header::UPGRADE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
}

/// A message on a channel.
pub(super) fn message(channel: u8, data: &[u8]) -> Message {
    let mut framed = Vec::with_capacity(data.len() + 1);
    framed.push(channel);
    framed.extend_from_slice(data);
    Message::binary(framed)
}

/// The normal end; clients take any other for an error.
pub(super) fn close() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() }))
}
