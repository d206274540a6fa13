//! Kubernetes' channel protocols over WebSocket: binary messages whose first byte names a channel.

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use mesh_apiserver::{Body, RequestBody, full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::upgrade::{self, Upgraded};

/// Bytes on their way between a WebSocket and what speaks through it.
const PIPE: usize = 32 * 1024;

/// A WebSocket on an upgraded connection.
pub(super) type Socket = WebSocketStream<Upgraded>;

/// Accepts a WebSocket with the first of `known` subprotocols that the client offers. Answers the response, and what to
/// await for the socket once the response has been sent.
///
/// # Errors
/// The refusal, in words.
pub(super) fn accept(
    mut request: Request<RequestBody>,
    known: &[&'static str],
) -> Result<(Response<Body>, &'static str, impl Future<Output = Option<Socket>> + Send + use<>), String> {
    let headers = request.headers();
    let key = headers.get("sec-websocket-key").ok_or("the header Sec-WebSocket-Key is missing")?;
    let accept = derive_accept_key(key.as_bytes());
    let offered = upgrade::listed(headers, &header::SEC_WEBSOCKET_PROTOCOL);
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

/// The binary messages of a WebSocket as one stream of bytes, both ways. Its end closes the WebSocket.
pub(super) fn bytes(socket: Socket) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(PIPE);
    tokio::spawn(async move {
        let (mut reader, mut writer) = tokio::io::split(ours);
        let (mut sink, mut incoming) = socket.split();
        let take_in = async {
            while let Some(Ok(message)) = incoming.next().await {
                let taken = match message {
                    Message::Binary(data) => writer.write_all(&data).await,
                    Message::Close(_) => break,
                    _ => Ok(()),
                };
                if taken.is_err() {
                    break;
                }
            }
            // The other half may be gone.
            let _ = writer.shutdown().await;
        };
        let send = async {
            let mut buffer = vec![0; PIPE];
            while let Ok(length @ 1..) = reader.read(&mut buffer).await {
                if sink.send(Message::binary(buffer[..length].to_vec())).await.is_err() {
                    return;
                }
            }
            let _ = sink.send(close()).await;
        };
        let mut send = std::pin::pin!(send);
        tokio::select! {
            () = &mut send => return,
            () = take_in => {}
        }
        send.await;
    });
    theirs
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
