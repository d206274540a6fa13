//! One cluster: API server, controllers, packet rules, DNS and node, on a runtime whose threads live in the cluster's
//! network namespace.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use mesh_apiserver::{ApiServer, Config, Handle, LocalClient, Selection, WatchEvent};
use parking_lot::RwLock;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::controllers::load_balancer::AddressPool;
use crate::controllers::{self, Exposed, object};
use crate::dns;
use crate::error::Error;
use crate::kubeconfig::Access;
use crate::network::ClusterNetwork;
use crate::node::{Node, NodeConfig};
use crate::services::{self, Addresses};
use crate::streaming::{Pods, Streams};

/// Name of the one node of a cluster, after the cluster's.
const NODE_SUFFIX: &str = "-node";
/// DNS zone of every cluster.
pub(crate) const CLUSTER_DOMAIN: &str = "cluster.local";
/// Longest wait for the node to become Ready.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// Where the API server listens on the node's address.
pub(crate) const API_PORT: u16 = 6443;

/// What a cluster is started from.
pub(crate) struct Blueprint {
    /// Cluster name.
    pub(crate) name: String,
    /// Its place on the WAN, from 1.
    pub(crate) index: u8,
    /// Its namespace and addresses.
    pub(crate) network: ClusterNetwork,
    /// Listener in the host's network namespace, on loopback.
    pub(crate) host_listener: TcpListener,
    /// Where images' binaries are looked for.
    pub(crate) bin_dirs: Vec<PathBuf>,
    /// The node's working directory.
    pub(crate) run_dir: PathBuf,
}

/// A running cluster.
pub(crate) struct Cluster {
    /// Cluster name.
    pub(crate) name: String,
    /// `https://127.0.0.1:…`, for the host.
    pub(crate) server: String,
    /// Where the API server listens inside the cluster's namespace.
    pub(crate) listeners: Vec<SocketAddrV4>,
    /// In-process access to the API.
    pub(crate) client: LocalClient,
    /// The pods the node runs.
    pub(crate) pods: Arc<dyn Pods>,
    /// Its addresses and namespace.
    pub(crate) network: ClusterNetwork,
    /// Addresses for load balancers.
    pub(crate) pool: AddressPool,
    api: Handle,
    stopped: AtomicBool,
}

impl Cluster {
    /// Starts a cluster and waits until its node is Ready. Must run in the cluster's network namespace.
    ///
    /// # Errors
    /// When a listener, the API server or the node does not come up.
    pub(crate) async fn start(blueprint: Blueprint, token: CancellationToken) -> Result<Self, Error> {
        let Blueprint { name, index, network, host_listener, bin_dirs, run_dir } = blueprint;
        let host_address =
            host_listener.local_addr().map_err(|source| system("read the listener's address", source))?;
        let listeners = vec![
            SocketAddrV4::new(network.net().node_ip(), API_PORT),
            SocketAddrV4::new(network.net().api_ip(), 443),
        ];
        let mut sockets = vec![host_listener];
        for address in &listeners {
            sockets.push(listen(*address)?);
        }
        let streams = Arc::new(Streams::default());
        let config = Config {
            record: crate::requests::recorder(&name)?,
            ..api_config(&name, &network, sockets, streams.clone())
        };
        let api = ApiServer::start(config)
            .await
            .map_err(|error| Error::Api { cluster: name.clone(), reason: error.to_string() })?;
        let client = api.client("system:sandbox", &["system:masters"]);
        // As kubeadm does: how the cluster is reached from elsewhere, without credentials.
        api.publish_cluster_info(&format!("https://{}:{API_PORT}", network.net().node_ip()));
        create_dns_service(&name, &client, &network).await?;
        let pool = AddressPool::of_cluster(index);
        run_services(&client, &network, pool, &token).await?;
        let config = NodeConfig {
            client: client.clone(),
            network: network.clone(),
            bin_dirs,
            cluster_domain: CLUSTER_DOMAIN.to_owned(),
            name: format!("{name}{NODE_SUFFIX}"),
            run_dir,
        };
        let pods: Arc<dyn Pods> = Arc::new(Node::start(config, &token)?);
        streams.attach(pods.clone());
        tokio::time::timeout(READY_WITHIN, node_ready(&client)).await.map_err(|_| {
            Error::Supervisor(format!("node of cluster {name} not Ready after {READY_WITHIN:?}"))
        })?;
        let server = format!("https://{host_address}");
        Ok(Self {
            name,
            server,
            listeners,
            client,
            pods,
            network,
            pool,
            api,
            stopped: AtomicBool::new(false),
        })
    }

    /// How the host reaches the cluster as administrator.
    ///
    /// # Errors
    /// When the certificate cannot be issued.
    pub(crate) fn access(&self) -> Result<Access, Error> {
        let issued = self.api.issue_client_cert("kubernetes-admin", &["system:masters"]);
        let pair =
            issued.map_err(|error| Error::Api { cluster: self.name.clone(), reason: error.to_string() })?;
        Ok(Access {
            name: self.name.clone(),
            server: self.server.clone(),
            ca_pem: self.api.ca_pem(),
            certificate: pair.cert_pem,
            key: pair.key_pem,
        })
    }

    /// Notes whether a fault keeps the API from being reached, and cuts who is still connected.
    pub(crate) fn set_stopped(&self, stopped: bool) {
        if stopped {
            self.api.cut_connections();
        }
        self.stopped.store(stopped, Ordering::Relaxed);
    }

    /// Does a fault keep the API from being reached?
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Stops serving the API.
    pub(crate) fn stop(&self) {
        self.api.shutdown();
    }
}

fn system(action: &str, source: std::io::Error) -> Error {
    Error::System { action: action.to_owned(), source }
}

/// A listener in the namespace of the calling thread.
fn listen(address: SocketAddrV4) -> Result<TcpListener, Error> {
    let failed = |source| Error::Listen { what: "API server", address: address.to_string(), source };
    let listener = TcpListener::bind(SocketAddr::from(address)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

fn api_config(
    name: &str,
    network: &ClusterNetwork,
    listeners: Vec<TcpListener>,
    streams: Arc<Streams>,
) -> Config {
    let net = network.net();
    Config {
        cluster_name: name.to_owned(),
        listeners,
        service_cidr: net.service_cidr,
        cluster_domain: CLUSTER_DOMAIN.to_owned(),
        advertised: vec![SocketAddr::from((net.node_ip(), API_PORT))],
        pod_streams: Some(streams),
        ..Config::default()
    }
}

/// The Service by which cluster DNS is known; its address is listened on directly.
async fn create_dns_service(
    cluster: &str,
    client: &LocalClient,
    network: &ClusterNetwork,
) -> Result<(), Error> {
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "namespace": "kube-system", "name": "kube-dns",
            "labels": { "k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true" },
        },
        "spec": {
            "clusterIP": network.net().dns_ip(),
            "ports": [
                { "name": "dns", "port": 53, "protocol": "UDP" },
                { "name": "dns-tcp", "port": 53, "protocol": "TCP" },
            ],
        },
    });
    let created = client.create("services", service).await;
    created.map(drop).map_err(|error| Error::Api { cluster: cluster.to_owned(), reason: error.to_string() })
}

/// Starts the controllers and what is fed by them: the packet rules and DNS.
async fn run_services(
    client: &LocalClient,
    network: &ClusterNetwork,
    pool: AddressPool,
    token: &CancellationToken,
) -> Result<(), Error> {
    let (sender, exposed) = watch::channel(Arc::new(Exposed::default()));
    tokio::spawn(controllers::run(client.clone(), pool, sender, token.clone()));
    let addresses = Addresses {
        node: network.net().node_ip(),
        services: network.net().service_cidr,
        external: network.net().external(),
    };
    tokio::spawn(services::program(addresses, exposed.clone(), token.clone()));
    let index: dns::SharedIndex =
        Arc::new(RwLock::new(Arc::new(dns::index_of(CLUSTER_DOMAIN, &Exposed::default()))));
    let server = dns::serve(network.net().dns_ip(), index.clone()).await?;
    tokio::spawn(dns::follow(CLUSTER_DOMAIN, index, exposed, server, token.clone()));
    Ok(())
}

async fn node_ready(client: &LocalClient) {
    if let Ok(mut nodes) = client.watch("nodes", &Selection::default()) {
        while let Some(event) = nodes.next().await {
            if let WatchEvent::Added(node) | WatchEvent::Modified(node) = event
                && object::is_true(&node, "Ready")
            {
                return;
            }
        }
    }
    std::future::pending::<()>().await;
}

/// The next address of a pool that no Service holds, after the one given up.
pub(crate) fn another_address<'a>(
    pool: AddressPool,
    given_up: Ipv4Addr,
    services: impl Iterator<Item = &'a Value>,
) -> Option<Ipv4Addr> {
    let held: Vec<Ipv4Addr> = services
        .flat_map(|service| object::items(service, "/status/loadBalancer/ingress"))
        .filter_map(|ingress| object::text(ingress, "/ip").parse().ok())
        .collect();
    let free = |address: &Ipv4Addr| *address != given_up && !held.contains(address);
    pool.addresses()
        .skip_while(|address| *address <= given_up)
        .find(free)
        .or_else(|| pool.addresses().find(free))
}
