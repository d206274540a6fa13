//! The binary as a cluster runs it: processes against an API server, asked as proxies ask.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use anyhow::{Context as _, Result};
use mesh_api::destination::destination_client::DestinationClient;
use mesh_api::destination::{GetDestination, update};
use mesh_api::outbound::outbound_policies_client::OutboundPoliciesClient;
use mesh_api::outbound::{TrafficSpec, traffic_spec};
use mesh_api::tonic::transport::Channel;
use mesh_service_mirror::model::{Gateway, GatewayAddress, Key, LinkConfig, Port, RemoteService, Selector};
use mesh_service_mirror::objects::{member_slice, mirror_service, mirror_slice};
use mesh_testkit::{Cluster, eventually};
use mesh_tls::Authority;
use serde_json::json;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// One controller process.
struct Controller {
    child: Child,
    admin: SocketAddr,
    grpc: SocketAddr,
}

impl Controller {
    fn start(cluster: &Cluster, name: &str, addr_flag: &str) -> Result<Self> {
        let (admin, grpc) = (free_port()?, free_port()?);
        let child = Command::new(env!("CARGO_BIN_EXE_isthmus-controller"))
            .arg(name)
            .args([format!("--admin-addr={admin}"), format!("{addr_flag}={grpc}")])
            .env("KUBECONFIG", cluster.kubeconfig_path())
            .env_remove("KUBERNETES_SERVICE_HOST")
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { child, admin, grpc })
    }

    async fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.admin).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }

    async fn ready(&self, name: &str) -> Result<()> {
        let is_ready =
            || async { self.get("/ready").await.filter(|a| a.starts_with("HTTP/1.1 200")).map(|_| ()) };
        eventually(&format!("{name} to be ready"), is_ready).await
    }

    async fn channel(&self) -> Result<Channel> {
        Ok(Channel::from_shared(format!("http://{}", self.grpc))?.connect().await?)
    }

    /// Asks it to end and answers how it did.
    async fn stop(mut self) -> Result<std::process::ExitStatus> {
        let pid = self.child.id().context("it has ended before")?;
        let killed = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await?;
        anyhow::ensure!(killed.success());
        Ok(tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await??)
    }
}

/// A port that was free a moment ago.
fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

#[tokio::test]
async fn controllers_become_ready_show_metrics_and_end_well() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.namespace("linkerd").await?;
    let root = Authority::new_root("root", Duration::from_secs(3600))?;
    let issuer = root.issue_authority("issuer", Duration::from_secs(3600))?;
    cluster
        .create(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "linkerd-identity-trust-roots", "namespace": "linkerd"},
            "data": {"ca-bundle.crt": root.cert_pem()}
        }))
        .await?;
    cluster
        .create(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "linkerd-identity-issuer", "namespace": "linkerd"},
            "stringData": {"crt.pem": issuer.chain_pem(), "key.pem": issuer.key_pem()}
        }))
        .await?;
    for (name, flag, metric) in [
        ("identity", "--addr", "issuer_cert_ttl_seconds"),
        ("destination", "--addr", "destination_index_services"),
        ("policy", "--grpc-addr", "policy_inbound_subscribers"),
    ] {
        let controller = Controller::start(&cluster, name, flag)?;
        controller.ready(name).await?;
        let metrics = controller.get("/metrics").await.context("metrics")?;
        assert!(metrics.contains(metric), "{name}: {metrics}");
        let status = controller.stop().await?;
        assert!(status.success(), "{name}: {status}");
    }
    Ok(())
}

fn link() -> LinkConfig {
    LinkConfig {
        key: Key::new("linkerd-multicluster", "east"),
        cluster: "east".parse().expect("a cluster name"),
        target_domain: "cluster.local".to_owned(),
        gateway_identity:
            "linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local".to_owned(),
        exported: Selector::default(),
        federated: Selector::default(),
        excluded_annotations: Vec::new(),
        excluded_labels: Vec::new(),
        probe_period: Duration::from_secs(3),
        probe_timeout: Duration::from_secs(3),
        probe_failures: 3,
        probe_path: "/ready".to_owned(),
        probe_port: 4191,
    }
}

fn remote() -> RemoteService {
    RemoteService {
        key: Key::new("shop", "web"),
        resource_version: "7".to_owned(),
        created: "2026-01-01T00:00:00Z".to_owned(),
        labels: Default::default(),
        annotations: Default::default(),
        ports: vec![Port {
            name: "http".to_owned(),
            port: 80,
            protocol: "TCP".to_owned(),
            app_protocol: None,
        }],
        headless: false,
        external_name: false,
        traffic_distribution: Some("PreferClose".to_owned()),
        ready_endpoints: 2,
    }
}

fn gateway() -> Gateway {
    let address = GatewayAddress { ip: "198.18.1.10".parse().expect("an address"), alive: Some(true) };
    Gateway { port: 4143, addresses: vec![address], current: true }
}

/// Addresses with the authority that a gateway is asked for, as destination first tells them.
async fn endpoints(channel: &Channel, host: &str) -> Result<Vec<(String, Option<String>)>> {
    let request =
        GetDestination { path: format!("{host}.shop.svc.cluster.local:80"), ..GetDestination::default() };
    let mut stream = DestinationClient::new(channel.clone()).get(request).await?.into_inner();
    let update = stream.message().await?.and_then(|m| m.update).context("an update")?;
    let update::Update::Add(set) = update else { return Ok(Vec::new()) };
    let told = set.addrs.into_iter().map(|a| {
        let addr = SocketAddr::try_from(a.addr.expect("an address")).expect("an address");
        (addr.to_string(), a.authority_override.map(|o| o.authority_override))
    });
    Ok(told.collect())
}

#[tokio::test]
async fn what_the_service_mirror_writes_is_resolved_and_tiered() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.namespace("shop").await?;
    let (link, remote, gateway) = (link(), remote(), gateway());
    let mirror = Key::new("shop", "web-east");
    cluster.apply(mirror_service(&link, &remote, &mirror, Default::default(), Default::default())).await?;
    cluster.apply(mirror_slice(&link, &remote, &mirror, &gateway)).await?;
    let member = Key::new("shop", "web-federated-east");
    cluster.apply(member_slice(&link, &remote, &member, "web-federated", &gateway)).await?;
    cluster
        .apply(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "web-federated", "namespace": "shop",
                "labels": {"mirror.linkerd.io/federated-service": "true", "mirror.linkerd.io/mirrored-service": "true"},
            },
            "spec": {"ports": [{"name": "http", "port": 80}], "trafficDistribution": "PreferClose"}
        }))
        .await?;
    let destination = Controller::start(&cluster, "destination", "--addr")?;
    let policy = Controller::start(&cluster, "policy", "--grpc-addr")?;
    destination.ready("destination").await?;
    policy.ready("policy").await?;

    let channel = destination.channel().await?;
    let through = vec![("198.18.1.10:4143".to_owned(), Some("web.shop.svc.cluster.local:80".to_owned()))];
    for host in ["web-east", "web-federated", "east.web-federated"] {
        assert_eq!(endpoints(&channel, host).await?, through, "{host}");
    }
    assert!(endpoints(&channel, "local.web-federated").await?.is_empty());

    let target = traffic_spec::Target::Authority("web-federated.shop.svc.cluster.local:80".to_owned());
    let spec = TrafficSpec { source_workload: "default:diagnostics".to_owned(), target: Some(target) };
    let answer = OutboundPoliciesClient::new(policy.channel().await?).get(spec).await?.into_inner();
    let text = format!("{answer:?}");
    assert!(text.contains(r#"path: "east.web-federated.shop.svc.cluster.local:80""#), "{text}");
    assert!(text.contains("ConsecutiveFailures"), "{text}");
    Ok(())
}
