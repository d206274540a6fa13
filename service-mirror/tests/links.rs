//! The mirror at work between two API servers and a gateway that proves its identity.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use base64::Engine as _;
use futures::StreamExt as _;
use mesh_metrics::Registry;
use mesh_runtime::Shutdown;
use mesh_runtime::admin::AdminState;
use mesh_service_mirror::{Config, run};
use mesh_testkit::{Cluster, DeleteOptions, PatchKind, Selection, WatchEvent, eventually};
use mesh_tls::{Authority, TlsAcceptor, server_acceptor};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const GATEWAY: &str = "linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local";
const NS: &str = "linkerd-multicluster";

/// Two clusters, east linked to west, and west's gateway on loopback.
struct Pair {
    east: Cluster,
    west: Cluster,
    mirror: Shutdown,
}

impl Pair {
    async fn start() -> Pair {
        let root = Authority::new_root("root", Duration::from_secs(3600)).unwrap();
        let (east, west) = (Cluster::named("east").await.unwrap(), Cluster::named("west").await.unwrap());
        for cluster in [&east, &west] {
            for namespace in ["shop", "linkerd", NS] {
                cluster.namespace(namespace).await.unwrap();
            }
        }
        let (gateway, probe) = gateway(&root).await;
        west.create(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "linkerd-gateway", "namespace": NS},
            "spec": {"type": "LoadBalancer", "ports": [{"name": "mc-gateway", "port": gateway, "protocol": "TCP"}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}},
        }))
        .await
        .unwrap();
        prepare_east(&east, &west, &root, probe).await;
        let mirror = start_mirror(&east, "mirror-0").await;
        Pair { east, west, mirror }
    }

    async fn export(&self, name: &str, labels: Value) {
        self.export_with(name, labels.clone(), labels, json!({"app": name})).await;
    }

    async fn export_with(&self, name: &str, labels: Value, mut slice_labels: Value, selector: Value) {
        let mut service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": "shop", "labels": labels},
            "spec": {"ports": [{"name": "http", "port": 80, "protocol": "TCP", "appProtocol": "http"}]},
        });
        service["spec"]["trafficDistribution"] = "PreferClose".into();
        service["spec"]["selector"] = selector;
        self.west.create(service).await.unwrap();
        slice_labels["kubernetes.io/service-name"] = name.into();
        self.west
            .create(json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"name": format!("{name}-1"), "namespace": "shop", "labels": slice_labels},
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
                "endpoints": [{"addresses": ["10.42.0.5"], "conditions": {"ready": true}}],
            }))
            .await
            .unwrap();
    }

    async fn here(&self, resource: &str, name: &str) -> Option<Arc<Value>> {
        self.east.client().get(resource, "shop", name).ok()
    }

    async fn link(&self) -> Arc<Value> {
        self.east.client().get("links.multicluster.linkerd.io", NS, "west").unwrap()
    }

    /// The mirror's slice, once its endpoint is ready.
    async fn ready_slice(&self, name: &str) -> Arc<Value> {
        eventually("the slice is ready", || async {
            let slice = self.here("endpointslices.discovery.k8s.io", name).await?;
            (slice["endpoints"][0]["conditions"]["ready"] == true).then_some(slice)
        })
        .await
        .unwrap()
    }

    async fn stop(self) {
        assert!(self.mirror.drain(Duration::from_secs(10)).await);
    }
}

async fn start_mirror(east: &Cluster, holder: &str) -> Shutdown {
    let client = mesh_kube::connect_kubeconfig(&east.kubeconfig().unwrap()).await.unwrap();
    let shutdown = Shutdown::new();
    let config = Config {
        namespace: NS.into(),
        control_plane_namespace: "linkerd".into(),
        holder: holder.into(),
        create_namespaces: false,
    };
    let admin = AdminState::new(Arc::new(String::new), None);
    let task = run(config, client, Registry::new(), admin, shutdown.clone());
    drop(shutdown.spawn("mirror", task));
    shutdown
}

async fn prepare_east(east: &Cluster, west: &Cluster, root: &Authority, probe: u16) {
    let chart = include_str!("../../charts/isthmus-multicluster/templates/link-crd.yaml");
    let plain: Vec<&str> =
        chart.lines().filter(|l| !l.contains("{{") && !l.ends_with("  annotations:")).collect();
    let crd = plain.join("\n").replacen("  labels:\n", "", 1);
    east.create_yaml(&crd).await.unwrap();
    east.create(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "linkerd-identity-trust-roots", "namespace": "linkerd"},
        "data": {"ca-bundle.crt": root.cert_pem()},
    }))
    .await
    .unwrap();
    let kubeconfig = base64::engine::general_purpose::STANDARD.encode(west.kubeconfig().unwrap());
    east.create(json!({
        "apiVersion": "v1", "kind": "Secret", "type": "mirror.linkerd.io/remote-kubeconfig",
        "metadata": {"name": "cluster-credentials-west", "namespace": NS},
        "data": {"kubeconfig": kubeconfig},
    }))
    .await
    .unwrap();
    let link = json!({
        "apiVersion": "multicluster.linkerd.io/v1alpha3", "kind": "Link",
        "metadata": {
            "name": "west", "namespace": NS,
            "annotations": {"isthmus.dev/gateway-service": format!("{NS}/linkerd-gateway")},
        },
        "spec": {
            "targetClusterName": "west", "targetClusterDomain": "cluster.local",
            "clusterCredentialsSecret": "cluster-credentials-west", "gatewayIdentity": GATEWAY,
            "probeSpec": {"path": "/ready", "port": probe.to_string(), "period": "1s", "timeout": "2s"},
            "selector": {"matchLabels": {"mirror.linkerd.io/exported": "true"}},
            "federatedServiceSelector": {"matchLabels": {"mirror.linkerd.io/federated": "member"}},
        },
    });
    // The CRD is served a moment after it is made.
    eventually("the Link kind is served", || async { east.create(link.clone()).await.ok() }).await.unwrap();
}

/// A gateway as far as probes go: it proves its identity on one port and is ready on the other.
async fn gateway(root: &Authority) -> (u16, u16) {
    let pair = root.issue_server(&[GATEWAY], &[], Duration::from_secs(3600)).unwrap();
    let acceptor = server_acceptor(&pair, None, &[]).unwrap();
    let (gateway, probe) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let ports = (gateway.local_addr().unwrap().port(), probe.local_addr().unwrap().port());
    drop(tokio::spawn(accept_tls(gateway, acceptor)));
    drop(tokio::spawn(async move {
        while let Ok((mut stream, _)) = probe.accept().await {
            let mut seen = [0; 512];
            if stream.read(&mut seen).await.is_ok() {
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await);
            }
        }
    }));
    ports
}

async fn accept_tls(listener: TcpListener, acceptor: TlsAcceptor) {
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        drop(tokio::spawn(async move { drop(acceptor.accept(stream).await) }));
    }
}

fn exported() -> Value {
    json!({"mirror.linkerd.io/exported": "true"})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_appears_and_an_unexport_takes_it_away() {
    let pair = Pair::start().await;
    pair.export("catalog", exported()).await;
    let mirror = eventually("the mirror exists", || pair.here("services", "catalog-west")).await.unwrap();
    assert_eq!(mirror["spec"]["ports"][0]["appProtocol"], "http");
    let slice = pair.ready_slice("catalog-west").await;
    assert_eq!(slice["endpoints"][0]["addresses"][0], "127.0.0.1");
    assert_eq!(slice["metadata"]["annotations"]["mirror.linkerd.io/remote-gateway-identity"], GATEWAY);

    let unexport = json!({"metadata": {"labels": {"mirror.linkerd.io/exported": null}}});
    pair.west.client().patch("services", "shop", "catalog", "", PatchKind::Merge, unexport).await.unwrap();
    eventually("the mirror is gone", || async {
        let gone = pair.here("services", "catalog-west").await.is_none()
            && pair.here("endpointslices.discovery.k8s.io", "catalog-west").await.is_none();
        gone.then_some(())
    })
    .await
    .unwrap();
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_make_a_federated_service_with_counted_endpoints() {
    let pair = Pair::start().await;
    pair.export("catalog", json!({"mirror.linkerd.io/federated": "member"})).await;
    let service = eventually("the federated service exists", || pair.here("services", "catalog-federated"))
        .await
        .unwrap();
    assert_eq!(service["spec"]["trafficDistribution"], "PreferClose");
    let slice = eventually("the member's slice counts its endpoint", || async {
        let slice = pair.here("endpointslices.discovery.k8s.io", "catalog-federated-west").await?;
        (slice["metadata"]["annotations"]["isthmus.dev/ready-endpoints"] == "1").then_some(slice)
    })
    .await
    .unwrap();
    assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], "catalog-federated");
    pair.stop().await;
}

fn healthy(link: &Value) -> bool {
    let conditions = link["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let is_true = |t: &str| conditions.iter().any(|c| c["type"] == t && c["status"] == "True");
    ["Accepted", "CredentialsValid", "TrustEstablished", "Reachable", "Synced"].into_iter().all(is_true)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_tells_how_it_is_doing() {
    let pair = Pair::start().await;
    pair.export("catalog", exported()).await;
    let link = eventually("every condition is good and the service is listed", || async {
        let link = pair.link().await;
        let listed = link["status"]["mirrorServices"][0]["conditions"][0]["reason"] == "Mirrored";
        (healthy(&link) && listed).then_some(link)
    })
    .await
    .unwrap();
    assert_eq!(link["status"]["mirrorServices"][0]["conditions"][0]["localRef"]["name"], "catalog-west");
    assert_eq!(link["status"]["summary"]["alive"], "1/1");
    assert_eq!(link["status"]["summary"]["services"], 1);
    let address = &link["status"]["gateway"]["addresses"][0];
    assert!(address["rttP50Ms"].as_f64() <= address["rttP99Ms"].as_f64(), "{address}");
    let heard = link["status"]["lastSynced"].as_str().unwrap();
    assert!(heard.ends_with('Z') && heard.len() == "2026-11-28T12:00:00Z".len(), "{heard}");
    pair.stop().await;
}

/// What people write by hand has the labels they gave it, and not those of the Service.
#[tokio::test(flavor = "multi_thread")]
async fn endpoints_written_by_hand_need_no_label() {
    let pair = Pair::start().await;
    pair.export_with("legacy", exported(), json!({}), Value::Null).await;
    let slice = pair.ready_slice("legacy-west").await;
    assert_eq!(slice["endpoints"][0]["addresses"][0], "127.0.0.1");
    let slices = "endpointslices.discovery.k8s.io";
    pair.west.client().delete(slices, "shop", "legacy-1", &DeleteOptions::default()).await.unwrap();
    eventually("nothing is ready behind it", || async {
        let slice = pair.here(slices, "legacy-west").await?;
        (slice["endpoints"][0]["conditions"]["ready"] == false).then_some(())
    })
    .await
    .unwrap();
    pair.stop().await;
}

/// What happened to the objects of one kind while they were looked at.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<WatchEvent>>>);

impl Seen {
    fn follow(cluster: &Cluster, resource: &str) -> Self {
        let mut events = cluster.client().watch(resource, &Selection::default()).unwrap();
        let seen = Self::default();
        let told = seen.clone();
        drop(tokio::spawn(async move {
            while let Some(event) = events.next().await {
                told.0.lock().push(event);
            }
        }));
        seen
    }

    /// States of objects that were there.
    fn states(&self) -> Vec<Arc<Value>> {
        let events = self.0.lock();
        let states = events.iter().filter_map(|event| match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => Some(Arc::clone(object)),
            WatchEvent::Deleted(_) => None,
        });
        states.collect()
    }

    fn deleted(&self) -> Vec<String> {
        let events = self.0.lock();
        let names = events.iter().filter_map(|event| match event {
            WatchEvent::Deleted(object) => Some(object["metadata"]["name"].to_string()),
            WatchEvent::Added(_) | WatchEvent::Modified(_) => None,
        });
        names.collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_takes_over_leaves_no_gap() {
    let pair = Pair::start().await;
    pair.export("catalog", exported()).await;
    pair.ready_slice("catalog-west").await;
    eventually("the link is well", || async { healthy(&*pair.link().await).then_some(()) }).await.unwrap();
    let slices = Seen::follow(&pair.east, "endpointslices.discovery.k8s.io");
    let services = Seen::follow(&pair.east, "services");
    let links = Seen::follow(&pair.east, "links.multicluster.linkerd.io");

    let second = start_mirror(&pair.east, "mirror-1").await;
    assert!(pair.mirror.drain(Duration::from_secs(10)).await);
    // The second has taken over when it does what only a holder of the lease does.
    pair.export("cart", exported()).await;
    pair.ready_slice("cart-west").await;

    for state in slices.states() {
        if state["metadata"]["name"] == "catalog-west" {
            assert_eq!(state["endpoints"][0]["conditions"]["ready"], true, "{state}");
        }
    }
    assert!(services.deleted().is_empty(), "{:?}", services.deleted());
    for state in links.states() {
        assert!(healthy(&state), "{state}");
    }
    assert!(second.drain(Duration::from_secs(10)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_link_takes_its_mirrors_with_it_even_if_the_mirror_was_down() {
    let pair = Pair::start().await;
    pair.export("catalog", exported()).await;
    eventually("the mirror exists", || pair.here("services", "catalog-west")).await.unwrap();
    assert!(pair.mirror.drain(Duration::from_secs(10)).await);
    let links = "links.multicluster.linkerd.io";
    pair.east.client().delete(links, NS, "west", &DeleteOptions::default()).await.unwrap();
    assert!(pair.here("services", "catalog-west").await.is_some());
    let mirror = start_mirror(&pair.east, "mirror-0").await;
    eventually("what the link left is cleared away", || async {
        pair.here("services", "catalog-west").await.is_none().then_some(())
    })
    .await
    .unwrap();
    assert!(mirror.drain(Duration::from_secs(10)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_into_a_missing_namespace_waits_for_it() {
    let pair = Pair::start().await;
    pair.west.namespace("late").await.unwrap();
    pair.west
        .create(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "namespace": "late", "labels": exported()},
            "spec": {"ports": [{"port": 80, "protocol": "TCP"}]},
        }))
        .await
        .unwrap();
    eventually("the link says which namespace is missing", || async {
        let link = pair.link().await;
        (link["status"]["mirrorServices"][0]["conditions"][0]["reason"] == "MissingNamespace").then_some(())
    })
    .await
    .unwrap();
    pair.east.namespace("late").await.unwrap();
    eventually("the mirror exists", || async { pair.east.client().get("services", "late", "web-west").ok() })
        .await
        .unwrap();
    pair.stop().await;
}
