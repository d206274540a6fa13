//! The room as proxies see it: a gRPC server over the API server of a test cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use anyhow::{Context as _, Result};
use mesh_api::destination::destination_client::DestinationClient;
use mesh_api::destination::{GetDestination, Update, update};
use mesh_api::tonic::transport::Channel;
use mesh_api::tonic::{Code, Streaming};
use mesh_destination::{Config, run};
use mesh_metrics::Registry;
use mesh_runtime::Shutdown;
use mesh_runtime::admin::AdminState;
use mesh_testkit::Cluster;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(20);

struct Room {
    cluster: Cluster,
    client: DestinationClient<Channel>,
    shutdown: Shutdown,
}

impl Room {
    async fn start() -> Result<Self> {
        let cluster = Cluster::start().await?;
        cluster.namespace("shop").await?;
        let connection =
            mesh_kube::Connection { kubeconfig: Some(cluster.kubeconfig_path()), ..Default::default() };
        let kube = mesh_kube::connect(&connection).await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shutdown = Shutdown::new();
        let config = Config {
            controller_namespace: "linkerd".to_owned(),
            identity_trust_domain: "cluster.local".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            default_opaque_ports: "3306".to_owned(),
            enable_h2_upgrade: true,
        };
        let admin = AdminState::new(Arc::new(String::new), None);
        let draining = shutdown.clone();
        shutdown.spawn("room", async move {
            run(config, kube, listener, &Registry::new(), admin, draining).await.expect("serves");
        });
        Ok(Self { cluster, client: DestinationClient::connect(url).await?, shutdown })
    }

    async fn get(&self, path: &str) -> Result<Streaming<Update>, mesh_api::tonic::Status> {
        let request = GetDestination { path: path.to_owned(), ..GetDestination::default() };
        let answer = tokio::time::timeout(PATIENCE, self.client.clone().get(request)).await;
        Ok(answer.expect("an answer in time")?.into_inner())
    }

    async fn web(&self) -> Result<()> {
        self.cluster
            .create(json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
                "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
            }))
            .await?;
        Ok(())
    }

    async fn endpoints(&self, addresses: &[&str]) -> Result<()> {
        let endpoints: Vec<Value> =
            addresses.iter().map(|a| json!({"addresses": [a], "conditions": {"ready": true}})).collect();
        self.cluster
            .apply(json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
                "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
                "endpoints": endpoints
            }))
            .await?;
        Ok(())
    }
}

async fn next(stream: &mut Streaming<Update>) -> Result<update::Update> {
    let message = tokio::time::timeout(PATIENCE, stream.message()).await??;
    message.context("the stream ended")?.update.context("an empty update")
}

#[tokio::test]
async fn a_stream_follows_endpoints_as_they_come_and_go() -> Result<()> {
    let room = Room::start().await?;
    room.web().await?;
    // The Service's event may be a moment away.
    let mut stream = mesh_testkit::eventually("the service to be known", || async {
        room.get("web.shop.svc.cluster.local:80").await.ok()
    })
    .await?;
    assert!(matches!(next(&mut stream).await?, update::Update::NoEndpoints(none) if none.exists));
    room.endpoints(&["10.42.0.1", "10.42.0.2"]).await?;
    assert!(matches!(next(&mut stream).await?, update::Update::Add(set) if set.addrs.len() == 2));
    room.endpoints(&["10.42.0.2"]).await?;
    assert!(matches!(next(&mut stream).await?, update::Update::Remove(set) if set.addrs.len() == 1));
    room.cluster.client().delete("services", "shop", "web", &Default::default()).await?;
    assert!(matches!(next(&mut stream).await?, update::Update::NoEndpoints(none) if !none.exists));
    assert!(room.shutdown.drain(Duration::from_secs(5)).await, "open streams end with the drain");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_resolved_is_refused_by_its_kind() -> Result<()> {
    let room = Room::start().await?;
    let code = async |path: &str| room.get(path).await.err().map(|s| s.code());
    assert_eq!(code("10.43.0.1:80").await, Some(Code::InvalidArgument));
    assert_eq!(code("example.com:80").await, Some(Code::InvalidArgument));
    assert_eq!(code("none.shop.svc.cluster.local:80").await, Some(Code::NotFound));
    Ok(())
}

#[tokio::test]
async fn a_profile_of_a_cluster_ip_names_its_service() -> Result<()> {
    let room = Room::start().await?;
    room.web().await?;
    let service = room.cluster.client().get("services", "shop", "web")?;
    let ip = service["spec"]["clusterIP"].as_str().context("a cluster IP")?;
    let request = GetDestination { path: format!("{ip}:80"), ..GetDestination::default() };
    let mut stream = room.client.clone().get_profile(request).await?.into_inner();
    // Until the Service's event arrives the address is a stranger's; then the stream says so by itself.
    loop {
        let profile = tokio::time::timeout(PATIENCE, stream.message()).await??.context("the stream ended")?;
        if !profile.fully_qualified_name.is_empty() {
            assert_eq!(profile.fully_qualified_name, "web.shop.svc.cluster.local");
            return Ok(());
        }
    }
}
