//! Serving one HTTP connection: hyper's connection-level API around one handler.

use crate::body::Body;
use crate::config::Http as Settings;
use crate::drain::Drain;
use crate::error::Error;
use crate::rt::LocalExec;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_net::Http;
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use tokio::io::{AsyncRead, AsyncWrite};

/// Streams a client may have open on one connection.
const MAX_CONCURRENT_STREAMS: u32 = 16 * 1024;
/// Memory for unsent data of one HTTP/2 stream.
const MAX_SEND_BUFFER: usize = 1 << 20;
/// Memory for one HTTP/1 head; also what hyper reads at once.
const MAX_HTTP1_BUFFER: usize = 64 * 1024;

/// Answers requests. Failures are answers too: see [`Error::response`].
pub trait Handler: 'static {
    /// Answers one request.
    fn call(self: Rc<Self>, request: Request<Body>) -> impl Future<Output = Response<Body>>;
}

/// Serves a connection until the client closes it or the drain signal has let it finish.
///
/// # Errors
/// [`Error::Server`] when the client breaks the protocol or goes away in the middle.
pub async fn serve<I, H>(
    io: I,
    version: Http,
    settings: &Settings,
    handler: Rc<H>,
    drain: &Drain,
) -> Result<(), Error>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let handler = Rc::clone(&handler);
        async move { Ok::<_, Infallible>(handler.call(request.map(Body::from)).await) }
    });
    let io = TokioIo::new(io);
    match version {
        Http::Http1 => {
            let connection = http1::Builder::new()
                .half_close(true)
                .header_read_timeout(None)
                .max_buf_size(MAX_HTTP1_BUFFER)
                .auto_date_header(false)
                .serve_connection(io, service)
                .with_upgrades();
            let mut connection = pin!(connection);
            tokio::select! {
                result = connection.as_mut() => return result.map_err(Error::Server),
                () = drain.draining() => connection.as_mut().graceful_shutdown(),
            }
            connection.await.map_err(Error::Server)
        }
        Http::Http2 => {
            let mut builder = http2::Builder::new(LocalExec);
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
                .max_send_buf_size(MAX_SEND_BUFFER)
                .initial_stream_window_size(settings.h2_stream_window)
                .initial_connection_window_size(settings.h2_connection_window)
                .auto_date_header(false);
            if let Some((interval, timeout)) = settings.server_keep_alive {
                builder.keep_alive_interval(interval).keep_alive_timeout(timeout);
            }
            let mut connection = pin!(builder.serve_connection(io, service));
            tokio::select! {
                result = connection.as_mut() => return result.map_err(Error::Server),
                () = drain.draining() => connection.as_mut().graceful_shutdown(),
            }
            connection.await.map_err(Error::Server)
        }
    }
}
