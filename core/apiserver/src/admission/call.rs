//! One call of one webhook, over TLS that its configuration's caBundle vouches for.

use crate::object;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use mesh_tls::TrustBundle;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// Kubernetes' default, in seconds.
const DEFAULT_TIMEOUT: u64 = 10;
/// The largest answer read, in octets.
const LARGEST_ANSWER: usize = 8 * 1024 * 1024;

/// Where a webhook is and how it is named to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Name the certificate must carry.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) path: String,
    /// Namespace and name, where it is a Service of the cluster.
    pub(super) service: Option<(String, String)>,
}

/// The answer, or what went wrong in words that follow `failed to call webhook: `.
pub(super) async fn call(
    resolver: &(impl Fn(&str, &str, u16) -> Option<SocketAddr> + Sync),
    webhook: &Value,
    review: &Value,
) -> Result<Value, String> {
    let seconds = webhook["timeoutSeconds"].as_u64().unwrap_or(DEFAULT_TIMEOUT);
    let endpoint = endpoint(webhook)?;
    let path = format!("{}?timeout={seconds}s", endpoint.path);
    let url = format!("https://{}:{}{path}", endpoint.host, endpoint.port);
    let described = |why: String| format!("Post \"{url}\": {why}");
    let work = exchange(resolver, webhook, &endpoint, &path, review);
    match tokio::time::timeout(Duration::from_secs(seconds), work).await {
        Ok(outcome) => outcome.map_err(described),
        Err(_) => Err(described("context deadline exceeded".into())),
    }
}

pub(super) fn endpoint(webhook: &Value) -> Result<Endpoint, String> {
    let config = &webhook["clientConfig"];
    let url = object::field(config, "url");
    if !url.is_empty() {
        let uri: http::Uri = url.parse().map_err(|_| format!("clientConfig.url \"{url}\" is not a URL"))?;
        let host = uri.host().ok_or_else(|| format!("clientConfig.url \"{url}\" names no host"))?;
        return Ok(Endpoint {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(443),
            path: uri.path().to_owned(),
            service: None,
        });
    }
    let service = &config["service"];
    let (namespace, name) = (object::field(service, "namespace"), object::field(service, "name"));
    if namespace.is_empty() || name.is_empty() {
        return Err("clientConfig names neither a url nor a service".into());
    }
    let path = match object::field(service, "path") {
        "" => "/",
        path => path,
    };
    Ok(Endpoint {
        host: format!("{name}.{namespace}.svc"),
        port: service["port"].as_u64().and_then(|p| u16::try_from(p).ok()).unwrap_or(443),
        path: path.to_owned(),
        service: Some((namespace.to_owned(), name.to_owned())),
    })
}

async fn connect(
    resolver: &(impl Fn(&str, &str, u16) -> Option<SocketAddr> + Sync),
    endpoint: &Endpoint,
) -> Result<TcpStream, String> {
    let stream = match &endpoint.service {
        Some((namespace, name)) => {
            let address = resolver(namespace, name, endpoint.port)
                .ok_or_else(|| format!("no endpoints available for service \"{name}\""))?;
            TcpStream::connect(address).await.map_err(|e| format!("dial tcp {address}: {e}"))?
        }
        None => {
            let host = endpoint.host.trim_matches(['[', ']']);
            TcpStream::connect((host, endpoint.port)).await.map_err(|e| format!("dial tcp {host}: {e}"))?
        }
    };
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    Ok(stream)
}

async fn exchange(
    resolver: &(impl Fn(&str, &str, u16) -> Option<SocketAddr> + Sync),
    webhook: &Value,
    endpoint: &Endpoint,
    path: &str,
    review: &Value,
) -> Result<Value, String> {
    let encoded = object::text(webhook, "/clientConfig/caBundle");
    let pem = STANDARD.decode(encoded).map_err(|_| "clientConfig.caBundle is not base64".to_owned())?;
    let pem = String::from_utf8(pem).map_err(|_| "clientConfig.caBundle is not PEM".to_owned())?;
    let bundle = TrustBundle::from_pem(&pem).map_err(|e| format!("clientConfig.caBundle: {e}"))?;
    let connector = mesh_tls::client_connector(&bundle, None, &[b"http/1.1"]).map_err(|e| e.to_string())?;
    let name = mesh_tls::server_name(endpoint.host.trim_matches(['[', ']'])).map_err(|e| e.to_string())?;
    let stream = connect(resolver, endpoint).await?;
    let tls = connector.connect(name, stream).await.map_err(|e| format!("tls: {e}"))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.map_err(|e| e.to_string())?;
    let driver = tokio::spawn(connection);
    let request = http::Request::post(path)
        .header(http::header::HOST, format!("{}:{}", endpoint.host, endpoint.port))
        .header(http::header::CONTENT_TYPE, "application/json")
        .header(http::header::ACCEPT, "application/json")
        .header(http::header::USER_AGENT, "kube-apiserver-admission")
        .body(Full::new(Bytes::from(review.to_string())))
        .map_err(|e| e.to_string())?;
    let outcome = async {
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let code = response.status();
        let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
        let bytes = body.map_err(|e| e.to_string())?.to_bytes();
        if !code.is_success() {
            return Err(format!(
                "unexpected status code {}: {}",
                code.as_u16(),
                String::from_utf8_lossy(&bytes)
            ));
        }
        serde_json::from_slice(&bytes).map_err(|e| format!("the answer is not JSON: {e}"))
    };
    let outcome = outcome.await;
    driver.abort();
    outcome
}
