//! HTTP as a small service needs it: a server loop (HTTP/1.1 and HTTP/2), and an HTTP/1.1 client that keeps
//! connections.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_runtime::Shutdown;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, info};

/// The header that says which cluster answered, in the order the request went through.
pub(crate) const CLUSTER: &str = "x-cluster";

/// No answer of this shop takes longer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Serves `handler` on every connection until told to drain.
pub(crate) async fn serve<H, F>(listen: SocketAddr, shutdown: &Shutdown, handler: H) -> Result<()>
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    info!(%listen, "serving HTTP");
    while !shutdown.is_draining() {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.draining() => break,
        };
        let (stream, _) = accepted.context("accept")?;
        stream.set_nodelay(true)?;
        let handler = handler.clone();
        let token = shutdown.token();
        drop(shutdown.spawn("connection", async move {
            let service = hyper::service::service_fn(move |request| {
                let answer = handler(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = token.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                debug!(%error, "connection ended");
            }
        }));
    }
    Ok(())
}

/// An answer with a text body.
pub(crate) fn answer(status: StatusCode, cluster: &str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    if let Ok(value) = header::HeaderValue::from_str(cluster) {
        response.headers_mut().insert(CLUSTER, value);
    }
    response
}

/// A client of one authority that keeps idle connections.
#[derive(Clone)]
pub(crate) struct Client {
    authority: Arc<str>,
    idle: Arc<Mutex<Vec<SendRequest<Full<Bytes>>>>>,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Client {
    pub(crate) fn new(authority: &str) -> Self {
        Self { authority: authority.into(), idle: Arc::default() }
    }

    /// `GET path`, on an idle connection where there is one.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer> {
        tokio::time::timeout(TIMEOUT, self.get_untimed(path)).await.context("no answer in time")?
    }

    async fn get_untimed(&self, path: &str) -> Result<Answer> {
        let mut sender = match self.take_idle() {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let request = Request::builder()
            .method(Method::GET)
            .uri(path)
            .header(header::HOST, &*self.authority)
            .body(Full::new(Bytes::new()))?;
        sender.ready().await.context("connection closed")?;
        let response = sender.send_request(request).await.context("request failed")?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.context("body failed")?.to_bytes();
        if !sender.is_closed() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        }
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    fn take_idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(sender) = idle.pop() {
            if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(&*self.authority)
            .await
            .with_context(|| format!("cannot connect to {}", self.authority))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        drop(tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "client connection ended");
            }
        }));
        Ok(sender)
    }
}
