//! Connections to the application: an idle stack of HTTP/1 connections and one HTTP/2 connection for each address.

use crate::body::{Body, End, Observe};
use crate::config::{Config, Inbound as Settings};
use crate::error::Error;
use crate::http::upgrade;
use crate::rt::LocalExec;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_net::SocketOptions;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpStream;

/// Memory for one HTTP/1 head; also what hyper reads at once.
const MAX_HTTP1_BUFFER: usize = 64 * 1024;

/// The application at one address, as one worker knows it.
pub(super) struct App {
    addr: SocketAddr,
    config: Arc<Config>,
    idle: RefCell<Vec<Idle>>,
    http2: RefCell<Option<http2::SendRequest<Body>>>,
}

struct Idle {
    sender: http1::SendRequest<Body>,
    since: Instant,
}

/// Opens a plain connection to the application.
///
/// # Errors
/// [`Error::Connect`] or [`Error::ConnectTimeout`].
pub(super) async fn connect(addr: SocketAddr, settings: &Settings) -> Result<TcpStream, Error> {
    let options = SocketOptions {
        keepalive: settings.sockets.connect_keepalive,
        user_timeout: settings.sockets.connect_user_timeout,
    };
    match tokio::time::timeout(settings.connect_timeout, mesh_net::connect(addr, &options)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(source)) => Err(Error::Connect { addr, source }),
        Err(_) => Err(Error::ConnectTimeout { addr, after: settings.connect_timeout }),
    }
}

impl App {
    /// No connections yet.
    pub(super) fn new(addr: SocketAddr, config: Arc<Config>) -> Rc<Self> {
        Rc::new(Self { addr, config, idle: RefCell::default(), http2: RefCell::default() })
    }

    /// Sends a request in its own HTTP version.
    ///
    /// # Errors
    /// Why there is no response.
    pub(super) async fn send(self: &Rc<Self>, request: Request<Body>) -> Result<Response<Body>, Error> {
        if request.version() == Version::HTTP_2 {
            self.send_http2(request).await
        } else {
            self.send_http1(request).await
        }
    }

    async fn send_http1(self: &Rc<Self>, mut request: Request<Body>) -> Result<Response<Body>, Error> {
        let leaves_http = upgrade::is_upgrade(&request) || *request.method() == Method::CONNECT;
        // A pooled connection may turn out to be closed; the request then comes back unsent.
        while let Some(mut sender) = self.pooled() {
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(self.received(response, sender, leaves_http)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(Error::Request(error.into_error())),
                },
            }
        }
        let mut sender = self.connect_http1().await?;
        match sender.try_send_request(request).await {
            Ok(response) => Ok(self.received(response, sender, leaves_http)),
            Err(mut error) => Err(match error.take_message() {
                Some(_) => Error::NotSent(error.into_error()),
                None => Error::Request(error.into_error()),
            }),
        }
    }

    /// Closes connections that were idle for too long; says whether any are left.
    pub(super) fn close_idle(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        self.retain_fresh(&mut idle);
        let mut http2 = self.http2.borrow_mut();
        if http2.as_ref().is_some_and(http2::SendRequest::is_closed) {
            *http2 = None;
        }
        !idle.is_empty() || http2.is_some()
    }

    fn retain_fresh(&self, idle: &mut Vec<Idle>) {
        let oldest = Instant::now().checked_sub(self.config.inbound.http.pool_idle_timeout);
        idle.retain(|i| !i.sender.is_closed() && oldest.is_none_or(|oldest| i.since > oldest));
    }

    fn pooled(&self) -> Option<http1::SendRequest<Body>> {
        let mut idle = self.idle.borrow_mut();
        self.retain_fresh(&mut idle);
        let ready = idle.iter().rposition(|i| i.sender.is_ready())?;
        Some(idle.remove(ready).sender)
    }

    async fn connect_http1(&self) -> Result<http1::SendRequest<Body>, Error> {
        let stream = connect(self.addr, &self.config.inbound).await?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HTTP1_BUFFER)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|source| Error::Handshake { addr: self.addr, source })?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "application connection failed");
            }
        });
        Ok(sender)
    }

    /// The connection goes back to the stack when the body has ended.
    fn received(
        self: &Rc<Self>,
        response: Response<Incoming>,
        sender: http1::SendRequest<Body>,
        leaves_http: bool,
    ) -> Response<Body> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS
            || (leaves_http && response.status().is_success())
        {
            return response.map(Body::from);
        }
        let back = Return { app: Rc::clone(self), sender: Some(sender) };
        response.map(|body| Body::from(body).observed(back))
    }

    async fn send_http2(&self, request: Request<Body>) -> Result<Response<Body>, Error> {
        let open = self.http2.borrow().as_ref().filter(|s| !s.is_closed()).cloned();
        let mut sender = match open {
            Some(sender) => sender,
            None => self.connect_http2().await?,
        };
        match sender.try_send_request(request).await {
            Ok(response) => Ok(response.map(Body::from)),
            Err(mut error) => match error.take_message() {
                // The connection closed under us: once more on a new one.
                Some(unsent) => {
                    let mut sender = self.connect_http2().await?;
                    sender.send_request(unsent).await.map(|r| r.map(Body::from)).map_err(Error::Request)
                }
                None => Err(Error::Request(error.into_error())),
            },
        }
    }

    async fn connect_http2(&self) -> Result<http2::SendRequest<Body>, Error> {
        let stream = connect(self.addr, &self.config.inbound).await?;
        let (sender, connection) = http2::Builder::new(LocalExec)
            .timer(TokioTimer::new())
            .initial_stream_window_size(self.config.inbound.http.h2_stream_window)
            .initial_connection_window_size(self.config.inbound.http.h2_connection_window)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|source| Error::Handshake { addr: self.addr, source })?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "application connection failed");
            }
        });
        *self.http2.borrow_mut() = Some(sender.clone());
        Ok(sender)
    }
}

/// Gives a connection back to the stack.
struct Return {
    app: Rc<App>,
    sender: Option<http1::SendRequest<Body>>,
}

impl Observe for Return {
    fn data(&mut self, _: usize) {}

    fn end(&mut self, end: End<'_>) {
        let Some(sender) = self.sender.take() else { return };
        let mut idle = self.app.idle.borrow_mut();
        if matches!(end, End::Complete(_))
            && !sender.is_closed()
            && idle.len() < self.app.config.inbound.http.max_idle_per_endpoint
        {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }
}
