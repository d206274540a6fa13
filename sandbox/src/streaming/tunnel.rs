//! `kubectl port-forward` since 1.31: SPDY/3.1 inside a WebSocket. Each forwarded connection is a pair of streams, one
//! for errors and one for data, that carry the same request id.

use std::collections::HashMap;

use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::port_forward::connect;
use super::spdy::{Frame, Malformed, Parser, Writer};
use super::websocket::{self, Socket};
use crate::network::NetNs;

/// Bytes read from a pod at once.
const CHUNK: usize = 32 * 1024;
/// Pieces waiting for a slow peer.
const BACKLOG: usize = 64;

/// What a connection's task tells the session.
enum Told {
    /// Bytes for a stream, perhaps its last.
    Data { stream: u32, data: Vec<u8>, is_last: bool },
}

struct Session {
    netns: NetNs,
    writer: Writer,
    /// To the pod, by data stream.
    connections: HashMap<u32, mpsc::Sender<Vec<u8>>>,
    /// Error streams by request id.
    error_streams: HashMap<String, u32>,
    told: mpsc::Sender<Told>,
}

/// Serves one tunnel until either side ends it.
pub(super) async fn serve(socket: Socket, netns: NetNs) {
    let (mut sink, mut incoming) = socket.split();
    let (sender, mut told) = mpsc::channel(BACKLOG);
    let mut session = Session {
        netns,
        writer: Writer::new(),
        connections: HashMap::new(),
        error_streams: HashMap::new(),
        told: sender,
    };
    let mut parser = Parser::new();
    loop {
        let out = tokio::select! {
            message = incoming.next() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    parser.feed(&bytes);
                    match session.take_in(&mut parser).await {
                        Ok(Some(out)) => out,
                        Ok(None) | Err(Malformed) => break,
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => continue,
            },
            Some(Told::Data { stream, data, is_last }) = told.recv() => session.writer.data(stream, &data, is_last),
        };
        if !out.is_empty() && sink.send(Message::binary(out)).await.is_err() {
            return;
        }
    }
    let _ = sink.send(websocket::close()).await;
}

impl Session {
    /// Acts upon every whole frame; answers what to send, or nothing when the client is done.
    async fn take_in(&mut self, parser: &mut Parser) -> Result<Option<Vec<u8>>, Malformed> {
        let mut out = Vec::new();
        while let Some(frame) = parser.next()? {
            match frame {
                Frame::Open { stream, headers, .. } => {
                    out.extend(self.writer.accept(stream));
                    self.open(stream, &headers);
                }
                Frame::Data { stream, data, is_last } => {
                    if let Some(connection) = self.connections.get(&stream)
                        && !data.is_empty()
                        && connection.send(data).await.is_err()
                    {
                        self.connections.remove(&stream);
                    }
                    if is_last {
                        self.connections.remove(&stream);
                    }
                }
                Frame::Reset { stream } => {
                    self.connections.remove(&stream);
                }
                Frame::Ping { id } => out.extend(self.writer.pong(id)),
                Frame::GoAway => return Ok(None),
                Frame::Other => {}
            }
        }
        Ok(Some(out))
    }

    fn open(&mut self, stream: u32, headers: &[(String, String)]) {
        let header = |name: &str| {
            headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
        };
        let request = header("requestid").unwrap_or_default().to_owned();
        if header("streamtype") == Some("error") {
            self.error_streams.insert(request, stream);
            return;
        }
        let errors = self.error_streams.remove(&request);
        let port = header("port").and_then(|port| port.parse().ok()).unwrap_or_default();
        let (sender, receiver) = mpsc::channel(BACKLOG);
        self.connections.insert(stream, sender);
        tokio::spawn(carry(self.netns.clone(), port, stream, errors, receiver, self.told.clone()));
    }
}

/// One connection to the pod. The error stream is closed when it ends, with the reason if there is one.
async fn carry(
    netns: NetNs,
    port: u16,
    stream: u32,
    errors: Option<u32>,
    mut from_client: mpsc::Receiver<Vec<u8>>,
    told: mpsc::Sender<Told>,
) {
    let mut reason = Vec::new();
    match connect(netns, port).await {
        Ok(connection) => {
            let (mut reader, mut writer) = connection.into_split();
            let upload = tokio::spawn(async move {
                while let Some(data) = from_client.recv().await {
                    if writer.write_all(&data).await.is_err() {
                        return;
                    }
                }
                // The client's half is closed; the pod's may go on.
                let _ = writer.shutdown().await;
            });
            let mut buffer = vec![0; CHUNK];
            while let Ok(length @ 1..) = reader.read(&mut buffer).await {
                let data = Told::Data { stream, data: buffer[..length].to_vec(), is_last: false };
                if told.send(data).await.is_err() {
                    break;
                }
            }
            upload.abort();
        }
        Err(error) => {
            reason = format!("failed to connect to port {port} inside the pod: {error}").into_bytes();
        }
    }
    let ends = errors.map(|stream| (stream, reason)).into_iter().chain([(stream, Vec::new())]);
    for (stream, data) in ends {
        // The session is gone only when nobody listens any more.
        let _ = told.send(Told::Data { stream, data, is_last: true }).await;
    }
}
