//! Connections to one place: an idle stack of HTTP/1 connections and a set of HTTP/2 connections counted by streams. A
//! worker has one [`Connections`] for each endpoint ([`Pool`]), and one for each address of the application.

mod endpoint;
mod io;

pub use endpoint::{Pool, ToEndpoint};
pub use io::PeerIo;

use crate::body::{Body, End, Observe};
use crate::error::Error;
use crate::http::upgrade;
use crate::rt::{ConnExec, ConnStreams};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_balance::Admission;
use mesh_net::SessionProtocol;
use std::cell::{Cell, RefCell};
use std::error::Error as _;
use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;

/// Memory for one HTTP/1 head; also what hyper reads at once.
const MAX_HTTP1_BUFFER: usize = 64 * 1024;
/// Streams on every HTTP/2 connection before another is opened: one connection is one lock and one TCP window.
const STREAMS_PER_CONNECTION: usize = 64;

pub(crate) use io::Settings;

/// How connections to a place are made.
pub trait Connect: 'static {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The place.
    fn addr(&self) -> SocketAddr;

    /// How its connections are treated.
    fn terms(&self) -> &Terms;

    /// Connects; `session` is what will be spoken, `admission` whether this is a trial of a place that did not answer.
    ///
    /// # Errors
    /// Why there is no connection.
    fn connect(
        &self,
        session: Option<SessionProtocol>,
        admission: Admission,
    ) -> impl Future<Output = Result<Self::Io, Error>>;
}

/// How the connections to a place are treated.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long an idle HTTP/1 connection is kept.
    pub idle_timeout: Duration,
    /// Idle HTTP/1 connections kept.
    pub max_idle: usize,
    /// Whether HTTP/1 field names keep their case.
    pub keep_case: bool,
    /// HTTP/2 stream window, bytes.
    pub stream_window: u32,
    /// HTTP/2 connection window, bytes.
    pub connection_window: u32,
    /// Whether HTTP/2 windows grow with what the path holds.
    pub adaptive_window: bool,
    /// HTTP/2 pings: interval, timeout, whether without streams too.
    pub keep_alive: Option<(Duration, Duration, bool)>,
    /// HTTP/2 connections at most.
    pub max_http2: usize,
}

/// The connections of one worker to one place.
pub struct Connections<C> {
    to: C,
    idle: RefCell<Vec<Idle>>,
    http2: RefCell<Vec<Http2>>,
    /// One connection at a time is made; who waits uses it too, or shares its failure.
    connecting: Mutex<()>,
    failed: Cell<Option<Instant>>,
    growing: Cell<bool>,
}

struct Idle {
    sender: http1::SendRequest<Body>,
    since: Instant,
}

impl Idle {
    /// Whether it is open and was used since `oldest`.
    fn is_usable(&self, oldest: Option<Instant>) -> bool {
        !self.sender.is_closed() && oldest.is_none_or(|oldest| self.since > oldest)
    }
}

#[derive(Clone)]
struct Http2 {
    sender: http2::SendRequest<Body>,
    streams: Rc<Cell<usize>>,
}

/// One stream of an HTTP/2 connection, counted until its response has ended.
struct Stream(Rc<Cell<usize>>);

impl<C: Connect> Connections<C> {
    /// No connections yet.
    pub(crate) fn to(to: C) -> Rc<Self> {
        let (idle, http2) = (RefCell::default(), RefCell::default());
        let (failed, growing) = (Cell::new(None), Cell::new(false));
        Rc::new(Self { to, idle, http2, connecting: Mutex::new(()), failed, growing })
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

    /// Closes connections that were idle for too long; says whether any are left.
    pub(crate) fn close_idle(&self) -> bool {
        let mut http2 = self.http2.borrow_mut();
        http2.retain(|c| !c.sender.is_closed());
        let mut idle = self.idle.borrow_mut();
        let oldest = self.oldest();
        idle.retain(|i| i.is_usable(oldest));
        !idle.is_empty() || !http2.is_empty()
    }

    /// When an idle connection must have been used to be kept.
    fn oldest(&self) -> Option<Instant> {
        Instant::now().checked_sub(self.to.terms().idle_timeout)
    }

    async fn send_http1(self: &Rc<Self>, mut request: Request<Body>) -> Result<Response<Body>, Error> {
        let leaves_http = upgrade::is_upgrade(&request) || *request.method() == Method::CONNECT;
        let idempotent = request.method().is_idempotent();
        // A pooled connection may turn out to be closed; the request then comes back unsent, unless it was on its way.
        while let Some(mut sender) = self.pooled() {
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(self.received(response, sender, leaves_http)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => {
                        let error = error.into_error();
                        let dropped = idempotent && ended(&error);
                        return Err(if dropped { Error::Dropped(error) } else { Error::Request(error) });
                    }
                },
            }
        }
        // Connecting is rare and its future large: every request would have room for it.
        let mut sender = Box::pin(self.connect_http1(Admission::Normal)).await?;
        match sender.try_send_request(request).await {
            Ok(response) => Ok(self.received(response, sender, leaves_http)),
            Err(mut error) => Err(match error.take_message() {
                Some(_) => Error::NotSent(error.into_error()),
                None => Error::Request(error.into_error()),
            }),
        }
    }

    /// The connection that was used last and is ready again. Those below it are left for [`Self::close_idle`].
    fn pooled(&self) -> Option<http1::SendRequest<Body>> {
        let mut idle = self.idle.borrow_mut();
        let mut oldest = None;
        loop {
            let last = idle.iter().rposition(|i| i.sender.is_ready() || i.sender.is_closed())?;
            let found = idle.remove(last);
            if found.is_usable(*oldest.get_or_insert_with(|| self.oldest())) {
                return Some(found.sender);
            }
        }
    }

    async fn connect_http1(&self, admission: Admission) -> Result<http1::SendRequest<Body>, Error> {
        let io = self.to.connect(Some(SessionProtocol::Http1), admission).await?;
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(self.to.terms().keep_case)
            .max_buf_size(MAX_HTTP1_BUFFER)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|source| Error::Handshake { addr: self.to.addr(), source })?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "connection failed");
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
        let back = Return { to: Rc::clone(self), sender: Some(sender) };
        response.map(|body| Body::from(body).observed(back))
    }

    async fn send_http2(self: &Rc<Self>, mut request: Request<Body>) -> Result<Response<Body>, Error> {
        loop {
            let mut connection = match self.least_loaded() {
                Some(connection) => connection,
                // Connecting is rare and its future large: every request would have room for it.
                None => Box::pin(self.connect_http2(Admission::Normal)).await?,
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
            && set.len() < self.to.terms().max_http2
            && !self.growing.replace(true)
        {
            let connections = Rc::clone(self);
            tokio::task::spawn_local(async move {
                if let Err(error) = connections.add_http2(Admission::Normal).await {
                    tracing::debug!(%error, "no further connection");
                }
                connections.growing.set(false);
            });
        }
        Some(found)
    }

    async fn connect_http2(self: &Rc<Self>, admission: Admission) -> Result<Http2, Error> {
        let began = Instant::now();
        let _one = self.connecting.lock().await;
        // Someone else may have made one while we waited, or have failed to.
        if let Some(connection) = self.least_loaded() {
            return Ok(connection);
        }
        if self.failed.get().is_some_and(|failed| failed >= began) {
            let source = std::io::Error::other("it did not answer just now");
            return Err(Error::Connect { addr: self.to.addr(), source });
        }
        let result = self.add_http2(admission).await;
        if result.is_err() {
            self.failed.set(Some(Instant::now()));
        }
        result
    }

    async fn add_http2(&self, admission: Admission) -> Result<Http2, Error> {
        let io = self.to.connect(Some(SessionProtocol::Http2), admission).await?;
        let terms = self.to.terms();
        let exec = ConnExec::default();
        let mut builder = http2::Builder::new(exec.clone());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(terms.stream_window)
            .initial_connection_window_size(terms.connection_window);
        if terms.adaptive_window {
            builder.adaptive_window(true);
        }
        if let Some((interval, timeout, while_idle)) = terms.keep_alive {
            builder
                .keep_alive_interval(interval)
                .keep_alive_timeout(timeout)
                .keep_alive_while_idle(while_idle);
        }
        let (sender, connection) = builder
            .handshake(TokioIo::new(io))
            .await
            .map_err(|source| Error::Handshake { addr: self.to.addr(), source })?;
        let mut streams = ConnStreams::of(&exec);
        tokio::task::spawn_local(async move {
            if let Err(error) = streams.until(pin!(connection)).await {
                tracing::debug!(%error, "connection failed");
            }
            streams.finish().await;
        });
        let connection = Http2 { sender, streams: Rc::new(Cell::new(0)) };
        self.http2.borrow_mut().push(connection.clone());
        Ok(connection)
    }
}

/// Whether a connection ended before it gave a response, with or without what was sent having been read.
fn ended(error: &hyper::Error) -> bool {
    let io = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    error.is_incomplete_message()
        || io.is_some_and(|io| matches!(io.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
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
struct Return<C: Connect> {
    to: Rc<Connections<C>>,
    sender: Option<http1::SendRequest<Body>>,
}

impl<C: Connect> Observe for Return<C> {
    fn data(&mut self, _: usize) {}

    fn end(&mut self, end: End<'_>) {
        let Some(sender) = self.sender.take() else { return };
        let mut idle = self.to.idle.borrow_mut();
        if matches!(end, End::Complete(_)) && !sender.is_closed() && idle.len() < self.to.to.terms().max_idle
        {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }
}
