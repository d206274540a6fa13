//! The destination room: tells proxies where a Service's endpoints are, who they are and what they speak. Kubernetes
//! watches feed a pure index; every stream sends its latest answer against what it last sent.

#[cfg(test)]
mod fixtures;
pub mod hub;
pub mod index;
pub mod message;
pub mod model;
pub mod query;
mod service;

use hub::Hub;
use index::{Index, Settings, Touched};
use mesh_api::destination::destination_server::DestinationServer;
use mesh_api::tonic::service::Routes;
use mesh_kube::k8s_openapi::api::core::v1 as core;
use mesh_kube::k8s_openapi::api::discovery::v1 as discovery;
use mesh_kube::kube::runtime::watcher;
use mesh_kube::kube::{Api, Resource};
use mesh_kube::{Change, Client, WatchState, watch};
use mesh_metrics::Registry;
use mesh_runtime::Shutdown;
use mesh_runtime::admin::AdminState;
use mesh_types::OpaquePorts;
use model::{Key, Pod, Service, Slice};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::net::TcpListener;
use tracing::info;

/// Settings, named as the flags are.
#[derive(Debug, Clone)]
pub struct Config {
    /// Namespace of the control plane.
    pub controller_namespace: String,
    /// Trust domain of identities.
    pub identity_trust_domain: String,
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// Ports that are opaque where no annotation says otherwise.
    pub default_opaque_ports: String,
    /// Whether meshed endpoints are said to take HTTP/2.
    pub enable_h2_upgrade: bool,
}

/// What can go wrong in this room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The gRPC server failed.
    #[error("destination server: {0}")]
    Serve(#[from] mesh_api::tonic::transport::Error),
}

/// Serves destination on `listener` until the drain; requests are answered once all watches have listed.
///
/// # Errors
/// [`Error::Serve`].
pub async fn run(
    config: Config,
    client: Client,
    listener: TcpListener,
    metrics: &Registry,
    admin: AdminState,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let hub = Arc::new(Hub::new(Settings {
        control_plane_namespace: config.controller_namespace,
        trust_domain: config.identity_trust_domain,
        cluster_domain: config.cluster_domain,
        default_opaque: OpaquePorts::parse(&config.default_opaque_ports),
        h2_upgrade: config.enable_h2_upgrade,
    }));
    register(metrics, &hub);
    let states = watch_all(&client, &hub, &shutdown);
    for (state, name) in states.iter().zip(["services", "endpointslices", "pods"]) {
        let (state, name) = (state.clone(), format!("destination_watch_stale_seconds_{name}"));
        let help = "Time since the watch last worked; zero while it does";
        metrics.probe(&name, help, move || state.stale_for().as_secs_f64());
    }
    // A client that connects earlier waits in the listener's backlog and is never told half of the truth.
    tokio::select! {
        () = mesh_kube::synced(&states) => {}
        () = shutdown.draining() => return Ok(()),
    }
    info!("all watches have listed");
    admin.set_ready(true);
    let streams = metrics.gauge("destination_streams", "Open streams by method");
    let service = service::Service::new(hub, shutdown.clone(), streams);
    let routes = Routes::new(DestinationServer::new(service));
    Ok(mesh_api::server::serve(listener, routes, shutdown.draining()).await?)
}

fn register(metrics: &Registry, hub: &Arc<Hub>) {
    for (at, name) in ["services", "endpoint_slices", "pods"].into_iter().enumerate() {
        let hub = Arc::clone(hub);
        let name = format!("destination_index_{name}");
        metrics.probe(&name, "Objects in the index", move || hub.read(|i| i.sizes()[at] as f64));
    }
    for (at, name) in ["endpoints", "profile"].into_iter().enumerate() {
        let hub = Arc::clone(hub);
        let name = format!("{name}_subscribers");
        metrics.probe(&name, "Distinct answers listened to", move || hub.answers()[at] as f64);
    }
}

fn watch_all(client: &Client, hub: &Arc<Hub>, shutdown: &Shutdown) -> Vec<WatchState> {
    let states = vec![WatchState::new(), WatchState::new(), WatchState::new()];
    let services = follow::<core::Service, Service>(
        client,
        states[0].clone(),
        hub,
        |object| Some(Service::from_object(object)),
        Index::set_service,
        Index::reset_services,
    );
    let slices = follow::<discovery::EndpointSlice, Slice>(
        client,
        states[1].clone(),
        hub,
        Slice::from_object,
        Index::set_slice,
        Index::reset_slices,
    );
    let pods = follow::<core::Pod, Pod>(
        client,
        states[2].clone(),
        hub,
        |object| Some(Pod::from_object(object)),
        Index::set_pod,
        Index::reset_pods,
    );
    shutdown.spawn_until_drain("watch-services", services);
    shutdown.spawn_until_drain("watch-endpointslices", slices);
    shutdown.spawn_until_drain("watch-pods", pods);
    states
}

/// Watches one kind in all namespaces, keeping of each object what `keep` makes of it.
fn follow<K, V>(
    client: &Client,
    state: WatchState,
    hub: &Arc<Hub>,
    keep: fn(&K) -> Option<V>,
    set: fn(&mut Index, &Key, Option<V>) -> Touched,
    reset: fn(&mut Index, BTreeMap<Key, V>) -> Touched,
) -> impl Future<Output = ()> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
    V: 'static,
{
    let hub = Arc::clone(hub);
    watch(Api::<K>::all(client.clone()), watcher::Config::default(), state, move |change| match change {
        Change::Apply(object) => hub.change(|index| set(index, &Key::of(object.meta()), keep(&object))),
        Change::Delete(object) => hub.change(|index| set(index, &Key::of(object.meta()), None)),
        Change::Reset(objects) => {
            let all = objects.iter().filter_map(|o| Some((Key::of(o.meta()), keep(o)?)));
            hub.change(|index| reset(index, all.collect()));
        }
    })
}
