//! The control plane of a bed, in this process: identity, policy and destination services of the proxy API, on
//! loopback of both namespaces, where proxies speak to it in plaintext.

mod identity;
mod inbound;
mod outbound;

use crate::{Netns, Trust};
use anyhow::Result;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use mesh_api::destination::destination_server::{Destination, DestinationServer};
use mesh_api::destination::{DestinationProfile, GetDestination, Update};
use mesh_api::identity::identity_server::IdentityServer;
use mesh_api::inbound::inbound_server_policies_server::{InboundServerPolicies, InboundServerPoliciesServer};
use mesh_api::inbound::{PortSpec, Server};
use mesh_api::net::TcpAddress;
use mesh_api::outbound::outbound_policies_server::{OutboundPolicies, OutboundPoliciesServer};
use mesh_api::outbound::{OutboundPolicy, TrafficSpec, traffic_spec};
use mesh_api::tonic::service::Routes;
use mesh_api::tonic::{self, Request, Response, Status};
use mesh_api::trust::trust_server::TrustServer;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Where it listens, on loopback.
pub(crate) const PORT: u16 = 8086;
/// Ports that are opaque.
const OPAQUE: std::ops::RangeInclusive<u16> = 9000..=9099;

/// An endpoint: address, port, identity.
type Endpoint = (Ipv4Addr, u16, &'static str);

/// When proxies were certified.
#[derive(Clone, Debug, Default)]
pub struct Times(Arc<Mutex<HashMap<String, Instant>>>);

impl Times {
    /// When the last certificate of this name was issued.
    pub fn certified(&self, name: &str) -> Option<Instant> {
        self.0.lock().get(name).copied()
    }
}

/// The running control plane.
#[derive(Clone)]
pub struct Control {
    state: Arc<State>,
    /// When it certified whom.
    pub times: Times,
}

struct State {
    identity: identity::Identities,
    /// Destination paths by the address they are reached at, in the order they are tried.
    services: Mutex<HashMap<(IpAddr, u16), Vec<String>>>,
    served: Mutex<Served>,
    endpoints: Mutex<HashMap<String, watch::Sender<Arc<Vec<Endpoint>>>>>,
}

/// The threads that serve, and what ends them.
#[derive(Default)]
struct Served {
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

impl Control {
    /// Serves in every one of these namespaces.
    pub(crate) fn start(trust: &Trust, namespaces: &[&Netns]) -> Result<Self> {
        let state = State {
            identity: identity::Identities::new(trust)?,
            services: Mutex::default(),
            served: Mutex::default(),
            endpoints: Mutex::default(),
        };
        let this = Self { state: Arc::new(state), times: Times::default() };
        for netns in namespaces {
            this.serve_in(netns)?;
        }
        Ok(this)
    }

    /// Serves in a namespace, too, or again after [`Control::stop`].
    ///
    /// # Errors
    /// When its port is taken, or no thread can be made.
    pub fn serve_in(&self, netns: &Netns) -> Result<()> {
        let listener = netns.run(|| -> Result<TcpListener> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })??;
        let service = self.clone();
        let mut served = self.state.served.lock();
        let stop = served.stop.clone();
        served.threads.push(netns.spawn(move || async move {
            let mut routes = Routes::default();
            routes = routes.add_service(IdentityServer::new(service.clone()));
            routes = routes.add_service(TrustServer::new(service.clone()));
            routes = routes.add_service(InboundServerPoliciesServer::new(service.clone()));
            routes = routes.add_service(OutboundPoliciesServer::new(service.clone()));
            routes = routes.add_service(DestinationServer::new(service));
            if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                let serve = mesh_api::server::serve(listener, routes, std::future::pending());
                // What it has started ends with its runtime: connections break.
                drop(stop.run_until_cancelled(serve).await);
            }
        })?);
        Ok(())
    }

    /// Ends in all namespaces, as a control plane does that is gone: connections break, and new ones are refused.
    pub fn stop(&self) {
        let Served { stop, threads } = std::mem::take(&mut *self.state.served.lock());
        stop.cancel();
        for thread in threads {
            // One that has panicked serves no more either.
            drop(thread.join());
        }
    }

    /// Makes an address a service with the endpoints of a destination path.
    pub fn publish(&self, ip: Ipv4Addr, port: u16, path: &str) {
        self.publish_tiers(ip, port, &[path]);
    }

    /// Makes an address a service with failover: each path is a tier, and the first that has endpoints in good standing
    /// is taken.
    pub fn publish_tiers(&self, ip: Ipv4Addr, port: u16, paths: &[&str]) {
        let paths = paths.iter().map(|&path| path.to_owned()).collect();
        self.state.services.lock().insert((ip.into(), port), paths);
    }

    /// Sets the endpoints of a destination path; proxies are told the difference.
    pub fn set_endpoints(&self, path: &str, endpoints: Vec<(Ipv4Addr, u16, &'static str)>) {
        self.endpoints(path).send_replace(Arc::new(endpoints));
    }

    fn endpoints(&self, path: &str) -> watch::Sender<Arc<Vec<Endpoint>>> {
        self.state.endpoints.lock().entry(path.to_owned()).or_default().clone()
    }

    fn service_at(&self, ip: IpAddr, port: u32) -> Option<(Vec<String>, u16)> {
        let port = u16::try_from(port).ok()?;
        self.state.services.lock().get(&(ip, port)).map(|paths| (paths.clone(), port))
    }
}

#[tonic::async_trait]
impl InboundServerPolicies for Control {
    type WatchPortStream = BoxStream<'static, Result<Server, Status>>;

    async fn get_port(&self, spec: Request<PortSpec>) -> Result<Response<Server>, Status> {
        Ok(Response::new(inbound::server(spec.into_inner().port)))
    }

    async fn watch_port(&self, spec: Request<PortSpec>) -> Result<Response<Self::WatchPortStream>, Status> {
        let server = inbound::server(spec.into_inner().port);
        Ok(Response::new(Box::pin(futures::stream::iter([Ok(server)]).chain(futures::stream::pending()))))
    }
}

#[tonic::async_trait]
impl OutboundPolicies for Control {
    type WatchStream = BoxStream<'static, Result<OutboundPolicy, Status>>;

    async fn get(&self, spec: Request<TrafficSpec>) -> Result<Response<OutboundPolicy>, Status> {
        self.policy_of(spec.into_inner()).map(Response::new)
    }

    async fn watch(&self, spec: Request<TrafficSpec>) -> Result<Response<Self::WatchStream>, Status> {
        let policy = self.policy_of(spec.into_inner())?;
        Ok(Response::new(Box::pin(futures::stream::iter([Ok(policy)]).chain(futures::stream::pending()))))
    }
}

impl Control {
    fn policy_of(&self, spec: TrafficSpec) -> Result<OutboundPolicy, Status> {
        let Some(traffic_spec::Target::Addr(TcpAddress { ip: Some(ip), port })) = spec.target else {
            return Err(Status::not_found("this control plane knows addresses only"));
        };
        let ip = IpAddr::try_from(ip).map_err(|e| Status::invalid_argument(e.to_string()))?;
        let found = self.service_at(ip, port);
        let (paths, port) = found.ok_or_else(|| Status::not_found(format!("{ip}:{port} is no service")))?;
        Ok(if OPAQUE.contains(&port) { outbound::opaque(&paths) } else { outbound::detected(&paths) })
    }
}

#[tonic::async_trait]
impl Destination for Control {
    type GetStream = BoxStream<'static, Result<Update, Status>>;
    type GetProfileStream = BoxStream<'static, Result<DestinationProfile, Status>>;

    async fn get(&self, request: Request<GetDestination>) -> Result<Response<Self::GetStream>, Status> {
        let path = request.into_inner().path;
        let opaque = path.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let opaque = opaque.is_some_and(|port| OPAQUE.contains(&port));
        let mut sent: Arc<Vec<Endpoint>> = Arc::default();
        let mut states = self.endpoints(&path).subscribe();
        states.mark_changed();
        let states = futures::stream::unfold(states, |mut states| async move {
            states.changed().await.ok()?;
            let state = states.borrow_and_update().clone();
            Some((state, states))
        });
        let updates = states.map(move |wanted| {
            let difference = outbound::difference(&sent, &wanted, opaque);
            sent = wanted;
            futures::stream::iter(difference.into_iter().map(|update| Ok(Update { update: Some(update) })))
        });
        Ok(Response::new(Box::pin(updates.flatten())))
    }

    async fn get_profile(
        &self,
        request: Request<GetDestination>,
    ) -> Result<Response<Self::GetProfileStream>, Status> {
        let asked: Option<std::net::SocketAddr> = request.into_inner().path.parse().ok();
        let found = asked.and_then(|address| self.service_at(address.ip(), address.port().into()));
        let profile = found.map_or_else(DestinationProfile::default, |(paths, port)| {
            let path = paths.first().map_or("", String::as_str);
            let name = path.split(':').next().unwrap_or_default().to_owned();
            let opaque_protocol = OPAQUE.contains(&port);
            DestinationProfile {
                fully_qualified_name: name,
                opaque_protocol,
                ..DestinationProfile::default()
            }
        });
        Ok(Response::new(Box::pin(futures::stream::iter([Ok(profile)]).chain(futures::stream::pending()))))
    }
}
