//! `InboundServerPolicies` and `OutboundPolicies`.

use crate::hub::{Hub, InboundQuery, OutboundQuery, Views};
use crate::index::Destination;
use crate::query::{self, QueryError};
use futures::Stream;
use mesh_api::inbound::inbound_server_policies_server::InboundServerPolicies;
use mesh_api::inbound::{PortSpec, Server};
use mesh_api::outbound::outbound_policies_server::OutboundPolicies;
use mesh_api::outbound::traffic_spec::Target;
use mesh_api::outbound::{OutboundPolicy, TrafficSpec};
use mesh_api::server::latest;
use mesh_api::tonic::{Request, Response, Status, async_trait};
use mesh_metrics::{Gauge, GaugeFamily, Labels};
use mesh_runtime::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tracing::debug;

/// A proxy starts a moment after its pod appears; its pod's event should be here by then.
const POD_PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub(crate) struct Service {
    hub: Arc<Hub>,
    shutdown: Shutdown,
    streams: GaugeFamily,
}

type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// Counts a stream for as long as it lives.
struct Counted(Gauge);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn refused(error: QueryError) -> Status {
    Status::invalid_argument(error.to_string())
}

impl Service {
    pub(crate) fn new(hub: Arc<Hub>, shutdown: Shutdown, streams: GaugeFamily) -> Self {
        Self { hub, shutdown, streams }
    }

    async fn inbound_query(&self, spec: PortSpec) -> Result<InboundQuery, Status> {
        let pod = query::workload(&spec.workload).map_err(refused)?;
        let port = query::port(spec.port).map_err(refused)?;
        // A pod that stays unknown is answered with what is known: not found.
        drop(tokio::time::timeout(POD_PATIENCE, self.hub.known(&pod)).await);
        Ok((pod, port))
    }

    /// A gateway must never be answered as if it were an ordinary client, so who asks by name has to be known.
    async fn outbound_query(&self, spec: TrafficSpec) -> Result<OutboundQuery, Status> {
        let target = spec.target.ok_or_else(|| refused(QueryError::Target))?;
        let destination = match target {
            Target::Addr(addr) => {
                let addr = addr.try_into().map_err(|e| refused(QueryError::Address(format!("{e}"))))?;
                Destination::Addr(addr)
            }
            Target::Authority(name) => {
                let domain = self.hub.read(|index| index.cluster_domain().to_owned());
                query::authority(&name, &domain).map_err(refused)?
            }
        };
        let source = query::workload(&spec.source_workload).ok();
        let mut gateway = false;
        if let Some(pod) = source {
            // Proxies name themselves in JSON; diagnostics write a pod that need not exist.
            if matches!(destination, Destination::Name { .. }) && spec.source_workload.starts_with('{') {
                drop(tokio::time::timeout(POD_PATIENCE, self.hub.known(&pod)).await);
            }
            gateway = self.hub.read(|index| index.pod(&pod).is_some_and(|p| p.gateway));
        }
        debug!(?destination, source = spec.source_workload, gateway, "outbound policy");
        Ok((destination, gateway))
    }

    fn stream<M>(&self, views: Views<M>, method: &'static str, missing: String) -> Messages<M>
    where
        M: Clone + Send + Sync + 'static,
    {
        let gauge = self.streams.get(&Labels::new().with("method", method));
        gauge.inc();
        let counted = Counted(gauge);
        let draining = self.shutdown.token().cancelled_owned();
        Box::pin(latest(views, draining, move |_, now: &Option<M>| {
            let _open = &counted;
            Ok(vec![now.clone().ok_or_else(|| Status::not_found(missing.clone()))?])
        }))
    }
}

fn missing_pod((pod, _): &InboundQuery) -> String {
    format!("pod {pod} does not exist")
}

fn missing_service((destination, _): &OutboundQuery) -> String {
    match destination {
        Destination::Addr(addr) => format!("{addr} is no Service's address"),
        Destination::Name { service, .. } => format!("Service {service} does not exist"),
    }
}

#[async_trait]
impl InboundServerPolicies for Service {
    type WatchPortStream = Messages<Server>;

    async fn get_port(&self, request: Request<PortSpec>) -> Result<Response<Server>, Status> {
        let query = self.inbound_query(request.into_inner()).await?;
        let server = self.hub.read(|index| index.inbound(&query.0, query.1));
        server.map(Response::new).ok_or_else(|| Status::not_found(missing_pod(&query)))
    }

    async fn watch_port(
        &self,
        request: Request<PortSpec>,
    ) -> Result<Response<Self::WatchPortStream>, Status> {
        let query = self.inbound_query(request.into_inner()).await?;
        let views = self.hub.inbound(&query);
        if views.borrow().is_none() {
            return Err(Status::not_found(missing_pod(&query)));
        }
        Ok(Response::new(self.stream(views, "watch_port", missing_pod(&query))))
    }
}

#[async_trait]
impl OutboundPolicies for Service {
    type WatchStream = Messages<OutboundPolicy>;

    async fn get(&self, request: Request<TrafficSpec>) -> Result<Response<OutboundPolicy>, Status> {
        let query = self.outbound_query(request.into_inner()).await?;
        let policy = self.hub.read(|index| index.outbound(&query.0, query.1));
        policy.map(Response::new).ok_or_else(|| Status::not_found(missing_service(&query)))
    }

    async fn watch(&self, request: Request<TrafficSpec>) -> Result<Response<Self::WatchStream>, Status> {
        let query = self.outbound_query(request.into_inner()).await?;
        let views = self.hub.outbound(&query);
        if views.borrow().is_none() {
            return Err(Status::not_found(missing_service(&query)));
        }
        Ok(Response::new(self.stream(views, "watch", missing_service(&query))))
    }
}
