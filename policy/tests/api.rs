//! The room as proxies see it: a gRPC server over the API server of a test cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use anyhow::{Context as _, Result};
use mesh_api::inbound::inbound_server_policies_client::InboundServerPoliciesClient;
use mesh_api::inbound::{PortSpec, Server};
use mesh_api::outbound::outbound_policies_client::OutboundPoliciesClient;
use mesh_api::outbound::{OutboundPolicy, TrafficSpec, traffic_spec};
use mesh_api::tonic::transport::Channel;
use mesh_api::tonic::{Code, Status, Streaming};
use mesh_metrics::Registry;
use mesh_policy::{Config, DefaultPolicy, run};
use mesh_runtime::Shutdown;
use mesh_runtime::admin::AdminState;
use mesh_testkit::{Cluster, Selection, eventually};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(20);

struct Room {
    cluster: Cluster,
    inbound: InboundServerPoliciesClient<Channel>,
    outbound: OutboundPoliciesClient<Channel>,
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
        let config = Config {
            cluster_domain: "cluster.local".to_owned(),
            cluster_networks: vec!["10.0.0.0/8".parse()?],
            default_policy: DefaultPolicy::AllUnauthenticated,
            default_opaque_ports: "3306".to_owned(),
            probe_networks: vec!["0.0.0.0/0".parse()?],
            allow_l5d_request_headers: false,
        };
        let admin = AdminState::new(Arc::new(String::new), None);
        tokio::spawn(async move {
            run(config, kube, listener, &Registry::new(), admin, Shutdown::new()).await.expect("serves");
        });
        Ok(Self {
            cluster,
            inbound: InboundServerPoliciesClient::connect(url.clone()).await?,
            outbound: OutboundPoliciesClient::connect(url).await?,
        })
    }

    async fn pod(&self, name: &str, notes: Value) -> Result<()> {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop", "annotations": notes},
            "spec": {"containers": [{"name": "c", "image": "c"}]}
        });
        self.cluster.create(pod).await?;
        Ok(())
    }

    async fn web(&self, labels: Value) -> Result<()> {
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop", "labels": labels},
            "spec": {"ports": [{"name": "http", "port": 80}]}
        });
        self.cluster.apply(service).await?;
        Ok(())
    }

    async fn watch(&self, source: &str) -> Result<Streaming<OutboundPolicy>, Status> {
        let target = traffic_spec::Target::Authority("web.shop.svc.cluster.local:80".to_owned());
        let spec = TrafficSpec { source_workload: source.to_owned(), target: Some(target) };
        Ok(self.outbound.clone().watch(spec).await?.into_inner())
    }
}

async fn next<M>(stream: &mut Streaming<M>) -> Result<M> {
    tokio::time::timeout(PATIENCE, stream.message()).await??.context("the stream ended")
}

fn port(pod: &str) -> PortSpec {
    PortSpec { workload: json!({"ns": "shop", "pod": pod}).to_string(), port: 80 }
}

fn name(server: &Server) -> &str {
    &server.labels["name"]
}

#[tokio::test]
async fn an_inbound_stream_follows_the_annotation_of_the_namespace() -> Result<()> {
    let room = Room::start().await?;
    room.pod("web", json!({})).await?;
    let mut stream = room.inbound.clone().watch_port(port("web")).await?.into_inner();
    assert_eq!(name(&next(&mut stream).await?), "all-unauthenticated");
    room.cluster
        .apply(json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "shop", "annotations": {"config.linkerd.io/default-inbound-policy": "deny"}}
        }))
        .await?;
    assert_eq!(name(&next(&mut stream).await?), "deny");
    let got = room.inbound.clone().get_port(port("web")).await?.into_inner();
    assert_eq!(name(&got), "deny");
    Ok(())
}

#[tokio::test]
async fn a_proxy_may_ask_before_its_pods_event_has_arrived() -> Result<()> {
    let room = Room::start().await?;
    let mut client = room.inbound.clone();
    let early = tokio::spawn(async move { client.get_port(port("late")).await });
    room.pod("late", json!({})).await?;
    assert_eq!(name(&early.await??.into_inner()), "all-unauthenticated");
    Ok(())
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused_by_their_kind() -> Result<()> {
    let room = Room::start().await?;
    let code = async |spec: PortSpec| room.inbound.clone().get_port(spec).await.err().map(|s| s.code());
    assert_eq!(code(PortSpec { port: 0, ..port("web") }).await, Some(Code::InvalidArgument));
    assert_eq!(code(PortSpec { port: 70_000, ..port("web") }).await, Some(Code::InvalidArgument));
    assert_eq!(
        code(PortSpec { workload: "nonsense".to_owned(), port: 80 }).await,
        Some(Code::InvalidArgument)
    );
    assert_eq!(code(port("nobody")).await, Some(Code::NotFound));
    assert_eq!(room.watch("shop:nobody").await.err().map(|s| s.code()), Some(Code::NotFound));
    Ok(())
}

#[tokio::test]
async fn a_gateway_is_told_when_an_export_is_withdrawn_and_when_the_service_goes() -> Result<()> {
    let room = Room::start().await?;
    room.pod("gateway", json!({"config.linkerd.io/enable-gateway": "true"})).await?;
    room.web(json!({"mirror.linkerd.io/exported": "true"})).await?;
    let mut stream =
        eventually("the service", || async { room.watch(r#"{"ns":"shop","pod":"gateway"}"#).await.ok() })
            .await?;
    let refused = |policy: &OutboundPolicy| format!("{policy:?}").contains("is not exported");
    assert!(!refused(&next(&mut stream).await?));
    room.web(json!({})).await?;
    assert!(refused(&next(&mut stream).await?));
    assert!(!refused(&next(&mut room.watch("shop:client").await?).await?), "others are not concerned");
    room.cluster.client().delete("services", "shop", "web", &Default::default()).await?;
    let end = tokio::time::timeout(PATIENCE, stream.message()).await?;
    assert_eq!(end.err().map(|s| s.code()), Some(Code::NotFound));
    Ok(())
}

#[tokio::test]
async fn an_annotation_that_cannot_be_read_is_an_event_on_its_service() -> Result<()> {
    let room = Room::start().await?;
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop", "annotations": {
            "timeout.linkerd.io/request": "1.5s", "retry.linkerd.io/http": "5xx"
        }},
        "spec": {"ports": [{"name": "http", "port": 80}]}
    });
    room.cluster.apply(service).await?;
    let told = || async {
        let (events, _) = room.cluster.client().list("events", &Selection::namespace("shop")).ok()?;
        let text = events.iter().map(ToString::to_string).collect::<String>();
        (text.contains("AnnotationIgnored") && text.contains("timeout.linkerd.io/request")).then_some(text)
    };
    let text = eventually("the event", told).await?;
    assert!(text.contains("such as 500ms or 10s"), "the remedy is told: {text}");
    let policy = next(&mut room.watch("shop:client").await?).await?;
    assert!(format!("{policy:?}").contains("status_ranges: [StatusRange"), "the rest counts: {policy:?}");
    Ok(())
}
