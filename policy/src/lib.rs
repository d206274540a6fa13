//! The policy room: tells proxies what their ports allow, and how traffic to a Service is to be sent. Kubernetes watches
//! feed a pure index of kinds; every stream sends its latest policy.

mod defaults;
#[cfg(test)]
mod fixtures;
pub mod hub;
pub mod inbound;
pub mod index;
pub mod model;
pub mod outbound;
mod problems;
pub mod query;
mod service;

pub use defaults::{DefaultPolicy, UnknownPolicy};

use hub::Hub;
use inbound::InboundSettings;
use index::{Index, Touched};
use ipnet::IpNet;
use mesh_api::inbound::inbound_server_policies_server::InboundServerPoliciesServer;
use mesh_api::outbound::outbound_policies_server::OutboundPoliciesServer;
use mesh_api::tonic::service::Routes;
use mesh_kube::k8s_openapi::api::core::v1 as core;
use mesh_kube::k8s_openapi::api::discovery::v1 as discovery;
use mesh_kube::kube::runtime::watcher;
use mesh_kube::kube::{Api, Resource};
use mesh_kube::{Change, Client, WatchState, watch};
use mesh_metrics::Registry;
use mesh_runtime::Shutdown;
use mesh_runtime::admin::AdminState;
use mesh_types::{OpaquePorts, labels};
use model::{Key, Member, Namespace, Pod, Service};
use outbound::OutboundSettings;
use problems::Problems;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::net::TcpListener;
use tracing::info;

/// Settings, named as the flags are.
#[derive(Debug, Clone)]
pub struct Config {
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// Networks of the cluster, which `cluster-…` policies allow.
    pub cluster_networks: Vec<IpNet>,
    /// The inbound policy where neither pod nor namespace has one.
    pub default_policy: DefaultPolicy,
    /// Ports that are opaque where no annotation says otherwise.
    pub default_opaque_ports: String,
    /// Networks that probes come from.
    pub probe_networks: Vec<IpNet>,
    /// Whether clients may set timeouts and retries by headers.
    pub allow_l5d_request_headers: bool,
}

/// What can go wrong in this room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The gRPC server failed.
    #[error("policy server: {0}")]
    Serve(#[from] mesh_api::tonic::transport::Error),
}

/// Serves policies on `listener` until the drain; requests are answered once all watches have listed.
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
    let default_opaque = OpaquePorts::parse(&config.default_opaque_ports);
    let inbound = InboundSettings {
        default_policy: config.default_policy,
        cluster_networks: config.cluster_networks,
        probe_networks: config.probe_networks,
        default_opaque: default_opaque.clone(),
    };
    let outbound = OutboundSettings {
        cluster_domain: config.cluster_domain,
        default_opaque,
        allow_l5d_request_headers: config.allow_l5d_request_headers,
    };
    let hub = Arc::new(Hub::new(Index::new(inbound, outbound)));
    for (at, name) in ["inbound", "outbound"].into_iter().enumerate() {
        let hub = Arc::clone(&hub);
        let name = format!("policy_{name}_subscribers");
        metrics.probe(&name, "Distinct policies listened to", move || hub.answers()[at] as f64);
    }
    let problems = Problems::start(client.clone(), &shutdown);
    let states = watch_all(&client, &hub, problems, &shutdown);
    for (state, name) in states.iter().zip(["namespaces", "pods", "services", "endpointslices"]) {
        let (state, name) = (state.clone(), format!("policy_watch_stale_seconds_{name}"));
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
    let streams = metrics.gauge("policy_streams", "Open streams by method");
    let service = service::Service::new(hub, shutdown.clone(), streams);
    let routes = Routes::new(InboundServerPoliciesServer::new(service.clone()))
        .add_service(OutboundPoliciesServer::new(service));
    Ok(mesh_api::server::serve(listener, routes, shutdown.draining()).await?)
}

/// One kind of the index: what is kept of an object, and how the index takes it.
struct Kind<K, V> {
    keep: fn(&K) -> Option<V>,
    set: fn(&mut Index, &Key, Option<V>) -> Touched,
    known: fn(&Index) -> Vec<Key>,
    /// Sees what is new before the index has it.
    before: Option<Before<K, V>>,
}

type Before<K, V> = Box<dyn Fn(&Index, &K, &V) + Send>;

fn watch_all(client: &Client, hub: &Arc<Hub>, problems: Problems, shutdown: &Shutdown) -> Vec<WatchState> {
    let states: Vec<WatchState> = (0..4).map(|_| WatchState::new()).collect();
    let everything = watcher::Config::default;
    let namespaces = Kind::<core::Namespace, _> {
        keep: |object| Some(Namespace::from_object(object)),
        set: Index::set_namespace,
        known: Index::namespaces,
        before: None,
    };
    let pods = Kind::<core::Pod, _> {
        keep: |object| Some(Pod::from_object(object)),
        set: Index::set_pod,
        known: Index::pods,
        before: None,
    };
    let services = Kind::<core::Service, _> {
        keep: |object| Some(Service::from_object(object)),
        set: Index::set_service,
        known: Index::services,
        before: Some(Box::new(move |index, object, service| problems.tell(index, object, service))),
    };
    let members = Kind::<discovery::EndpointSlice, _> {
        keep: Member::from_object,
        set: Index::set_member,
        known: Index::members,
        before: None,
    };
    let linked = everything().labels(labels::CLUSTER_NAME);
    let namespaces = follow(client, everything(), states[0].clone(), hub, namespaces);
    let pods = follow(client, everything(), states[1].clone(), hub, pods);
    let services = follow(client, everything(), states[2].clone(), hub, services);
    let members = follow(client, linked, states[3].clone(), hub, members);
    shutdown.spawn_until_drain("watch-namespaces", namespaces);
    shutdown.spawn_until_drain("watch-pods", pods);
    shutdown.spawn_until_drain("watch-services", services);
    shutdown.spawn_until_drain("watch-endpointslices", members);
    states
}

/// Watches one kind in all namespaces and keeps the index true to it.
fn follow<K, V>(
    client: &Client,
    selection: watcher::Config,
    state: WatchState,
    hub: &Arc<Hub>,
    kind: Kind<K, V>,
) -> impl Future<Output = ()> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
    V: 'static,
{
    let hub = Arc::clone(hub);
    let Kind { keep, set, known, before } = kind;
    let set_one = move |index: &mut Index, object: &K| {
        let kept = keep(object);
        if let (Some(before), Some(kept)) = (&before, &kept) {
            before(index, object, kept);
        }
        set(index, &Key::of(object.meta()), kept)
    };
    watch(Api::<K>::all(client.clone()), selection, state, move |change| match change {
        Change::Apply(object) => hub.change(|index| set_one(index, &object)),
        Change::Delete(object) => hub.change(|index| set(index, &Key::of(object.meta()), None)),
        Change::Reset(objects) => hub.change(|index| {
            let mut touched = Touched::default();
            let listed: BTreeSet<Key> = objects.iter().map(|o| Key::of(o.meta())).collect();
            for gone in known(index).iter().filter(|key| !listed.contains(key)) {
                touched.merge(set(index, gone, None));
            }
            for object in &objects {
                touched.merge(set_one(index, object));
            }
            touched
        }),
    })
}
