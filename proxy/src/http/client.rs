//! Connections to one place: an idle stack of HTTP/1 connections, a set of HTTP/2 connections counted by streams, and for
//! endpoints an idle stack of connections that carry bytes. A worker has one [`Connections`] for each endpoint ([`Pool`]),
//! and one for each address of the application.

mod endpoint;
mod http1;
mod http2;
mod io;
mod stack;
mod tunnels;

pub use endpoint::{Pool, ToEndpoint};
pub use io::PeerIo;
pub use tunnels::BytesIo;

use crate::body::Body;
use crate::error::{Cause, Error};
use crate::http::http1::response::Head;
use crate::http::http1::{Error as Http1Error, request};
use crate::relay::ResetOnClose;
use http::{Method, Request, Response, Version};
use http1::Link;
use http2::Failed;
use mesh_balance::Admission;
use mesh_http2::Sender;
use mesh_net::SessionProtocol;
use stack::Stack;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;

/// Streams on every HTTP/2 connection before another is opened: one connection is one TCP window.
const STREAMS_PER_CONNECTION: usize = 64;
/// How long after a failure a connection beside others is tried again.
const GROW_AGAIN: Duration = Duration::from_secs(1);

pub(crate) use io::Settings;

/// How connections to a place are made.
pub trait Connect: 'static {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + ResetOnClose + Unpin + Send + 'static;

    /// The place.
    fn addr(&self) -> SocketAddr;

    /// How its connections are treated.
    fn terms(&self) -> &Terms;

    /// Connects; `session` is what will be spoken, `admission` whether this is a trial of a place that did not answer. It
    /// is `None` for a connection beside others that are open, of which the place is not judged.
    ///
    /// # Errors
    /// Why there is no connection.
    fn connect(
        &self,
        session: Option<SessionProtocol>,
        admission: Option<Admission>,
    ) -> impl Future<Output = Result<Self::Io, Error>>;

    /// Closes what else is kept and was idle for too long; says whether any is left.
    fn close_idle(&self) -> bool {
        false
    }
}

/// How the connections to a place are treated.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long an idle HTTP/1 connection is kept.
    pub idle_timeout: Duration,
    /// Idle HTTP/1 connections kept.
    pub max_idle: usize,
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
pub struct Connections<C: Connect> {
    to: C,
    idle: Stack<Link<C::Io>>,
    http2: RefCell<Vec<Sender>>,
    /// One connection at a time is made; who waits uses it too, or shares its failure.
    connecting: Mutex<()>,
    failed: Cell<Option<Instant>>,
    growing: Cell<bool>,
}

impl<C: Connect> Connections<C> {
    /// No connections yet.
    pub(crate) fn to(to: C) -> Rc<Self> {
        let (idle, http2) = (Stack::new(to.terms()), RefCell::default());
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
        http2.retain(|c| !c.is_closed());
        let (http1, others) = (self.idle.close(|link| link.is_open()), self.to.close_idle());
        !http2.is_empty() || http1 || others
    }

    async fn send_http1(self: &Rc<Self>, request: Request<Body>) -> Result<Response<Body>, Error> {
        let method = request.method().clone();
        let mut outgoing = request::outgoing(request);
        // A pooled connection may turn out to be closed; the request is then unsent, unless it was on its way.
        while let Some(link) = self.idle.take(|link| link.is_open()) {
            match link.exchange(&mut outgoing, &method).await {
                Ok(head) => return self.received(head, link),
                Err(Http1Error::Io(_)) if outgoing.is_unsent() => {}
                Err(error) => return Err(lost(error, &method, true)),
            }
        }
        // Connecting is rare and its future large: every request would have room for it.
        let link = Box::pin(self.connect_http1(Admission::Normal)).await?;
        match link.exchange(&mut outgoing, &method).await {
            Ok(head) => self.received(head, link),
            Err(error @ Http1Error::Io(_)) if outgoing.is_unsent() => Err(Error::NotSent(error.into())),
            Err(error) => Err(lost(error, &method, false)),
        }
    }

    /// Puts a connection on the stack.
    fn keep(&self, link: Link<C::Io>) {
        link.rest();
        self.idle.put(link);
    }

    async fn connect_http1(&self, admission: Admission) -> Result<Link<C::Io>, Error> {
        Ok(Link::new(self.to.connect(Some(SessionProtocol::Http1), Some(admission)).await?))
    }

    /// The connection goes back to the stack when the body has ended.
    fn received(self: &Rc<Self>, head: Head, link: Link<C::Io>) -> Result<Response<Body>, Error> {
        let mut response = head.response;
        if head.leaves_http {
            let upgraded = link.upgraded().ok_or(Error::Request(Http1Error::Incomplete.into()))?;
            response.extensions_mut().insert(upgraded);
            return Ok(response.map(|()| Body::Empty));
        }
        let back = head.keeps.then(|| Rc::clone(self));
        let receiving = http1::Receiving::new(link, head.body, back);
        Ok(response.map(|()| Body::frames(receiving)))
    }

    async fn send_http2(self: &Rc<Self>, mut request: Request<Body>) -> Result<Response<Body>, Error> {
        loop {
            let connection = match self.least_loaded() {
                Some(connection) => connection,
                // Connecting is rare and its future large: every request would have room for it.
                None => Box::pin(self.connect_http2()).await?,
            };
            match http2::exchange(&connection, request).await {
                Ok(response) => return Ok(response),
                // The connection closed under us: the request goes to another one.
                Err(Failed::Unsent(unsent)) => request = unsent,
                Err(Failed::Lost(error)) => return Err(error),
            }
        }
    }

    /// The open connection with the fewest streams. Where all are busy, another is opened for later requests.
    fn least_loaded(self: &Rc<Self>) -> Option<Sender> {
        let mut set = self.http2.borrow_mut();
        set.retain(|c| !c.is_closed());
        let found = set.iter().min_by_key(|c| c.streams())?.clone();
        if found.streams() >= STREAMS_PER_CONNECTION
            && set.len() < self.to.terms().max_http2
            && !self.growing.replace(true)
        {
            let connections = Rc::clone(self);
            tokio::task::spawn_local(async move {
                if let Err(error) = connections.add_http2(None).await {
                    tracing::debug!(%error, "no further connection");
                    tokio::time::sleep(GROW_AGAIN).await;
                }
                connections.growing.set(false);
            });
        }
        Some(found)
    }

    async fn connect_http2(self: &Rc<Self>) -> Result<Sender, Error> {
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
        let result = self.add_http2(Some(Admission::Normal)).await;
        if result.is_err() {
            self.failed.set(Some(Instant::now()));
        }
        result
    }

    async fn add_http2(&self, admission: Option<Admission>) -> Result<Sender, Error> {
        let io = self.to.connect(Some(SessionProtocol::Http2), admission).await?;
        let terms = self.to.terms();
        let settings = mesh_http2::Settings {
            stream_window: terms.stream_window,
            connection_window: terms.connection_window,
            adaptive: terms.adaptive_window,
            keep_alive: terms.keep_alive,
            ..mesh_http2::Settings::default()
        };
        let (sender, connection) = mesh_http2::connect(io, settings);
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection failed");
            }
        });
        self.http2.borrow_mut().push(sender.clone());
        Ok(sender)
    }
}

/// What a request was lost to, on a connection that was used before (`kept`) or on its first. A reset tells of bytes that
/// nobody read: the listener closed with the connection in its queue, or the application with the request unread.
fn lost(error: Http1Error, method: &Method, kept: bool) -> Error {
    let again = match &error {
        Http1Error::Incomplete => kept,
        Http1Error::Io(error) => matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        _ => false,
    };
    let cause = Cause::Http1(error);
    if again && method.is_idempotent() { Error::Dropped(cause) } else { Error::Request(cause) }
}
