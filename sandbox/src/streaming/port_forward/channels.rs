//! `v4.channel.k8s.io` over WebSocket, as kube-rs speaks it: two channels a port, data and error, each beginning with the
//! port's number.

use std::collections::HashMap;

use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::Dial;
use crate::streaming::websocket::{self, Socket};

/// Bytes read from a pod at once.
const CHUNK: usize = 32 * 1024;
/// Messages waiting for a slow client.
const BACKLOG: usize = 16;

/// Forwards until either side ends it.
pub(super) async fn forward(socket: Socket, dial: Dial, ports: Vec<u16>) {
    let (mut sink, mut incoming) = socket.split();
    let (sender, mut outgoing) = mpsc::channel(BACKLOG);
    let mut writers = HashMap::new();
    for (index, port) in (0_u8..).zip(&ports) {
        let (data, error) = (index * 2, index * 2 + 1);
        for channel in [data, error] {
            if sink.send(websocket::message(channel, &port.to_le_bytes())).await.is_err() {
                return;
            }
        }
        match dial(*port).await {
            Ok(stream) => {
                let (reader, writer) = stream.into_split();
                writers.insert(data, writer);
                tokio::spawn(send_back(reader, data, sender.clone()));
            }
            Err(reason) => {
                let text = format!("failed to connect to port {port} inside the pod: {reason}");
                let _ = sink.send(websocket::message(error, text.as_bytes())).await;
            }
        }
    }
    drop(sender);
    loop {
        tokio::select! {
            message = outgoing.recv() => match message {
                Some(message) => {
                    if sink.send(message).await.is_err() {
                        return;
                    }
                }
                None => break,
            },
            message = incoming.next() => match message {
                Some(Ok(Message::Binary(data))) => {
                    let channel = data.first().copied().unwrap_or(u8::MAX);
                    if let Some(writer) = writers.get_mut(&channel)
                        && writer.write_all(&data[1..]).await.is_err()
                    {
                        writers.remove(&channel);
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
        }
    }
    // Every connection has ended on the pod's side.
    let _ = sink.send(websocket::close()).await;
}

async fn send_back(mut reader: OwnedReadHalf, channel: u8, sender: mpsc::Sender<Message>) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(length) = reader.read(&mut buffer).await {
        if length == 0 || sender.send(websocket::message(channel, &buffer[..length])).await.is_err() {
            return;
        }
    }
}
