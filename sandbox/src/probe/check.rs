//! The checks themselves.

use std::net::Ipv4Addr;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{Check, Exec};

/// Bytes of an answer that are looked at, as the kubelet.
const BODY_LIMIT: usize = 10 * 1024;
/// `SERVING` in `grpc.health.v1.HealthCheckResponse`.
const SERVING: u8 = 1;

impl Check {
    /// Checks once; says why it failed.
    pub(super) async fn run(&self, address: Ipv4Addr, exec: &Exec) -> Result<(), String> {
        match self {
            Self::Http { tls, host, port, path, headers } => {
                let target = host.clone().unwrap_or_else(|| address.to_string());
                let stream = connect(&target, *port).await?;
                if *tls {
                    let connector = mesh_tls::client_connector_insecure(&[b"http/1.1"])
                        .map_err(|error| error.to_string())?;
                    let name = mesh_tls::server_name(&target).map_err(|error| error.to_string())?;
                    let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
                    http_get(stream, &target, *port, path, headers).await
                } else {
                    http_get(stream, &target, *port, path, headers).await
                }
            }
            Self::Tcp { host, port } => {
                let target = host.clone().unwrap_or_else(|| address.to_string());
                connect(&target, *port).await.map(drop)
            }
            Self::Grpc { port, service } => grpc_health(address, *port, service).await,
            Self::Exec(command) => match exec(command.clone()).await? {
                (0, _) => Ok(()),
                (code, output) => Err(format!("command exited with {code}: {}", output.trim())),
            },
        }
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    TcpStream::connect((host, port)).await.map_err(|error| format!("dial tcp {host}:{port}: {error}"))
}

async fn http_get<S>(
    stream: S,
    host: &str,
    port: u16,
    path: &str,
    headers: &[(String, String)],
) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let failed = |error: hyper::Error| format!("Get \"http://{host}:{port}{path}\": {error}");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(connection);
    let mut request = Request::builder().method(Method::GET).uri(path);
    let named = |name: &str| headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    if !named("host") {
        request = request.header(header::HOST, format!("{host}:{port}"));
    }
    if !named("user-agent") {
        request = request.header(header::USER_AGENT, "kube-probe/1.34");
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(failed)?;
    let status = response.status();
    // Read to the end, so that the server does not log a broken connection; what it says does not matter.
    let _ = Limited::new(response.into_body(), BODY_LIMIT).collect().await;
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(format!("HTTP probe failed with statuscode: {}", status.as_u16()))
    }
}

async fn grpc_health(address: Ipv4Addr, port: u16, service: &str) -> Result<(), String> {
    let failed = |error: hyper::Error| format!("gRPC health of {address}:{port}: {error}");
    let stream = connect(&address.to_string(), port).await?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(failed)?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://{address}:{port}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Full::new(health_request(service)))
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(failed)?;
    if response.status() != StatusCode::OK {
        return Err(format!("gRPC health answered HTTP {}", response.status().as_u16()));
    }
    let early = response.headers().get("grpc-status").cloned();
    let body =
        Limited::new(response.into_body(), BODY_LIMIT).collect().await.map_err(|error| error.to_string())?;
    let status = body.trailers().and_then(|trailers| trailers.get("grpc-status").cloned()).or(early);
    match status.as_ref().map(http::HeaderValue::as_bytes) {
        Some(b"0") => {}
        Some(code) => return Err(format!("gRPC health answered status {}", String::from_utf8_lossy(code))),
        None => return Err("gRPC health ended without a status".to_owned()),
    }
    // Frame header (5 bytes), then field 1, a varint.
    match body.to_bytes().get(5..7) {
        Some([0x08, SERVING]) => Ok(()),
        Some([0x08, state]) => Err(format!("service unhealthy (state {state})")),
        _ => Err("service unhealthy (unknown)".to_owned()),
    }
}

/// A `HealthCheckRequest` in a gRPC frame.
fn health_request(service: &str) -> Bytes {
    let name = &service.as_bytes()[..service.len().min(127)];
    let mut message = BytesMut::new();
    if !name.is_empty() {
        message.put_u8(0x0a);
        message.put_u8(name.len() as u8);
        message.put_slice(name);
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(&message);
    framed.freeze()
}
