//! One question to a container: HTTP, TCP, gRPC or a command.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::container::{LogFile, Process, Runtime, Streams};
use crate::controllers::object;
use crate::pod::launch;
use crate::pod::shared::Running;

/// What probes call themselves.
const USER_AGENT: &str = "kube-probe/1.34";
/// The most of an answer that is read, in bytes.
const ANSWER_LIMIT: usize = 10 * 1024;
/// `SERVING` of the gRPC health protocol.
const SERVING: u8 = 1;

/// Who is asked.
#[derive(Clone)]
pub(in crate::pod) struct Target {
    /// The pod's address.
    pub(in crate::pod) ip: Ipv4Addr,
    /// The container's spec, for named ports.
    pub(in crate::pod) container: Value,
    /// The container, for commands.
    pub(in crate::pod) running: Running,
    /// Starts commands.
    pub(in crate::pod) runtime: Runtime,
}

impl Target {
    /// Asks what a probe or a hook says. The error is for people.
    pub(in crate::pod) async fn ask(&self, question: &Value) -> Result<(), String> {
        if let Some(get) = question.get("httpGet") {
            let status = http_get(self.address(get)?, get).await?;
            if (200..400).contains(&status.as_u16()) {
                return Ok(());
            }
            return Err(format!("HTTP probe failed with statuscode: {}", status.as_u16()));
        }
        if let Some(tcp) = question.get("tcpSocket") {
            return connect(self.address(tcp)?).await.map(drop);
        }
        if let Some(grpc) = question.get("grpc") {
            return grpc_health(self.address(grpc)?, object::text(grpc, "/service")).await;
        }
        if let Some(exec) = question.get("exec") {
            let argv = object::items(exec, "/command").iter();
            return self.command(argv.filter_map(Value::as_str).map(str::to_owned).collect()).await;
        }
        if let Some(seconds) = object::int(question, "/sleep/seconds") {
            tokio::time::sleep(Duration::from_secs(u64::try_from(seconds).unwrap_or_default())).await;
            return Ok(());
        }
        Err("names no handler that the sandbox knows".to_owned())
    }

    fn address(&self, question: &Value) -> Result<SocketAddr, String> {
        let ip = match object::text(question, "/host") {
            "" => self.ip,
            host => host.parse().map_err(|_| format!("host {host:?} is not an IPv4 address"))?,
        };
        let port = match question.get("port") {
            Some(Value::String(name)) => object::items(&self.container, "/ports")
                .iter()
                .find(|port| object::text(port, "/name") == name)
                .and_then(|port| object::int(port, "/containerPort"))
                .or_else(|| name.parse().ok())
                .ok_or_else(|| format!("the container has no port named {name:?}"))?,
            Some(number) => number.as_i64().unwrap_or_default(),
            None => 0,
        };
        let port =
            u16::try_from(port).ok().filter(|port| *port != 0).ok_or("the port is not from 1 to 65535")?;
        Ok(SocketAddr::from((ip, port)))
    }

    async fn command(&self, argv: Vec<String>) -> Result<(), String> {
        let (output, text) = LogFile::collect(ANSWER_LIMIT).map_err(|error| error.to_string())?;
        let error = output.try_clone().map_err(|error| error.to_string())?;
        let orders = launch::beside(&self.running.launch, self.running.process.pid(), argv, false);
        let streams = Streams { input: None, output, error };
        let process =
            Process::start(&self.runtime, orders, None, streams).await.map_err(|error| error.to_string())?;
        let code = process.wait().await.code;
        let text = text.await.unwrap_or_default();
        if code == 0 { Ok(()) } else { Err(format!("command ended with {code}: {}", text.trim_end())) }
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address).await.map_err(|error| format!("dial tcp {address}: {error}"))
}

/// A connection in the clear or under TLS.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// TLS to whoever answers: Kubernetes defines that probes do not verify.
async fn secured(address: SocketAddr, stream: TcpStream) -> Result<Box<dyn Connection>, String> {
    let connector = mesh_tls::client_connector_insecure(&[b"http/1.1"]).map_err(|error| error.to_string())?;
    let name = mesh_tls::server_name(&address.ip().to_string()).map_err(|error| error.to_string())?;
    let stream = connector.connect(name, stream).await.map_err(|error| format!("TLS handshake: {error}"))?;
    Ok(Box::new(stream))
}

/// The status of one GET as `httpGet` describes it.
async fn http_get(address: SocketAddr, get: &Value) -> Result<StatusCode, String> {
    let path = match object::text(get, "/path") {
        "" => "/",
        path => path,
    };
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let is_tls = object::text(get, "/scheme").eq_ignore_ascii_case("HTTPS");
    let scheme = if is_tls { "https" } else { "http" };
    let failed = |error: String| format!("Get \"{scheme}://{address}{path}\": {error}");
    let stream = connect(address).await?;
    let stream: Box<dyn Connection> =
        if is_tls { secured(address, stream).await.map_err(failed)? } else { Box::new(stream) };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(error.to_string()))?;
    let connection = tokio::spawn(connection);
    let mut request = Request::get(&path).header("user-agent", USER_AGENT).header("connection", "close");
    let mut host = address.to_string();
    for header in object::items(get, "/httpHeaders") {
        let (name, value) = (object::text(header, "/name"), object::text(header, "/value"));
        if name.eq_ignore_ascii_case("host") {
            value.clone_into(&mut host);
        } else {
            request = request.header(name, value);
        }
    }
    let request = request
        .header("host", host)
        .body(Full::<Bytes>::default())
        .map_err(|error| failed(error.to_string()))?;
    let answer = sender.send_request(request).await.map_err(|error| failed(error.to_string()));
    connection.abort();
    Ok(answer?.status())
}

/// `grpc.health.v1.Health/Check`, written by hand: a request is one string, an answer one number.
async fn grpc_health(address: SocketAddr, service: &str) -> Result<(), String> {
    let failed = |error: String| format!("gRPC {address}: {error}");
    let stream = connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|error| failed(error.to_string()))?;
    let connection = tokio::spawn(connection);
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", USER_AGENT)
        .body(Full::new(health_request(service)))
        .map_err(|error| failed(error.to_string()))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| failed(error.to_string()))?;
        let headers = response.headers().clone();
        let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
        let body = body.map_err(|error| failed(error.to_string()))?;
        let code = |headers: &http::HeaderMap| headers.get("grpc-status").cloned();
        let code = body.trailers().and_then(code).or_else(|| code(&headers));
        match code {
            Some(code) if code != "0" => Err(failed(format!("grpc-status {}", code.to_str().unwrap_or("?")))),
            _ => Ok(body.to_bytes()),
        }
    }
    .await;
    connection.abort();
    // After the five bytes of framing: field 1, a number.
    match answer?.get(5..7) {
        Some([0x08, SERVING]) => Ok(()),
        _ => Err(failed(format!("service {service:?} is not SERVING"))),
    }
}

fn health_request(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or_default().to_be_bytes();
    let mut out = vec![0];
    out.extend_from_slice(&length);
    out.extend_from_slice(&message);
    Bytes::from(out)
}

#[cfg(test)]
mod tests;
