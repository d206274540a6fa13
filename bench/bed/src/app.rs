//! The applications on the server's side: HTTP of both versions with gRPC, an echo of bytes, and a source of them.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::pin::Pin;
use std::task::{self, Poll};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// HTTP/1 and HTTP/2 with prior knowledge; below `/bed.Echo/` it is gRPC that gives every message back.
pub const HTTP_PORT: u16 = 8080;
/// Gives every byte back. Policy calls this port opaque.
pub const ECHO_PORT: u16 = 9001;
/// Sends zeroes for as long as somebody reads. Policy calls this port opaque.
pub const SOURCE_PORT: u16 = 9002;
/// Begins the answer to a request of HTTP/1 with [`BODY_PATH`]'s length, and resets the connection after half of it.
pub const RESET_PORT: u16 = 8090;
/// Answered with a hundred bytes; a request body is read first.
pub const SMALL_PATH: &str = "/small";
/// Answered with `BODY` bytes.
pub const BODY_PATH: &str = "/body";

/// How large the body of [`BODY_PATH`] is.
pub const BODY: usize = 1 << 20;
const SMALL: &[u8] = &[b'.'; 100];
/// What one write of the source holds.
const CHUNK: usize = 64 << 10;
/// How long the first half of an answer has to get through, before the connection is reset.
const HALFWAY: std::time::Duration = std::time::Duration::from_millis(100);
/// HTTP/2 windows that do not hold a fast path back.
const WINDOW: u32 = 4 << 20;

/// The ports of the applications, open.
pub(crate) struct Listeners {
    http: std::net::TcpListener,
    echo: std::net::TcpListener,
    source: std::net::TcpListener,
    reset: std::net::TcpListener,
}

impl Listeners {
    /// Opens them on all addresses of the namespace that the calling thread is in.
    pub(crate) fn bind() -> Result<Self> {
        let bind = |port: u16| -> Result<std::net::TcpListener> {
            let listener = std::net::TcpListener::bind(("0.0.0.0", port))
                .with_context(|| format!("the application's port {port}"))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let (http, echo) = (bind(HTTP_PORT)?, bind(ECHO_PORT)?);
        Ok(Self { http, echo, source: bind(SOURCE_PORT)?, reset: bind(RESET_PORT)? })
    }
}

/// Serves all applications on all addresses for ever, as a program of its own does that can be killed or stopped.
///
/// # Errors
/// When a port cannot be opened.
pub fn run_applications() -> Result<()> {
    crate::process::raise_file_limit()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(Listeners::bind()?))
}

/// Serves everything, for ever.
pub(crate) async fn serve(listeners: Listeners) -> Result<()> {
    let take = TcpListener::from_std;
    let Listeners { http, echo, source, reset } = listeners;
    tokio::join!(
        accept(take(http)?, serve_http),
        accept(take(echo)?, |mut stream| async move {
            let mut buffer = vec![0; CHUNK];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                if stream.write_all(&buffer[..length]).await.is_err() {
                    break;
                }
            }
        }),
        accept(take(source)?, |mut stream| async move {
            let zeroes = vec![0; CHUNK];
            while stream.write_all(&zeroes).await.is_ok() {}
        }),
        // A client that goes away before the reset is no error of the application.
        accept(take(reset)?, |stream| async move { drop(reset_halfway(stream).await) }),
    );
    Ok(())
}

/// Reads the head of one request, answers half of what it announces, and resets the connection.
async fn reset_halfway(mut stream: TcpStream) -> std::io::Result<()> {
    let (mut head, mut buffer) = (Vec::new(), vec![0; CHUNK]);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < CHUNK {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        head.extend_from_slice(&buffer[..length]);
    }
    stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY}\r\n\r\n").as_bytes()).await?;
    for _ in 0..BODY / 2 / CHUNK {
        stream.write_all(&buffer).await?;
    }
    // What is not read yet would be lost with the connection.
    tokio::time::sleep(HALFWAY).await;
    stream.set_zero_linger()
}

async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    serve: impl Fn(TcpStream) -> F,
) {
    loop {
        // Out of descriptors for a moment: those who wait are served later.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        drop(stream.set_nodelay(true));
        tokio::spawn(serve(stream));
    }
}

async fn serve_http(stream: TcpStream) {
    let body = Bytes::from(vec![b'x'; BODY]);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).pipeline_flush(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_concurrent_streams(1000);
    // A client that goes away is no error of the application.
    let answering = service_fn(|request| answer(request, body.clone()));
    drop(builder.serve_connection(TokioIo::new(stream), answering).await);
}

async fn answer(request: Request<Incoming>, large: Bytes) -> Result<Response<Answer>, hyper::Error> {
    let path = request.uri().path();
    if path.starts_with("/bed.Echo/") {
        let mut response = Response::new(Answer::Echo { messages: request.into_body(), ended: false });
        let grpc = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(header::CONTENT_TYPE, grpc);
        return Ok(response);
    }
    let mut body = if path == BODY_PATH { large } else { Bytes::from_static(SMALL) };
    let length = HeaderValue::from(body.len());
    if request.method() == Method::HEAD {
        // Over HTTP/2 nobody else leaves it out.
        body = Bytes::new();
    }
    let mut sent = request.into_body();
    while let Some(frame) = sent.frame().await {
        drop(frame?);
    }
    let mut response = Response::new(Answer::Whole(Full::new(body)));
    response.headers_mut().insert(header::CONTENT_LENGTH, length);
    Ok(response)
}

/// What an answer carries.
enum Answer {
    /// These bytes.
    Whole(Full<Bytes>),
    /// What the request carries, as it comes, and a gRPC status in trailers.
    Echo { messages: Incoming, ended: bool },
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Echo { ended: true, .. } => Poll::Ready(None),
            Self::Echo { messages, ended } => {
                let frame = task::ready!(Pin::new(messages).poll_frame(cx));
                if let Some(Ok(frame)) = frame
                    && frame.is_data()
                {
                    return Poll::Ready(Some(Ok(frame)));
                }
                *ended = true;
                let mut status = HeaderMap::new();
                status.insert("grpc-status", HeaderValue::from_static("0"));
                Poll::Ready(Some(Ok(Frame::trailers(status))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Echo { ended, .. } => *ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Echo { .. } => SizeHint::default(),
        }
    }
}
