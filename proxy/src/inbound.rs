//! The inbound side: accept → TLS → authorize → forward to the application.
//!
//! `Inbound::serve` is the path of a connection, top to bottom. A worker has one `Inbound`.

mod app;
mod direct;
mod headers;
mod http;
mod metrics;
pub mod policies;
pub mod policy;
mod tcp;

pub use direct::{Carrier, DirectConnection, DirectHandler, DirectIo};
pub(crate) use metrics::errno;

use crate::accept::{Addrs, Side};
use crate::access_log::AccessLog;
use crate::config::Config;
use crate::drain::Drain;
use crate::error::Error;
use crate::metered::Metered;
use crate::relay::ResetOnClose;
use crate::shared::Shared;
use ahash::AHashMap;
use app::App;
use bytes::BytesMut;
use futures::future::LocalBoxFuture;
use mesh_net::{
    ClientHello, Http, OriginalDst, PrefixedIo, Sniffed, client_hello, http as http_preface, sniff,
};
use mesh_tls::{Alpn, MeshTls, TlsStream};
use metrics::InboundMetrics;
use policies::{Policies, PolicyReceiver};
use policy::{Client, ClientTls, Protocol, ServerPolicy};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How often idle connections to the application are looked for.
const SWEEP: Duration = Duration::from_secs(2);

/// An accepted connection, with what detection has read.
type PlainIo = PrefixedIo<Metered<TcpStream>>;
/// An accepted connection whose TLS ends here.
type TlsIo = TlsStream<PlainIo>;

/// The inbound side of one worker.
pub struct Inbound {
    config: Arc<Config>,
    tls: MeshTls,
    drain: Drain,
    policies: Policies,
    metrics: Rc<InboundMetrics>,
    access_log: Option<AccessLog>,
    original_dst: OriginalDst,
    gateway: Option<Rc<dyn DirectHandler>>,
    apps: RefCell<AHashMap<SocketAddr, Rc<App>>>,
}

/// What a connection's first bytes turned out to be.
enum Accepted {
    Mesh(Box<TlsIo>),
    Plain(PlainIo, ClientTls),
    /// The client has said nothing so far: no use to wait for it a second time.
    Silent(PlainIo),
}

impl Side for Inbound {
    async fn serve(self: &Rc<Self>, tcp: TcpStream, addrs: Addrs) -> Result<(), Error> {
        let Addrs { peer, target, .. } = addrs;
        let direct = target.port() == self.config.inbound.listen.port();
        if !direct && !self.config.inbound.ips.is_empty() && !self.config.inbound.ips.contains(&target.ip()) {
            return Err(Error::Forbidden(format!("{target} is not an address of this pod").into()));
        }
        let policy = self.policies.get(target.port());
        let skip_tls = !direct && matches!(policy.borrow().protocol, Protocol::Opaque);
        // Soon over.
        let accepted = Box::pin(self.accept_tls(Metered::detached(tcp), skip_tls)).await?;
        let tls = match &accepted {
            Accepted::Mesh(io) => ClientTls::Mesh(io.peer_identity()),
            Accepted::Plain(_, tls) => tls.clone(),
            Accepted::Silent(_) => ClientTls::None,
        };
        let tcp = self.metrics.tcp("src", target, &tls);
        let client = Client { addr: peer, tls };
        let result = self.serve_accepted(accepted, client, target, policy, direct, &tcp).await;
        match &result {
            Err(Error::Io(error)) => tcp.close(metrics::errno(error)),
            _ => tcp.close(""),
        }
        result
    }

    fn failed(&self, target: SocketAddr, error: &Error) {
        self.metrics.tcp_error(target, error);
    }

    fn original_dst(&self) -> &OriginalDst {
        &self.original_dst
    }
}

impl Inbound {
    /// The inbound side of a worker, made within its runtime; `gateway` takes direct connections that name a service.
    pub fn new(
        shared: &Shared,
        policies: Policies,
        original_dst: OriginalDst,
        gateway: Option<Rc<dyn DirectHandler>>,
    ) -> Rc<Self> {
        let inbound = Rc::new(Self {
            config: Arc::clone(&shared.config),
            tls: shared.tls.clone(),
            drain: shared.drain.clone(),
            policies,
            metrics: InboundMetrics::new(&shared.registry),
            access_log: shared.access_log.clone(),
            original_dst,
            gateway,
            apps: RefCell::default(),
        });
        tokio::task::spawn_local(sweep(Rc::downgrade(&inbound)));
        inbound
    }

    fn serve_accepted(
        self: &Rc<Self>,
        accepted: Accepted,
        client: Client,
        target: SocketAddr,
        policy: PolicyReceiver,
        direct: bool,
        tcp: &metrics::Tcp,
    ) -> LocalBoxFuture<'_, Result<(), Error>> {
        match accepted {
            Accepted::Mesh(mut io) => {
                io.get_mut().get_mut().attach(tcp.read.clone(), tcp.written.clone());
                if direct || io.negotiated() != Alpn::None {
                    Box::pin(self.serve_direct(io, client, target))
                } else {
                    self.serve_port(io, client, target, policy)
                }
            }
            Accepted::Plain(..) | Accepted::Silent(_)
                if direct || self.config.inbound.require_tls.contains(target.port()) =>
            {
                refused(Error::IdentityRequired)
            }
            Accepted::Plain(mut io, _) => {
                io.get_mut().attach(tcp.read.clone(), tcp.written.clone());
                self.serve_port(io, client, target, policy)
            }
            Accepted::Silent(mut io) => {
                io.get_mut().attach(tcp.read.clone(), tcp.written.clone());
                let current = Arc::clone(&policy.borrow());
                if !matches!(current.protocol, Protocol::Detect { .. }) {
                    return self.serve_port(io, client, target, policy);
                }
                if let Err(error) = self.refuse_loop(target) {
                    return refused(error);
                }
                let waited = self.config.inbound.detect_timeout;
                self.metrics.detected("read_timeout", &current, target.port(), waited);
                self.forward(io, client, target, policy)
            }
        }
    }

    /// Ends TLS that is meant for us; other TLS passes through, and plaintext is plaintext.
    async fn accept_tls(&self, mut io: Metered<TcpStream>, skip: bool) -> Result<Accepted, Error> {
        let mut buf = BytesMut::new();
        if skip {
            return Ok(Accepted::Plain(PrefixedIo::new(buf, io), ClientTls::None));
        }
        let limit = self.config.inbound.detect_timeout;
        let hello = match sniff(&mut io, &mut buf, limit, client_hello).await? {
            Sniffed::Found(hello) => hello,
            // The server speaks first, or the client only listens.
            Sniffed::Timeout if buf.is_empty() => {
                self.metrics.tls_accepted("read_timeout");
                return Ok(Accepted::Silent(PrefixedIo::new(buf, io)));
            }
            // The client may be slow: what it has said is no TLS to us.
            Sniffed::Eof | Sniffed::Timeout => None,
        };
        let io = PrefixedIo::new(buf, io);
        match hello {
            None => {
                self.metrics.tls_accepted("plaintext");
                Ok(Accepted::Plain(io, ClientTls::None))
            }
            Some(ClientHello { sni: Some(sni), .. }) if sni == self.tls.identity().as_str() => {
                let acceptor = self.tls.acceptor().map_err(|error| Error::ClientTls(error.to_string()))?;
                let started = Instant::now();
                let handshake = Box::pin(timeout(limit, acceptor.accept(io))).await;
                let result = match &handshake {
                    Ok(Ok(_)) => "established",
                    Ok(Err(_)) => "failed",
                    Err(_) => "timeout",
                };
                self.metrics.tls_handshake(result, started.elapsed());
                let io = handshake
                    .map_err(|_| Error::ClientTls(format!("handshake took longer than {limit:?}")))?
                    .map_err(|error| Error::ClientTls(error.to_string()))?;
                Ok(Accepted::Mesh(Box::new(io)))
            }
            Some(_) => {
                self.metrics.tls_accepted("passthrough");
                Ok(Accepted::Plain(io, ClientTls::Passthrough))
            }
        }
    }

    /// Serves a connection for a port of the application, by what the port speaks.
    fn serve_port<I>(
        self: &Rc<Self>,
        mut io: I,
        client: Client,
        target: SocketAddr,
        policy: PolicyReceiver,
    ) -> LocalBoxFuture<'_, Result<(), Error>>
    where
        I: AsyncRead + AsyncWrite + ResetOnClose + Unpin + Send + 'static,
    {
        if let Err(error) = self.refuse_loop(target) {
            return refused(error);
        }
        let current = Arc::clone(&policy.borrow());
        let version = match current.protocol {
            _ if client.tls == ClientTls::Passthrough => None,
            Protocol::Opaque | Protocol::Tls => None,
            Protocol::Http1(_) if !matches!(client.tls, ClientTls::Mesh(_)) => Some(Http::Http1),
            Protocol::Http2(_) | Protocol::Grpc(_) => Some(Http::Http2),
            // HTTP/1 comes as HTTP/2 from other proxies.
            Protocol::Http1(_) | Protocol::Detect { .. } => {
                let limit = match current.protocol {
                    Protocol::Detect { timeout, .. } => timeout,
                    _ => self.config.inbound.detect_timeout,
                };
                return Box::pin(async move {
                    let mut buf = BytesMut::new();
                    // Soon over.
                    let detecting = self.detect_http(&mut io, &mut buf, limit, &current, target.port());
                    let version = Box::pin(detecting).await?;
                    self.serve_as(version, PrefixedIo::new(buf, io), client, target, policy).await
                });
            }
        };
        self.serve_as(version, io, client, target, policy)
    }

    /// Serves a connection that speaks HTTP of this version, or anything.
    fn serve_as<I>(
        self: &Rc<Self>,
        version: Option<Http>,
        io: I,
        client: Client,
        target: SocketAddr,
        policy: PolicyReceiver,
    ) -> LocalBoxFuture<'_, Result<(), Error>>
    where
        I: AsyncRead + AsyncWrite + ResetOnClose + Unpin + Send + 'static,
    {
        match version {
            Some(version) => self.serve_http(io, version, client, target, policy),
            None => self.forward(io, client, target, policy),
        }
    }

    async fn detect_http<I: AsyncRead + Unpin>(
        &self,
        io: &mut I,
        buf: &mut BytesMut,
        limit: Duration,
        policy: &ServerPolicy,
        port: u16,
    ) -> Result<Option<Http>, Error> {
        let started = Instant::now();
        let found = sniff(io, buf, limit, http_preface).await;
        let (result, version) = match found.as_ref() {
            Ok(Sniffed::Found(Some(Http::Http1))) => ("http/1", Some(Http::Http1)),
            Ok(Sniffed::Found(Some(Http::Http2))) => ("http/2", Some(Http::Http2)),
            Ok(Sniffed::Found(None) | Sniffed::Eof) => ("not_http", None),
            Ok(Sniffed::Timeout) => ("read_timeout", None),
            Err(_) => ("error", None),
        };
        self.metrics.detected(result, policy, port, started.elapsed());
        found?;
        Ok(version)
    }

    /// Refuses to connect to our own listeners, which would come back here for ever.
    fn refuse_loop(&self, target: SocketAddr) -> Result<(), Error> {
        let outbound = self.config.outbound.listen.iter().map(SocketAddr::port);
        if outbound.chain([self.config.inbound.listen.port()]).any(|port| port == target.port()) {
            return Err(Error::Loop(target));
        }
        Ok(())
    }

    /// The application at `addr`, kept while it is used.
    fn app(&self, addr: SocketAddr) -> Rc<App> {
        let mut apps = self.apps.borrow_mut();
        let make = || App::new(addr, Arc::clone(&self.config), self.drain.clone());
        Rc::clone(apps.entry(addr).or_insert_with(make))
    }
}

fn refused<'a>(error: Error) -> LocalBoxFuture<'a, Result<(), Error>> {
    Box::pin(std::future::ready(Err(error)))
}

/// Closes idle connections to the application, and forgets addresses nobody asks for.
async fn sweep(inbound: Weak<Inbound>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(inbound) = inbound.upgrade() else { return };
        inbound.apps.borrow_mut().retain(|_, app| app.close_idle() || Rc::strong_count(app) > 1);
    }
}
