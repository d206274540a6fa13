//! `exec` and `attach`: subprotocols `v5.channel.k8s.io` and `v4.channel.k8s.io`.

use std::sync::Arc;

use futures::stream::SplitSink;
use futures::{SinkExt as _, StreamExt as _};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use mesh_apiserver::Body;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::websocket::{self, Socket};
use super::{
    Command, Pods, Reader, Session, Writer, bad_request, container, first, is_set, parameters, refusal,
};

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

/// Runs a command, or joins a container's process, and streams.
pub(super) async fn serve(
    pods: &Arc<dyn Pods>,
    pod: &Value,
    request: Request<Incoming>,
    attach: bool,
) -> Response<Body> {
    let query = parameters(request.uri().query().unwrap_or_default());
    let at = match container(pod, first(&query, "container")) {
        Ok(at) => at,
        Err(message) => return bad_request(&message),
    };
    let argv = query.iter().filter(|(key, _)| key == "command").map(|(_, value)| value.clone()).collect();
    let command = Command { argv, tty: is_set(&query, "tty"), stdin: is_set(&query, "stdin") };
    if command.argv.is_empty() && !attach {
        return bad_request("you must specify at least one command for the container");
    }
    let (response, _, socket) = match websocket::accept(request, &["v5.channel.k8s.io", "v4.channel.k8s.io"])
    {
        Ok(accepted) => accepted,
        Err(message) => return bad_request(&message),
    };
    let wants_stdin = command.stdin;
    let session = if attach { pods.attach(at).await } else { pods.exec(at, command).await };
    match session {
        Ok(mut session) => {
            if !wants_stdin {
                session.stdin = None;
            }
            tokio::spawn(async move {
                if let Some(socket) = socket.await {
                    stream(socket, session).await;
                }
            });
            response
        }
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", &error.to_string()),
    }
}

async fn stream(socket: Socket, session: Session) {
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

/// The `Status` that tells how a command ended.
fn outcome(code: i32) -> Value {
    if code == 0 {
        return json!({ "metadata": {}, "status": "Success" });
    }
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
    })
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
                let cells = |name: &str| {
                    size.get(name).and_then(Value::as_u64).and_then(|cells| u16::try_from(cells).ok())
                };
                if let (Some(columns), Some(rows)) = (cells("Width"), cells("Height")) {
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
