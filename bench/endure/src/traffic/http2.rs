//! A client of HTTP/2 with prior knowledge, and of gRPC over it: two connections that are made again when they end.

use super::http1::{broken, good, whole};
use super::{Kind, reason};
use bytes::Bytes;
use http::{HeaderMap, Request, header};
use http_body_util::channel::Channel;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_bed::{HTTP_PORT, RESET_PORT, SERVER_IP, SMALL_PATH};
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

/// Connections.
const CONNECTIONS: usize = 2;
/// Messages of one stream, and the time between them.
const MESSAGES: usize = 20;
const PAUSE: Duration = Duration::from_millis(100);
/// How long [`SMALL_PATH`]'s body is.
const SMALL: usize = 100;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Connections that are kept.
#[derive(Default)]
pub(super) struct Http2 {
    slots: [Slot; CONNECTIONS],
    next: Cell<usize>,
    resets: Slot,
}

#[derive(Default)]
struct Slot {
    sender: RefCell<Option<SendRequest<Body>>>,
    connecting: Mutex<()>,
}

impl Http2 {
    /// One request and its whole answer.
    pub(super) async fn call(&self, kind: Kind) -> Result<(), String> {
        match kind {
            Kind::ResetHttp2 => broken(self.resets.send(RESET_PORT, get(RESET_PORT)?).await?).await,
            Kind::Grpc => {
                let request = grpc("Unary", Full::new(message()).boxed_unsync())?;
                let response = self.slot().send(HTTP_PORT, request).await?;
                good(&response)?;
                refused(response.headers())?;
                let mut answers = response.into_body();
                receive(&mut answers).await?;
                status(&mut answers).await
            }
            _ => whole(self.slot().send(HTTP_PORT, get(HTTP_PORT)?).await?, SMALL).await,
        }
    }

    /// A stream: each message is sent in its time and comes back.
    pub(super) async fn stream(&self) -> Result<(), String> {
        let (mut sender, body) = Channel::<Bytes>::new(1);
        let response = self.slot().send(HTTP_PORT, grpc("Stream", body.boxed_unsync())?).await?;
        good(&response)?;
        refused(response.headers())?;
        let mut answers = response.into_body();
        for _ in 0..MESSAGES {
            sender.send_data(message()).await.map_err(|_| "the stream was closed".to_owned())?;
            receive(&mut answers).await?;
            tokio::time::sleep(PAUSE).await;
        }
        drop(sender);
        status(&mut answers).await
    }

    fn slot(&self) -> &Slot {
        let next = (self.next.get() + 1) % CONNECTIONS;
        self.next.set(next);
        &self.slots[next]
    }
}

impl Slot {
    async fn send(&self, port: u16, mut request: Request<Body>) -> Result<http::Response<Incoming>, String> {
        // A connection that has ended gives back what it did not send.
        for _ in 0..CONNECTIONS {
            let mut sender = self.connection(port).await?;
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(reason(error.error())),
                },
            }
        }
        Err("connections end as soon as they are made".to_owned())
    }

    async fn connection(&self, port: u16) -> Result<SendRequest<Body>, String> {
        let open = || self.sender.borrow().clone().filter(|sender| !sender.is_closed());
        let _one = self.connecting.lock().await;
        if let Some(sender) = open() {
            return Ok(sender);
        }
        let stream = TcpStream::connect((SERVER_IP, port)).await.map_err(|e| format!("connect: {e}"))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(|e| reason(&e))?;
        // How a connection fails is told by its requests.
        tokio::task::spawn_local(async move { drop(connection.await) });
        self.sender.replace(Some(sender.clone()));
        Ok(sender)
    }
}

fn get(port: u16) -> Result<Request<Body>, String> {
    let uri = format!("http://{SERVER_IP}:{port}{SMALL_PATH}");
    Request::get(uri).body(Full::default().boxed_unsync()).map_err(|e| e.to_string())
}

fn grpc(method: &str, body: Body) -> Result<Request<Body>, String> {
    Request::post(format!("http://{SERVER_IP}:{HTTP_PORT}/bed.Echo/{method}"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(body)
        .map_err(|e| e.to_string())
}

/// A gRPC message of a hundred bytes with its prefix.
fn message() -> Bytes {
    let mut message = vec![0, 0, 0, 0, 100];
    message.extend([b'.'; 100]);
    message.into()
}

/// Reads one message, which is as long as the one that was sent.
async fn receive(answers: &mut Incoming) -> Result<(), String> {
    let mut missing = message().len();
    while missing > 0 {
        let frame =
            answers.frame().await.ok_or("the stream ended")?.map_err(|e| format!("body: {}", reason(&e)))?;
        if let Some(trailers) = frame.trailers_ref() {
            refused(trailers)?;
            return Err("the stream ended".to_owned());
        }
        missing = missing.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
    }
    Ok(())
}

/// Reads to the end, where a status must be that is none of failure.
async fn status(answers: &mut Incoming) -> Result<(), String> {
    while let Some(frame) = answers.frame().await {
        let frame = frame.map_err(|e| format!("body: {}", reason(&e)))?;
        if let Some(trailers) = frame.trailers_ref() {
            return refused(trailers);
        }
    }
    Err("a stream without a gRPC status".to_owned())
}

/// What a gRPC status says, if there is one and it is not that of success.
fn refused(headers: &HeaderMap) -> Result<(), String> {
    let text = |name: &str| headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    match text("grpc-status") {
        None => Ok(()),
        Some(code) if code == "0" => Ok(()),
        Some(code) => Err(format!("grpc-status {code} {}", text("grpc-message").unwrap_or_default())),
    }
}
