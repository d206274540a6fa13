#![allow(clippy::unwrap_used)]

mod alive;
mod client;
mod early;
mod ends;
mod flood;
mod memory;
mod own;
mod raw;
mod server;

use crate::{Error, RecvBody, Respond, SendError, Sender, Server, Settings, connect};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::{JoinHandle, LocalSet, spawn_local, yield_now};

/// Runs a test on one thread. Time is not real: it passes when nothing else can happen, and then the test has failed.
fn run<T>(test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    let limited = async { tokio::time::timeout(Duration::from_secs(3600), test).await };
    LocalSet::new().block_on(&runtime, limited).expect("nothing happens any more")
}

fn settings(stream_window: u32) -> Settings {
    Settings { stream_window, ..Settings::default() }
}

/// A connection that takes and gives at most so many bytes at once.
struct Chopped<I>(I, usize);

impl<I: AsyncRead + Unpin> AsyncRead for Chopped<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = vec![0; self.1.min(buf.remaining())];
        let mut piece = ReadBuf::new(&mut bytes);
        let polled = Pin::new(&mut self.0).poll_read(cx, &mut piece);
        buf.put_slice(piece.filled());
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Chopped<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let len = buf.len().min(self.1);
        Pin::new(&mut self.0).poll_write(cx, &buf[..len])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).take(self.1).collect();
        self.poll_write(cx, &all)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Serves a connection to its end, each request by a task.
fn serve<I, F>(
    mut server: Server<I>,
    answer: impl Fn(Request<RecvBody>, Respond) -> F + 'static,
) -> JoinHandle<Result<(), Error>>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    F: Future<Output = ()> + 'static,
{
    spawn_local(async move {
        while let Some(taken) = server.accept().await {
            let (request, respond) = taken?;
            spawn_local(answer(request, respond));
        }
        assert_eq!(server.streams(), 0);
        Ok(())
    })
}

/// A client of ours, driven to its end.
fn drive<I: AsyncRead + AsyncWrite + Unpin + 'static>(io: I, settings: Settings) -> Sender {
    let (sender, connection) = connect(io, settings);
    spawn_local(async move { connection.await.unwrap() });
    sender
}

/// Lets all others do what they can.
async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

/// Sends back what comes, trailers too.
async fn echo(request: Request<RecvBody>, respond: Respond) {
    let mut body = request.into_body();
    if body.is_end_stream() {
        // The client may have given up.
        let _ = respond.respond(Response::new(()), true);
        return;
    }
    let Ok(mut send) = respond.respond(Response::new(()), false) else { return };
    let mut held = None;
    match poll_fn(|cx| send.poll_send_all(&mut body, &mut held, cx)).await {
        Ok(()) => {}
        Err(SendError::Stream(error) | SendError::Body(error)) => {
            assert!(error.is_reset() || error.is_io() || matches!(error, Error::Closed), "{error}");
        }
    }
}

/// Reads a body to its end.
async fn collect(mut body: RecvBody) -> Result<(Vec<u8>, Option<HeaderMap>), Error> {
    let (mut data, mut trailers) = (Vec::new(), None);
    while let Some(frame) = poll_fn(|cx| body.poll_frame(cx)).await {
        match frame?.into_data() {
            Ok(piece) => {
                assert!(!piece.is_empty());
                data.extend_from_slice(&piece);
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((data, trailers))
}

/// Bytes that are not all the same.
fn bytes(len: usize) -> Bytes {
    (0..len).map(|at| (at % 251) as u8).collect()
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("http://example.com{path}")).body(()).unwrap()
}

fn post(path: &str) -> Request<()> {
    Request::post(format!("http://example.com{path}")).body(()).unwrap()
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("x-sum"), http::HeaderValue::from_static("7"))])
}
