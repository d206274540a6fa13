//! Applications: one that tells what request reached it, one that echoes bytes, one that speaks first.

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

type Answer = BoxBody<Bytes, Infallible>;

pub(crate) async fn bind() -> (TcpListener, SocketAddr) {
    // On all of loopback: direct connections come to another loopback address than redirected ones.
    let listener = TcpListener::bind("[::]:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, SocketAddr::from(([127, 0, 0, 1], port)))
}

/// An address where nothing listens until told.
pub(crate) fn closed() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    // As above.
    socket.bind(SocketAddr::from(([0, 0, 0, 0], 0))).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, SocketAddr::from(([127, 0, 0, 1], port)))
}

/// HTTP/1 and HTTP/2. `/echo` gives the body back with trailers, `/upgrade` switches to echoing bytes, anything else
/// tells version, path and mesh headers.
pub(crate) async fn http() -> SocketAddr {
    let (listener, addr) = bind().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let serving = async move {
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection_with_upgrades(TokioIo::new(stream), service_fn(answer))
                    .await;
            };
            tokio::spawn(serving);
        }
    });
    addr
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    if request.method() == http::Method::CONNECT {
        echo(&mut request);
        return Ok(Response::new(Full::default().boxed()));
    }
    match request.uri().path() {
        "/echo" => {
            let (parts, body) = request.into_parts();
            let data = body.collect().await.unwrap().to_bytes();
            let mut trailers = HeaderMap::new();
            trailers.insert("x-trailer", HeaderValue::from_static("end"));
            let frames = vec![Ok(Frame::data(data)), Ok(Frame::trailers(trailers))];
            let mut response = Response::new(StreamBody::new(tokio_stream::iter(frames)).boxed());
            response.headers_mut().insert(header::TRAILER, HeaderValue::from_static("x-trailer"));
            copy(&parts.headers, response.headers_mut());
            Ok(response)
        }
        "/upgrade" => {
            echo(&mut request);
            let mut response = Response::new(Full::default().boxed());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("echo"));
            Ok(response)
        }
        _ => {
            let told = format!("{:?} {}", request.version(), request.uri());
            let mut response = Response::new(Full::from(told).boxed());
            copy(request.headers(), response.headers_mut());
            Ok(response)
        }
    }
}

/// Echoes bytes once the connection has left HTTP.
fn echo(request: &mut Request<Incoming>) {
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let mut io = TokioIo::new(upgrade.await.unwrap());
        let mut buf = [0; 64];
        while let Ok(n @ 1..) = io.read(&mut buf).await {
            io.write_all(&buf[..n]).await.unwrap();
        }
    });
}

/// Tells the request's headers under an `x-seen-` prefix.
fn copy(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        let name = format!("x-seen-{name}").parse::<http::HeaderName>().unwrap();
        to.insert(name, value.clone());
    }
}

/// Echoes bytes; says `hello ` first when `first`.
pub(crate) async fn tcp(first: bool) -> SocketAddr {
    let (listener, addr) = bind().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                if first {
                    stream.write_all(b"hello ").await?;
                }
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await?;
                write.shutdown().await
            });
        }
    });
    addr
}
