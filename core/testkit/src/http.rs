//! Raw HTTPS against a cluster's API, for what clients hide: codes, headers, watch lines.

use crate::Cluster;
use anyhow::{Context, Result};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use mesh_tls::{PemPair, TlsConnector, TrustBundle};
use serde_json::Value;
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// Speaks for one user, or for nobody.
pub struct Http {
    address: SocketAddr,
    connector: TlsConnector,
    token: Option<String>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The body, null if it is no JSON.
    pub json: Value,
    /// The body as text.
    pub text: String,
}

/// A watch: one JSON object a line.
pub struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Http {
    pub(crate) fn new(cluster: &Cluster, pair: Option<&PemPair>, token: Option<String>) -> Result<Self> {
        let address = *cluster.handle().addresses().first().context("the server has no address")?;
        Self::connecting_to(address, &cluster.handle().ca_pem(), pair, token)
    }

    /// Speaks to a server that is no [`Cluster`], such as a real one.
    ///
    /// # Errors
    /// Unreadable PEM.
    pub fn connecting_to(
        address: SocketAddr,
        ca_pem: &str,
        pair: Option<&PemPair>,
        token: Option<String>,
    ) -> Result<Self> {
        let bundle = TrustBundle::from_pem(ca_pem)?;
        let connector = mesh_tls::client_connector(&bundle, pair, &[b"http/1.1"])?;
        Ok(Self { address, connector, token })
    }

    async fn exchange(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>> {
        let stream = TcpStream::connect(self.address).await?;
        let name = mesh_tls::server_name("localhost")?;
        let stream = self.connector.connect(name, stream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        request.headers_mut().insert(HOST, "localhost".parse()?);
        if let Some(token) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, format!("Bearer {token}").parse()?);
        }
        Ok(sender.send_request(request).await?)
    }

    /// Sends a request as it is and reads the whole answer.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Reply> {
        let response = self.exchange(request).await?;
        let (head, body) = response.into_parts();
        let text = String::from_utf8_lossy(&body.collect().await?.to_bytes()).into_owned();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Reply { status: head.status, headers: head.headers, json, text })
    }

    /// GET.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn get(&self, path: &str) -> Result<Reply> {
        self.get_as(path, "application/json").await
    }

    /// GET with an `Accept` of the caller's.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn get_as(&self, path: &str, accept: &str) -> Result<Reply> {
        let request = Request::get(path).header(ACCEPT, accept).body(Full::default())?;
        self.send(request).await
    }

    /// Any method, with a JSON body of this media type.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn call(&self, method: Method, path: &str, media: &str, body: &Value) -> Result<Reply> {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(CONTENT_TYPE, media)
            .body(Full::new(Bytes::from(text)))?;
        self.send(request).await
    }

    /// POST of a JSON object.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Reply> {
        self.call(Method::POST, path, "application/json", body).await
    }

    /// PUT of a JSON object.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Reply> {
        self.call(Method::PUT, path, "application/json", body).await
    }

    /// PATCH; `kind` is the first word of the media type, as `merge-patch` or `json-patch`.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn patch(&self, path: &str, kind: &str, body: &Value) -> Result<Reply> {
        let suffix = if kind == "apply-patch" { "yaml" } else { "json" };
        self.call(Method::PATCH, path, &format!("application/{kind}+{suffix}"), body).await
    }

    /// DELETE, with options or null.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn delete(&self, path: &str, options: &Value) -> Result<Reply> {
        self.call(Method::DELETE, path, "application/json", options).await
    }

    /// Sends a request whose answer may not end: a watch. The body is read line by line.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn open(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, HeaderMap, Lines)> {
        let (head, body) = self.exchange(request).await?.into_parts();
        Ok((head.status, head.headers, Lines { body, buffer: Vec::new() }))
    }

    /// Opens a watch.
    ///
    /// # Errors
    /// The connection failed, or the server refused.
    pub async fn watch(&self, path: &str) -> Result<Lines> {
        let response = self.exchange(Request::get(path).body(Full::default())?).await?;
        anyhow::ensure!(response.status().is_success(), "watch of {path}: {}", response.status());
        Ok(Lines { body: response.into_body(), buffer: Vec::new() })
    }
}

impl Lines {
    /// The next event; `None` at the end of the watch.
    ///
    /// # Errors
    /// The connection failed, nothing came for [`crate::PATIENCE`], or a line is no JSON.
    pub async fn next(&mut self) -> Result<Option<Value>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            let frame = tokio::time::timeout(crate::PATIENCE, self.body.frame());
            match frame.await.context("waiting for a watch event")? {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }

    /// All that is still to come: JSON, else a text, else null.
    ///
    /// # Errors
    /// The connection failed, or nothing came for [`crate::PATIENCE`].
    pub async fn rest(&mut self) -> Result<Value> {
        loop {
            let frame = tokio::time::timeout(crate::PATIENCE, self.body.frame());
            let Some(frame) = frame.await.context("waiting for the rest of an answer")? else { break };
            if let Ok(data) = frame?.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
        let bytes = std::mem::take(&mut self.buffer);
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        Ok(serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into()))
    }

    /// Type and object name of the next event, as `ADDED web`.
    ///
    /// # Errors
    /// As [`Lines::next`], and at the end of the watch.
    pub async fn next_named(&mut self) -> Result<String> {
        let event = self.next().await?.context("the watch has ended")?;
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
        Ok(format!("{} {name}", event["type"].as_str().unwrap_or_default()).trim_end().to_owned())
    }
}
