//! Serving one HTTP/2 connection. Its streams run on the task of the connection: a stream costs no task, and what several
//! have to send goes out in one write.

use super::{Handler, TWO_HOSTS, names_two_hosts};
use crate::body::Body;
use crate::config::Http as Settings;
use crate::drain::Drain;
use crate::error::{Cause, Error, StreamReset};
use crate::http::interim::{self, Expected, Interim};
use futures::stream::{FuturesUnordered, StreamExt as _};
use http::{Request, Response};
use http_body::Body as _;
use mesh_http2::{Code, RecvBody, Respond, SendError, Server};
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncWrite};

/// Streams a client may have open on one connection.
const MAX_STREAMS: u32 = 16 * 1024;
/// What a decoded header may take: what an HTTP/1 head may, and 32 bytes for each field (RFC 9113, 6.5.2).
const MAX_HEADER_LIST: u32 = 64 * 1024;

/// Serves until the client closes the connection, or the drain signal has let it finish.
pub(super) fn serve<'a, I, H>(
    io: I,
    settings: &Settings,
    handler: Rc<H>,
    drain: &'a Drain,
) -> impl Future<Output = Result<(), Error>> + use<'a, I, H>
where
    I: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    let settings = mesh_http2::Settings {
        stream_window: settings.h2_stream_window,
        connection_window: settings.h2_connection_window,
        max_streams: MAX_STREAMS,
        max_header_list: MAX_HEADER_LIST,
        keep_alive: settings.server_keep_alive.map(|(interval, timeout)| (interval, timeout, true)),
        ..mesh_http2::Settings::default()
    };
    run(Server::new(io, settings), handler, drain)
}

async fn run<I, H>(mut connection: Server<I>, handler: Rc<H>, drain: &Drain) -> Result<(), Error>
where
    I: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    let mut streams = FuturesUnordered::new();
    let (mut draining, mut told) = (pin!(drain.draining()), false);
    let ended = poll_fn(|cx| {
        if !told && draining.as_mut().poll(cx).is_ready() {
            told = true;
            connection.graceful_shutdown();
        }
        loop {
            connection.will_poll();
            while let Poll::Ready(Some(())) = streams.poll_next_unpin(cx) {}
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    streams.push(answer(Rc::clone(&handler), request, respond));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    });
    ended.await.map_err(|error| match error {
        mesh_http2::Error::Flood(kind) => Error::Flood(kind),
        error => Error::Server(Cause::Http2(error)),
    })
}

/// Answers one request, unless the client takes it back.
async fn answer<H: Handler>(handler: Rc<H>, request: Request<RecvBody>, mut respond: Respond) {
    let mut response = if names_two_hosts(&request) {
        handler.refuse(&Error::Malformed(TWO_HOSTS))
    } else {
        let expected = interim::expects_continue(request.headers());
        let request = request.map(|body| match Body::from(body) {
            body if expected => Body::frames(Expected::new(body)),
            body => body,
        });
        let mut call = pin!(handler.call(request));
        let mut told = Interim::default();
        let answered = poll_fn(|cx| {
            if respond.poll_reset(cx).is_ready() {
                return Poll::Ready(None);
            }
            let tell = |head: Response<()>| {
                let (head, ()) = head.into_parts();
                if let Err(error) = respond.inform(head.status, head.headers) {
                    tracing::debug!(%error, "an interim response was not sent");
                }
            };
            told.during(|| call.as_mut().poll(cx), tell).map(Some)
        });
        let Some(response) = answered.await else { return };
        response
    };
    if let Some(reset) = response.extensions_mut().remove::<StreamReset>() {
        return respond.reset(reset.0);
    }
    let (head, mut body) = response.into_parts();
    let mut send = match respond.respond(Response::from_parts(head, ()), body.is_end_stream()) {
        Ok(send) => send,
        Err(error) => return tracing::debug!(%error, "a response was not sent"),
    };
    if body.is_end_stream() {
        return;
    }
    let mut held = None;
    match poll_fn(|cx| send.poll_send_all(&mut body, &mut held, cx)).await {
        Ok(()) => {}
        Err(SendError::Stream(error)) => tracing::debug!(%error, "a response was not sent to its end"),
        Err(SendError::Body(error)) => send.reset(error.reset_code().unwrap_or(Code::INTERNAL_ERROR)),
    }
}
