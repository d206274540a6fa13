//! A connection's path through a gateway: is the name ours? → may it be reached? → the outbound side.

use crate::requests::Requests;
use crate::{forwarded, name};
use futures::future::LocalBoxFuture;
use mesh_metrics::CounterFamily;
use mesh_net::{Http, SessionProtocol};
use mesh_proxy::config::Config;
use mesh_proxy::http::server;
use mesh_proxy::inbound::{Carrier, DirectConnection, DirectHandler};
use mesh_proxy::outbound::{self, Outbound};
use mesh_proxy::shared::Shared;
use mesh_proxy::{Error, GatewayFactory};
use mesh_types::{Authority, Identity};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How long a client waits for the control plane's word on a service.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// The gateway of one worker.
struct Gateway {
    config: Arc<Config>,
    suffixes: Vec<String>,
    identity: Identity,
    outbound: Rc<Outbound>,
    errors: CounterFamily,
}

/// Makes the gateways of a proxy's workers; `None` where the configuration asks for none.
pub fn factory(config: &Config) -> Option<GatewayFactory> {
    let suffixes = config.gateway.as_ref()?.suffixes.clone();
    Some(Box::new(move |shared: &Shared, sides| {
        Rc::new(Gateway {
            config: Arc::clone(&shared.config),
            suffixes: suffixes.clone(),
            identity: shared.tls.identity().clone(),
            outbound: Rc::clone(&sides.outbound),
            errors: shared.registry.counter("inbound_http_errors", "HTTP requests that failed in the proxy"),
        })
    }))
}

impl DirectHandler for Gateway {
    fn serve<'a>(self: Rc<Self>, connection: DirectConnection<'a>) -> LocalBoxFuture<'a, Result<(), Error>> {
        Box::pin(async move { self.connection(connection).await })
    }
}

impl Gateway {
    async fn connection(&self, connection: DirectConnection<'_>) -> Result<(), Error> {
        let DirectConnection { carrier, client_id, header, drain, .. } = connection;
        // A gateway forwards to its own cluster's endpoints only: what another gateway sends here is transit, and what
        // we send ourselves a loop.
        let known = self.config.inbound.gateways.contains(&client_id);
        if known || name::is_gateway(&client_id) || client_id == self.identity {
            return Err(Error::GatewayLoop);
        }
        let host = header.name.unwrap_or_default();
        if !name::is_ours(&host, &self.suffixes) {
            return Err(Error::GatewayDomain(host));
        }
        let authority = Authority { host, port: header.port };
        let mut snapshots = self.outbound.discover(authority.clone());
        let known = outbound::first(&mut snapshots, DISCOVERY_TIMEOUT).await;
        let (io, version) = match (carrier, header.protocol) {
            (_, None) if known.is_none() => return Err(Error::NoEndpoints(authority.to_string().into())),
            (Carrier::Own(io), None) => return self.outbound.forward(io, snapshots).await,
            (Carrier::Stream(stream), _) => return self.outbound.forward(stream, snapshots).await,
            (Carrier::Own(io), Some(SessionProtocol::Http1)) => (io, Http::Http1),
            (Carrier::Own(io), Some(SessionProtocol::Http2)) => (io, Http::Http2),
        };
        let requests = Rc::new(Requests {
            element: forwarded::element(&self.identity, &client_id, &authority),
            gateway: self.identity.clone(),
            client: client_id,
            service: self.outbound.service(version, authority.to_string(), snapshots.clone()),
            authority,
            errors: self.errors.clone(),
        });
        // A service that is forbidden from the start gets its 403; open streams are cut when access is withdrawn.
        let refused = known.is_some_and(|snapshot| snapshot.forbidden().is_some());
        tokio::select! {
            result = server::serve(io, version, &self.config.inbound.http, requests, &drain) => result,
            reason = outbound::forbidden(&mut snapshots), if !refused => Err(Error::Forbidden(reason.into())),
        }
    }
}
