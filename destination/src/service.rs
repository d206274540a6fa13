//! `Get` and `GetProfile`.

use crate::hub::Hub;
use crate::index::{EndpointsView, ProfileView};
use crate::message::{self, Place};
use crate::query::{Context, QueryError, profile_query, service_query};
use futures::Stream;
use mesh_api::destination::destination_server::Destination;
use mesh_api::destination::{DestinationProfile, GetDestination, Update};
use mesh_api::server::latest;
use mesh_api::tonic::{Request, Response, Status, async_trait};
use mesh_metrics::{Gauge, GaugeFamily, Labels};
use mesh_runtime::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use tracing::debug;

pub(crate) struct Service {
    hub: Arc<Hub>,
    shutdown: Shutdown,
    streams: GaugeFamily,
}

type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

impl Service {
    pub(crate) fn new(hub: Arc<Hub>, shutdown: Shutdown, streams: GaugeFamily) -> Self {
        Self { hub, shutdown, streams }
    }

    fn draining(&self) -> impl Future<Output = ()> + Send + 'static {
        self.shutdown.token().cancelled_owned()
    }

    fn counted(&self, method: &'static str) -> Counted {
        let gauge = self.streams.get(&Labels::new().with("method", method));
        gauge.inc();
        Counted(gauge)
    }
}

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

#[async_trait]
impl Destination for Service {
    type GetStream = Messages<Update>;
    type GetProfileStream = Messages<DestinationProfile>;

    async fn get(&self, request: Request<GetDestination>) -> Result<Response<Self::GetStream>, Status> {
        let GetDestination { path, context_token, .. } = request.into_inner();
        let domain = self.hub.read(|index| index.settings().cluster_domain.clone());
        let query = service_query(&path, &domain).map_err(refused)?;
        let external = self.hub.read(|index| index.service(&query.service).map(|s| s.external_name));
        match external {
            None => return Err(Status::not_found(format!("Service {} does not exist", query.service))),
            Some(true) => {
                let text =
                    format!("Service {} is of type ExternalName, which has no endpoints", query.service);
                return Err(Status::invalid_argument(text));
            }
            Some(false) => {}
        }
        let context = Context::parse(&context_token);
        // Fixed for the stream: what is sent is the difference to what was sent, seen from the same place.
        let zone = self.hub.read(|index| index.zone_of(&context.node).map(str::to_owned));
        let place = Place { node: context.node, zone };
        debug!(path, client = context.pod, zone = ?place.zone, "get");
        let views = self.hub.endpoints(&query);
        let counted = self.counted("get");
        let stream = latest(views, self.draining(), move |sent: Option<&EndpointsView>, now| {
            let _open = &counted;
            Ok(message::updates(sent, now, &place))
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn get_profile(
        &self,
        request: Request<GetDestination>,
    ) -> Result<Response<Self::GetProfileStream>, Status> {
        let GetDestination { path, context_token, .. } = request.into_inner();
        let domain = self.hub.read(|index| index.settings().cluster_domain.clone());
        let query = profile_query(&path, &domain).map_err(refused)?;
        debug!(path, client = Context::parse(&context_token).pod, "get profile");
        let views = self.hub.profile(&query);
        let counted = self.counted("get_profile");
        let stream = latest(views, self.draining(), move |_: Option<&ProfileView>, now| {
            let _open = &counted;
            Ok(vec![message::profile(now)])
        });
        Ok(Response::new(Box::pin(stream)))
    }
}
