//! The outbound side: accept → original destination → snapshot → protocol → for each request: route, endpoint, connection,
//! send, relay, account.
//!
//! `Outbound::serve` is the path of a connection, [`Service::call`] that of a request, both top to bottom. A worker has
//! one `Outbound`; what it knows of destinations comes from [`Discovery`], which all workers share. A gateway uses the
//! same side for what its clients ask for.

mod balancer;
pub mod discovery;
pub mod endpoint;
mod http;
mod load;
pub(crate) mod metrics;
mod place;
pub mod policy;
mod tcp;
mod tls;

use http::Resolved;
pub use http::{RetrySafe, Service};

use crate::accept::{Addrs, Side};
use crate::config::Config;
use crate::drain::Drain;
use crate::error::Error;
use crate::http::client::Settings;
use crate::http::server;
use crate::metered::Metered;
use crate::shared::Shared;
use ahash::AHashMap;
use balancer::{Balancer, Common};
use bytes::BytesMut;
use discovery::{Discovery, SnapshotReceiver, Target};
use endpoint::Backend;
use futures::future::LocalBoxFuture;
use mesh_net::{Http, OriginalDst, PrefixedIo, Sniffed, SocketOptions, http as http_preface, sniff};
use metrics::{AcceptedMetrics, OutboundMetrics};
use policy::{Protocol, Snapshot};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a connection waits for the control plane's first word on its destination.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// How often idle connections and unused balancers are looked for.
const SWEEP: Duration = Duration::from_secs(2);

/// The outbound side of one worker.
pub struct Outbound {
    config: Arc<Config>,
    drain: Drain,
    discovery: Discovery,
    common: Rc<Common>,
    original_dst: OriginalDst,
    balancers: RefCell<AHashMap<usize, Rc<Balancer>>>,
    /// By the address of the snapshot, which each holds.
    resolved: RefCell<AHashMap<*const Snapshot, Rc<Resolved>>>,
    accepted: RefCell<AHashMap<SocketAddr, Rc<AcceptedMetrics>>>,
}

impl Side for Outbound {
    async fn serve(self: &Rc<Self>, tcp: TcpStream, addrs: Addrs) -> Result<(), Error> {
        self.refuse_loop(addrs)?;
        let target = addrs.target;
        let metrics = self.accepted(target);
        let mut open = metrics.connected();
        let io = Metered::new(tcp, metrics.read.clone(), metrics.written.clone());
        // Soon over.
        let recognized = Box::pin(self.recognize(io, target)).await;
        let result = match recognized {
            Ok((io, version, snapshots)) => self.serve_as(version, io, target, snapshots).await,
            Err(error) => Err(error),
        };
        if let Err(Error::Io(error)) = &result {
            open.failed(error);
        }
        result
    }

    fn failed(&self, target: SocketAddr, error: &Error) {
        self.common.metrics.tcp_error(&target.to_string(), error);
    }

    fn original_dst(&self) -> &OriginalDst {
        &self.original_dst
    }
}

impl Outbound {
    /// The outbound side of a worker; must be made within its runtime.
    pub fn new(shared: &Shared, discovery: Discovery, original_dst: OriginalDst) -> Rc<Self> {
        let outbound = &shared.config.outbound;
        let settings = Settings {
            tls: shared.tls.clone(),
            drain: shared.drain.clone(),
            connect_timeout: outbound.connect_timeout,
            sockets: SocketOptions {
                keepalive: outbound.sockets.connect_keepalive,
                user_timeout: outbound.sockets.connect_user_timeout,
            },
            pool_idle_timeout: outbound.http.pool_idle_timeout,
            max_idle_per_endpoint: outbound.http.max_idle_per_endpoint,
            h2_stream_window: outbound.http.h2_stream_window,
            h2_connection_window: outbound.http.h2_connection_window,
        };
        let outbound = Rc::new(Self {
            config: Arc::clone(&shared.config),
            drain: shared.drain.clone(),
            common: Rc::new(Common {
                settings: Rc::new(settings),
                metrics: OutboundMetrics::new(&shared.registry),
                load: Arc::clone(discovery.load()),
            }),
            discovery,
            original_dst,
            balancers: RefCell::default(),
            resolved: RefCell::default(),
            accepted: RefCell::default(),
        });
        tokio::task::spawn_local(sweep(Rc::downgrade(&outbound)));
        outbound
    }

    /// A connection that was not redirected, or that was going to us, would come back here for ever.
    fn refuse_loop(&self, Addrs { local, target, .. }: Addrs) -> Result<(), Error> {
        let ours = self.config.outbound.listen.iter().map(SocketAddr::port);
        for port in ours.chain([local.port()]) {
            if mesh_net::is_own_address(target, local.ip(), port) {
                return Err(Error::Loop(target));
            }
        }
        Ok(())
    }

    /// What a connection speaks: HTTP of a version, or anything.
    async fn recognize(
        &self,
        mut io: Metered<TcpStream>,
        target: SocketAddr,
    ) -> Result<(PrefixedIo<Metered<TcpStream>>, Option<Http>, SnapshotReceiver), Error> {
        let mut snapshots = self.discovery.target(Target::Addr(target));
        let snapshot = first(&mut snapshots, DISCOVERY_TIMEOUT).await.ok_or(Error::Undiscovered(target))?;
        let mut buf = BytesMut::new();
        let version = match &snapshot.protocol {
            Protocol::Opaque(_) | Protocol::Tls(_) => None,
            Protocol::Http1(_) => Some(Http::Http1),
            Protocol::Http2(_) => Some(Http::Http2),
            Protocol::Detect { timeout, .. } => self.detect(&mut io, &mut buf, *timeout, &snapshot).await?,
        };
        Ok((PrefixedIo::new(buf, io), version, snapshots))
    }

    fn serve_as(
        self: &Rc<Self>,
        version: Option<Http>,
        io: PrefixedIo<Metered<TcpStream>>,
        target: SocketAddr,
        snapshots: SnapshotReceiver,
    ) -> LocalBoxFuture<'_, Result<(), Error>> {
        let Some(version) = version else { return self.forward(io, snapshots) };
        let service = self.service(version, target.to_string(), snapshots);
        server::serve(io, version, &self.config.outbound.http, service, &self.drain)
    }

    async fn detect(
        &self,
        io: &mut Metered<TcpStream>,
        buf: &mut BytesMut,
        limit: Duration,
        snapshot: &Arc<Snapshot>,
    ) -> Result<Option<Http>, Error> {
        let began = Instant::now();
        let (result, version) = match sniff(io, buf, limit, http_preface).await? {
            Sniffed::Found(Some(Http::Http1)) => ("http/1", Some(Http::Http1)),
            Sniffed::Found(Some(Http::Http2)) => ("http/2", Some(Http::Http2)),
            Sniffed::Found(None) | Sniffed::Eof => ("not_http", None),
            Sniffed::Timeout => ("read_timeout", None),
        };
        self.resolved(snapshot).parent.detected(result, began.elapsed());
        Ok(version)
    }

    /// What answers the requests of one connection to a destination.
    pub fn service(self: &Rc<Self>, version: Http, name: String, snapshots: SnapshotReceiver) -> Rc<Service> {
        if let Some(snapshot) = &*snapshots.borrow() {
            let protocol = if version == Http::Http1 { "http/1" } else { "http/2" };
            self.resolved(snapshot).parent.protocol(protocol);
        }
        Service::new(Rc::clone(self), version, name, snapshots)
    }

    /// What the control plane says about a service by its name, as a gateway needs it.
    pub fn discover(&self, name: mesh_types::Authority) -> SnapshotReceiver {
        self.discovery.target(Target::Name(name))
    }

    /// The drain signal of the proxy.
    pub fn drain(&self) -> &Drain {
        &self.drain
    }

    /// The series of connections to `target`, kept while it is used.
    fn accepted(&self, target: SocketAddr) -> Rc<AcceptedMetrics> {
        let mut accepted = self.accepted.borrow_mut();
        Rc::clone(accepted.entry(target).or_insert_with(|| Rc::new(self.common.metrics.accepted(target))))
    }

    /// What is resolved of a snapshot, kept while connections use it.
    fn resolved(&self, snapshot: &Arc<Snapshot>) -> Rc<Resolved> {
        let mut all = self.resolved.borrow_mut();
        let make = || Resolved::of(snapshot, &self.common.metrics);
        Rc::clone(all.entry(Arc::as_ptr(snapshot)).or_insert_with(make))
    }

    fn balancer(&self, backend: &Arc<Backend>) -> Rc<Balancer> {
        let mut balancers = self.balancers.borrow_mut();
        let make = || Balancer::new(backend, Rc::clone(&self.common));
        Rc::clone(balancers.entry(backend.id).or_insert_with(make))
    }
}

/// The first word on a destination, if it comes in time.
pub async fn first(snapshots: &mut SnapshotReceiver, limit: Duration) -> Option<Arc<Snapshot>> {
    let known = timeout(limit, snapshots.wait_for(Option::is_some)).await.ok()?.ok()?;
    known.clone()
}

/// Resolves, with the reason, once a destination is forbidden.
pub async fn forbidden(snapshots: &mut SnapshotReceiver) -> String {
    refused(snapshots, |snapshot| snapshot.forbidden().map(ToOwned::to_owned)).await
}

/// Resolves, with the reason, once a destination `refuses` what is open.
async fn refused<R>(snapshots: &mut SnapshotReceiver, refuses: impl Fn(&Snapshot) -> Option<R>) -> R {
    loop {
        let reason = snapshots.borrow_and_update().as_deref().and_then(&refuses);
        if let Some(reason) = reason {
            return reason;
        }
        if snapshots.changed().await.is_err() {
            // Discovery has ended with the proxy: what was allowed stays so.
            return std::future::pending().await;
        }
    }
}

async fn sweep(outbound: Weak<Outbound>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(outbound) = outbound.upgrade() else { return };
        // What no connection uses is looked up again by the next one.
        outbound.resolved.borrow_mut().retain(|_, resolved| Rc::strong_count(resolved) > 1);
        outbound.accepted.borrow_mut().retain(|_, accepted| Rc::strong_count(accepted) > 1);
        let mut balancers = outbound.balancers.borrow_mut();
        balancers.retain(|_, balancer| !balancer.is_orphan());
        for balancer in balancers.values() {
            balancer.sweep();
        }
    }
}
