//! Connections to one endpoint: an idle stack of HTTP/1 connections and a set of HTTP/2 connections counted by streams.
//! A worker has one [`Pool`] for each endpoint.

mod io;

pub use io::PeerIo;

use crate::body::{Body, End, Observe};
use crate::error::Error;
use crate::http::upgrade;
use crate::outbound::endpoint::{Health, Hint, Transport};
use crate::outbound::metrics::EndpointMetrics;
use crate::rt::LocalExec;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use io::Connector;
use mesh_balance::{Admission, BreakerStatus};
use mesh_net::SessionProtocol;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Memory for one HTTP/1 head; also what hyper reads at once.
const MAX_HTTP1_BUFFER: usize = 64 * 1024;
/// Streams on every HTTP/2 connection before another is opened: one connection is one lock and one TCP window.
const STREAMS_PER_CONNECTION: usize = 64;
/// HTTP/2 connections to one endpoint.
const MAX_HTTP2_CONNECTIONS: usize = 4;
/// Keep-alive where discovery sets none: a dead peer is found within this (interval, timeout).
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3));
/// Keep-alive of connections to gateways, whatever discovery sets above it: between clusters, packets vanish without a
/// word, and there are few such connections.
const GATEWAY_KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(2));

pub(crate) use io::Settings;

/// The connections of one worker to one endpoint.
pub struct Pool {
    transport: Transport,
    health: Arc<Health>,
    connector: Connector,
    idle: RefCell<Vec<Idle>>,
    http2: RefCell<Vec<Http2>>,
    /// One connection at a time is made; who waits uses it too.
    connecting: Mutex<()>,
    growing: Cell<bool>,
}

struct Idle {
    sender: http1::SendRequest<Body>,
    since: Instant,
}

#[derive(Clone)]
struct Http2 {
    sender: http2::SendRequest<Body>,
    streams: Rc<Cell<usize>>,
}

/// One stream of an HTTP/2 connection, counted until its response has ended.
struct Stream(Rc<Cell<usize>>);

impl Pool {
    /// No connections yet.
    pub(crate) fn new(
        transport: Transport,
        health: Arc<Health>,
        settings: Rc<Settings>,
        metrics: Rc<EndpointMetrics>,
    ) -> Rc<Self> {
        let connector = Connector::new(settings, metrics);
        let (idle, http2, growing) = (RefCell::default(), RefCell::default(), Cell::new(false));
        Rc::new(Self { transport, health, connector, idle, http2, connecting: Mutex::new(()), growing })
    }

    /// How the endpoint is reached.
    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Opens a connection for bytes.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn open(&self) -> Result<PeerIo, Error> {
        self.connect(None, Admission::Normal).await
    }

    /// Sends a request in its own HTTP version.
    ///
    /// # Errors
    /// Why there is no response.
    pub(crate) async fn send(self: &Rc<Self>, request: Request<Body>) -> Result<Response<Body>, Error> {
        if request.version() == Version::HTTP_2 {
            self.send_http2(request).await
        } else {
            self.send_http1(request).await
        }
    }

    /// Closes connections that were idle for too long.
    pub(crate) fn close_idle(&self) {
        let oldest = Instant::now().checked_sub(self.connector.settings().pool_idle_timeout);
        let kept = |i: &Idle| !i.sender.is_closed() && oldest.is_none_or(|oldest| i.since > oldest);
        self.idle.borrow_mut().retain(kept);
        self.http2.borrow_mut().retain(|c| !c.sender.is_closed());
    }

    /// Tries to connect to an endpoint that failed, so that no request has to. Keeps the connection if `keep`. Says whether
    /// it worked.
    pub(crate) async fn warm(self: &Rc<Self>, keep: bool) -> bool {
        if !keep {
            return self.connect(None, Admission::Trial).await.is_ok();
        }
        if self.transport.hint == Hint::Http2 {
            return self.connect_http2(Admission::Trial).await.is_ok();
        }
        match self.connect_http1(Admission::Trial).await {
            Ok(sender) => {
                self.idle.borrow_mut().push(Idle { sender, since: Instant::now() });
                true
            }
            Err(_) => false,
        }
    }

    async fn connect(&self, session: Option<SessionProtocol>, admission: Admission) -> Result<PeerIo, Error> {
        // What is treated as bytes is not announced as anything else.
        let session = session.filter(|_| self.transport.hint != Hint::Opaque);
        let result = self.connector.connect(&self.transport, session).await;
        match &result {
            Ok(_) => {
                self.health.connect.success(admission);
            }
            Err(error) => {
                let now = Instant::now();
                if self.health.connect.failure(admission, true, rand::random(), now) {
                    tracing::info!(endpoint = %self.transport.dial, %error, "endpoint does not answer");
                }
            }
        }
        result
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
        let mut sender = self.connect_http1(Admission::Normal).await?;
        match sender.try_send_request(request).await {
            Ok(response) => Ok(self.received(response, sender, leaves_http)),
            Err(mut error) => Err(match error.take_message() {
                Some(_) => Error::NotSent(error.into_error()),
                None => Error::Request(error.into_error()),
            }),
        }
    }

    fn pooled(&self) -> Option<http1::SendRequest<Body>> {
        self.close_idle();
        let mut idle = self.idle.borrow_mut();
        let ready = idle.iter().rposition(|i| i.sender.is_ready())?;
        Some(idle.remove(ready).sender)
    }

    async fn connect_http1(&self, admission: Admission) -> Result<http1::SendRequest<Body>, Error> {
        let io = self.connect(Some(SessionProtocol::Http1), admission).await?;
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(true)
            .max_buf_size(MAX_HTTP1_BUFFER)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|source| Error::Handshake { addr: self.transport.dial, source })?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "endpoint connection failed");
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
        let back = Return { pool: Rc::clone(self), sender: Some(sender) };
        response.map(|body| Body::from(body).observed(back))
    }

    async fn send_http2(self: &Rc<Self>, mut request: Request<Body>) -> Result<Response<Body>, Error> {
        loop {
            let mut connection = match self.least_loaded() {
                Some(connection) => connection,
                None => self.connect_http2(Admission::Normal).await?,
            };
            let stream = Stream::begin(&connection.streams);
            match connection.sender.try_send_request(request).await {
                Ok(response) => return Ok(response.map(|body| Body::from(body).observed(stream))),
                // The connection closed under us: the request goes to another one.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(Error::Request(error.into_error())),
                },
            }
        }
    }

    /// The open connection with the fewest streams. Where all are busy, another is opened for later requests.
    fn least_loaded(self: &Rc<Self>) -> Option<Http2> {
        let mut set = self.http2.borrow_mut();
        set.retain(|c| !c.sender.is_closed());
        let found = set.iter().min_by_key(|c| c.streams.get())?.clone();
        if found.streams.get() >= STREAMS_PER_CONNECTION
            && set.len() < MAX_HTTP2_CONNECTIONS
            && !self.growing.replace(true)
        {
            let pool = Rc::clone(self);
            tokio::task::spawn_local(async move {
                if let Err(error) = pool.add_http2(Admission::Normal).await {
                    tracing::debug!(%error, "no further connection");
                }
                pool.growing.set(false);
            });
        }
        Some(found)
    }

    async fn connect_http2(self: &Rc<Self>, admission: Admission) -> Result<Http2, Error> {
        let _one = self.connecting.lock().await;
        // Someone else may have made one while we waited, or have failed to.
        if let Some(connection) = self.least_loaded() {
            return Ok(connection);
        }
        if admission == Admission::Normal
            && self.health.connect.status(Instant::now()) != BreakerStatus::Closed
        {
            let source = std::io::Error::other("it did not answer just now");
            return Err(Error::Connect { addr: self.transport.dial, source });
        }
        self.add_http2(admission).await
    }

    /// Interval and timeout of pings, and whether they are sent without streams too.
    fn keep_alive(&self) -> Option<(Duration, Duration, bool)> {
        let meshed = self.transport.tls.is_some();
        let default = meshed.then_some((KEEP_ALIVE.0, KEEP_ALIVE.1, true));
        let (interval, timeout, while_idle) = self.transport.keep_alive.or(default)?;
        if self.transport.authority.is_none() {
            return Some((interval, timeout, while_idle));
        }
        Some((interval.min(GATEWAY_KEEP_ALIVE.0), timeout.min(GATEWAY_KEEP_ALIVE.1), true))
    }

    async fn add_http2(&self, admission: Admission) -> Result<Http2, Error> {
        let io = self.connect(Some(SessionProtocol::Http2), admission).await?;
        let settings = self.connector.settings();
        let mut builder = http2::Builder::new(LocalExec);
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(settings.h2_stream_window)
            .initial_connection_window_size(settings.h2_connection_window);
        if let Some((interval, timeout, while_idle)) = self.keep_alive() {
            builder
                .keep_alive_interval(interval)
                .keep_alive_timeout(timeout)
                .keep_alive_while_idle(while_idle);
        }
        let (sender, connection) = builder
            .handshake(TokioIo::new(io))
            .await
            .map_err(|source| Error::Handshake { addr: self.transport.dial, source })?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "endpoint connection failed");
            }
        });
        let connection = Http2 { sender, streams: Rc::new(Cell::new(0)) };
        self.http2.borrow_mut().push(connection.clone());
        Ok(connection)
    }
}

impl Stream {
    fn begin(streams: &Rc<Cell<usize>>) -> Self {
        streams.set(streams.get() + 1);
        Self(Rc::clone(streams))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Observe for Stream {
    fn data(&mut self, _: usize) {}

    fn end(&mut self, _: End<'_>) {}
}

/// Gives a connection back to the stack.
struct Return {
    pool: Rc<Pool>,
    sender: Option<http1::SendRequest<Body>>,
}

impl Observe for Return {
    fn data(&mut self, _: usize) {}

    fn end(&mut self, end: End<'_>) {
        let Some(sender) = self.sender.take() else { return };
        let mut idle = self.pool.idle.borrow_mut();
        if matches!(end, End::Complete(_))
            && !sender.is_closed()
            && idle.len() < self.pool.connector.settings().max_idle_per_endpoint
        {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }
}
