//! A session over WebSocket: binary messages whose first byte names a channel (`v5.channel.k8s.io` and
//! `v4.channel.k8s.io`).

use futures::stream::SplitSink;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::{outcome, resized};
use crate::streaming::websocket::{self, Socket};
use crate::streaming::{Reader, Session, Writer};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
/// Carries one `Status` when the command has ended.
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// v5 only: the next byte names a channel that the client has closed.
const CLOSE: u8 = 255;

/// Output read at once.
const CHUNK: usize = 32 * 1024;
/// Messages waiting for a slow client.
const BACKLOG: usize = 16;

/// Streams until the process has ended.
pub(super) async fn stream(socket: Socket, session: Session) {
    let Session { stdin, stdout, stderr, resize, exit } = session;
    let (sink, incoming) = socket.split();
    let (sender, outgoing) = mpsc::channel(BACKLOG);
    let writing = tokio::spawn(send_all(sink, outgoing));
    let reading = tokio::spawn(take_in(incoming, stdin, resize));
    let out = tokio::spawn(copy(stdout, STDOUT, sender.clone()));
    let err = stderr.map(|stderr| tokio::spawn(copy(stderr, STDERR, sender.clone())));
    let code = exit.await;
    // What the process wrote before it ended comes before the news of its end.
    let _ = out.await;
    if let Some(err) = err {
        let _ = err.await;
    }
    let _ = sender.send(websocket::message(ERROR, outcome(code).to_string().as_bytes())).await;
    let _ = sender.send(websocket::close()).await;
    drop(sender);
    let _ = writing.await;
    reading.abort();
}

async fn send_all(mut sink: SplitSink<Socket, Message>, mut outgoing: mpsc::Receiver<Message>) {
    while let Some(message) = outgoing.recv().await {
        if sink.send(message).await.is_err() {
            return;
        }
    }
}

async fn copy(mut from: Reader, channel: u8, sender: mpsc::Sender<Message>) {
    let mut buffer = vec![0; CHUNK];
    loop {
        match from.read(&mut buffer).await {
            // A terminal whose process has gone reads as an error; it is an end all the same.
            Ok(0) | Err(_) => return,
            Ok(length) => {
                if sender.send(websocket::message(channel, &buffer[..length])).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn take_in(
    mut incoming: impl futures::Stream<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
    mut stdin: Option<Writer>,
    resize: Box<dyn Fn(u16, u16) + Send + Sync>,
) {
    while let Some(Ok(message)) = incoming.next().await {
        let data = match message {
            Message::Binary(data) => data,
            Message::Text(text) => text.into(),
            Message::Close(_) => return,
            _ => continue,
        };
        match (data.first().copied(), data.get(1..).unwrap_or_default()) {
            (Some(STDIN), data) => {
                let failed = match &mut stdin {
                    Some(stdin) => stdin.write_all(data).await.is_err() || stdin.flush().await.is_err(),
                    None => false,
                };
                if failed {
                    stdin = None;
                }
            }
            (Some(RESIZE), data) => {
                let size: Value = serde_json::from_slice(data).unwrap_or_default();
                if let Some((columns, rows)) = resized(&size) {
                    resize(columns, rows);
                }
            }
            (Some(CLOSE), [STDIN, ..]) => {
                if let Some(mut stdin) = stdin.take() {
                    let _ = stdin.shutdown().await;
                }
            }
            _ => {}
        }
    }
}
