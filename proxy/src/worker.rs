//! One worker: a thread, a runtime, listeners, and both sides of the proxy.

use crate::accept::Acceptor;
use crate::config::Sockets;
use crate::error::Error;
use crate::inbound::policies::Policies;
use crate::inbound::{DirectHandler, Inbound};
use crate::outbound::Outbound;
use crate::outbound::discovery::Discovery;
use crate::shared::Shared;
use mesh_metrics::{Labels, Registry};
use mesh_net::{OriginalDst, SocketOptions};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions, RuntimeMetrics};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Makes what takes direct connections that name a service, once for each worker.
pub type GatewayFactory = Box<dyn Fn(&Shared, &Sides) -> Rc<dyn DirectHandler> + Send + Sync>;

/// What a worker has besides the gateway.
pub struct Sides {
    /// The outbound side, which a gateway sends on what it takes.
    pub outbound: Rc<Outbound>,
}

/// A worker that was not started yet.
pub(crate) struct Worker {
    pub(crate) shared: Shared,
    pub(crate) policies: Policies,
    pub(crate) discovery: Discovery,
    pub(crate) gateway: Option<Arc<GatewayFactory>>,
    pub(crate) inbound_dst: OriginalDst,
    pub(crate) outbound_dst: OriginalDst,
    pub(crate) certified: watch::Receiver<bool>,
    pub(crate) stop_accepting: CancellationToken,
    pub(crate) end: CancellationToken,
}

impl Worker {
    /// Starts the thread; `started` is told once the listeners are open, and again if the worker fails.
    pub(crate) fn spawn(
        self,
        index: usize,
        started: mpsc::UnboundedSender<Result<(), Error>>,
    ) -> Result<JoinHandle<()>, Error> {
        let body = move || {
            let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
            let result = match runtime {
                Ok(runtime) => {
                    observe(&self.shared.registry, index, runtime.handle().metrics());
                    runtime.block_on(self.run(index, &started))
                }
                Err(error) => Err(Error::Start { what: "worker runtime", reason: error.to_string() }),
            };
            if let Err(error) = result {
                // Nobody listens only when the proxy is stopping anyway.
                let _ = started.send(Err(error));
            }
        };
        std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(body)
            .map_err(|error| Error::Start { what: "worker thread", reason: error.to_string() })
    }

    async fn run(
        mut self,
        index: usize,
        started: &mpsc::UnboundedSender<Result<(), Error>>,
    ) -> Result<(), Error> {
        let config = Arc::clone(&self.shared.config);
        let inbound_listener = open("inbound listener", config.inbound.listen, &config.inbound.sockets)?;
        let outbound_listeners = config
            .outbound
            .listen
            .iter()
            .map(|addr| open("outbound listener", *addr, &config.outbound.sockets))
            .collect::<Result<Vec<_>, _>>()?;
        let _ = started.send(Ok(()));

        let sides = Sides { outbound: Outbound::new(&self.shared, self.discovery, self.outbound_dst) };
        let gateway = self.gateway.as_ref().map(|make| make(&self.shared, &sides));
        let inbound = Inbound::new(&self.shared, self.policies, self.inbound_dst, gateway);
        // Without a certificate there is nothing to serve with; connections wait in the backlog.
        tokio::select! {
            _ = self.certified.wait_for(|certified| *certified) => {}
            () = self.end.cancelled() => return Ok(()),
        }
        let (stop, shared) = (self.stop_accepting, &self.shared);
        let acceptor = |listener, direction| Acceptor::new(listener, direction, index, shared);
        tokio::task::spawn_local(acceptor(inbound_listener, "inbound").run(stop.clone(), inbound));
        for listener in outbound_listeners {
            let outbound = Rc::clone(&sides.outbound);
            tokio::task::spawn_local(acceptor(listener, "outbound").run(stop.clone(), outbound));
        }
        self.end.cancelled().await;
        Ok(())
    }
}

/// What the runtime says of a worker, read at every scrape.
fn observe(registry: &Registry, index: usize, metrics: RuntimeMetrics) {
    let labels = Labels::from_iter([("worker", index.to_string())]);
    let (tasks, busy, parks) = (metrics.clone(), metrics.clone(), metrics);
    #[allow(clippy::cast_precision_loss)]
    registry.labelled_probe(
        "isthmus_worker_tasks",
        "Tasks of a worker that have not ended",
        &labels,
        move || tasks.num_alive_tasks() as f64,
    );
    let help = "Time a worker was not waiting for something to do";
    registry.labelled_counter_probe("isthmus_worker_busy_seconds", help, &labels, move || {
        busy.worker_total_busy_duration(0).as_secs_f64()
    });
    #[allow(clippy::cast_precision_loss)]
    registry.labelled_counter_probe(
        "isthmus_worker_parks",
        "How often a worker had nothing to do",
        &labels,
        move || parks.worker_park_count(0) as f64,
    );
}

fn open(what: &'static str, addr: SocketAddr, sockets: &Sockets) -> Result<TcpListener, Error> {
    let options =
        SocketOptions { keepalive: sockets.accept_keepalive, user_timeout: sockets.accept_user_timeout };
    mesh_net::listen(addr, sockets.backlog, &options)
        .map_err(|error| Error::Start { what, reason: format!("{addr}: {error}") })
}
