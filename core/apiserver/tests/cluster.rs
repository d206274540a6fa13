//! What a fresh cluster holds, what its owner can do with it, and what is handed to whoever runs the pods.
#![allow(clippy::expect_used)] // what fails in a helper fails the test

use futures::StreamExt;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use mesh_apiserver::{Body, Config, PodStreams, StreamKind, full};
use mesh_testkit::{Cluster, Selection, WatchEvent};
use serde_json::{Value, json};
use std::sync::Arc;

/// Answers every stream with its kind and its query.
struct Echo;

impl PodStreams for Echo {
    fn serve(
        &self,
        kind: StreamKind,
        pod: Arc<Value>,
        request: Request<mesh_apiserver::RequestBody>,
    ) -> BoxFuture<'static, Response<Body>> {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let query = request.uri().query().unwrap_or_default().to_owned();
        Box::pin(async move { Response::new(full(format!("{kind:?} {name} {query}"))) })
    }
}

#[tokio::test]
async fn pod_streams_are_handed_over_after_authorization() {
    let config = Config { pod_streams: Some(Arc::new(Echo)), ..Config::default() };
    let cluster = Cluster::with(config).await.expect("a cluster");
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "default", "name": "web"},
        "spec": {"containers": [{"name": "web", "image": "isthmus/demo:0.1.0"}]}});
    cluster.create(pod).await.expect("created");
    let http = cluster.http().expect("a client");
    let path = "/api/v1/namespaces/default/pods/web";
    let log = http.get(&format!("{path}/log?follow=true")).await.expect("answered");
    assert_eq!(log.text, "Log web follow=true");
    let exec = http.post(&format!("{path}/exec?command=ls"), &Value::Null).await.expect("answered");
    assert_eq!(exec.text, "Exec web command=ls");
    let missing = http.get("/api/v1/namespaces/default/pods/other/log").await.expect("answered");
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    let stranger = cluster.http_as("eve", &[]).expect("a client");
    let refused = stranger.get(&format!("{path}/log")).await.expect("answered");
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.text.contains("pods/log"), "{}", refused.text);
}

#[tokio::test]
async fn an_eviction_asks_the_budget_first() {
    let cluster = Cluster::start().await.expect("a cluster");
    let labels = json!({"app": "web"});
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "default", "name": "web", "labels": labels},
        "spec": {"containers": [{"name": "web", "image": "isthmus/demo:0.1.0"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"namespace": "default", "name": "web"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": labels}}, "status": {"disruptionsAllowed": 0,
            "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}});
    cluster.create(pod).await.expect("created");
    cluster.create(budget).await.expect("created");
    let http = cluster.http().expect("a client");
    let path = "/api/v1/namespaces/default/pods/web/eviction";
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web"}});
    let refused = http.post(path, &eviction).await.expect("answered");
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{}", refused.text);
    http.delete("/apis/policy/v1/namespaces/default/poddisruptionbudgets/web", &Value::Null)
        .await
        .expect("answered");
    assert_eq!(http.post(path, &eviction).await.expect("answered").status, StatusCode::CREATED);
    let gone = http.get("/api/v1/namespaces/default/pods/web").await.expect("answered");
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_api_server_is_a_service_of_its_own_cluster() {
    let cluster = Cluster::start().await.expect("a cluster");
    let service = cluster.client().get("services", "default", "kubernetes").expect("the service");
    assert_eq!(service["spec"]["clusterIP"], "10.43.0.1");
    let slice =
        cluster.client().get("endpointslices.discovery.k8s.io", "default", "kubernetes").expect("the slice");
    let port = u64::from(cluster.handle().addresses()[0].port());
    assert_eq!(slice["ports"][0]["port"], port);
}

#[tokio::test]
async fn cluster_info_is_open_to_everybody_and_nothing_beside_it() {
    let cluster = Cluster::start().await.expect("a cluster");
    cluster.handle().publish_cluster_info("https://198.18.1.2:6443");
    let nobody = cluster.http_with_token(None).expect("a client");
    let info = nobody.get("/api/v1/namespaces/kube-public/configmaps/cluster-info").await.expect("answered");
    let kubeconfig = info.json["data"]["kubeconfig"].as_str().expect("a kubeconfig").to_owned();
    assert!(kubeconfig.contains("server: https://198.18.1.2:6443"), "{kubeconfig}");
    let other =
        nobody.get("/api/v1/namespaces/kube-public/configmaps/kube-root-ca.crt").await.expect("answered");
    assert_eq!(other.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn an_in_process_reader_that_falls_behind_still_sees_every_final_state() {
    let cluster = Cluster::start().await.expect("a cluster");
    let selection = Selection { labels: "app".into(), ..Selection::namespace("default") };
    let map = |name: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"namespace": "default", "name": name, "labels": {"app": "x"}}})
    };
    cluster.create(map("a")).await.expect("created");
    cluster.create(map("b")).await.expect("created");
    let mut watch = cluster.client().watch("configmaps", &selection).expect("a watch");
    for _ in 0..2 {
        assert!(matches!(watch.next().await, Some(WatchEvent::Added(_))));
    }
    cluster
        .client()
        .delete("configmaps", "default", "a", &mesh_testkit::DeleteOptions::default())
        .await
        .expect("deleted");
    cluster.create(map("c")).await.expect("created");
    cluster.handle().compact();
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.push(match watch.next().await {
            Some(WatchEvent::Added(o)) => format!("added {}", o["metadata"]["name"]),
            Some(WatchEvent::Deleted(o)) => format!("deleted {}", o["metadata"]["name"]),
            other => format!("{other:?}"),
        });
    }
    seen.sort();
    assert_eq!(seen, ["added \"c\"", "deleted \"a\""]);
}

#[tokio::test]
async fn watches_end_when_their_kind_is_no_longer_served_and_when_the_server_stops() {
    let cluster = Cluster::start().await.expect("a cluster");
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    cluster.create(definition).await.expect("defined");
    let http = cluster.http().expect("a client");
    let mut widgets = http.watch("/apis/example.com/v1/widgets?watch=true").await.expect("a watch");
    let mut nodes = http.watch("/api/v1/nodes?watch=true").await.expect("a watch");
    http.delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com", &Value::Null)
        .await
        .expect("answered");
    assert!(widgets.next().await.expect("an end").is_none());
    cluster.handle().shutdown();
    assert!(nodes.next().await.expect("an end").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writers_lose_nothing_and_share_nothing() {
    let cluster = Arc::new(Cluster::start().await.expect("a cluster"));
    let counter = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": "default", "name": "counter"}, "data": {"count": "0"}});
    cluster.create(counter).await.expect("created");
    let writers = (0..8).map(|writer| {
        let cluster = cluster.clone();
        tokio::spawn(async move {
            let client = cluster.client();
            for round in 0..10 {
                loop {
                    let mut map = (*client.get("configmaps", "default", "counter").expect("the counter")).clone();
                    let count: u32 = map["data"]["count"].as_str().expect("a count").parse().expect("a number");
                    map["data"]["count"] = (count + 1).to_string().into();
                    // Between reading and writing, others get their turn.
                    tokio::task::yield_now().await;
                    match client.update("configmaps", map).await {
                        Ok(_) => break,
                        Err(error) => assert_eq!(error.code(), StatusCode::CONFLICT, "{error}"),
                    }
                }
                let service = json!({"metadata": {"namespace": "default", "name": format!("s{writer}-{round}")},
                    "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
                client.create("services", service).await.expect("created");
            }
        })
    });
    futures::future::try_join_all(writers).await.expect("no writer panics");
    let counter = cluster.client().get("configmaps", "default", "counter").expect("the counter");
    assert_eq!(counter["data"]["count"], "80");
    let (services, _) = cluster.client().list("services", &Selection::namespace("default")).expect("listed");
    let distinct = |pointer: &str| {
        let values = services.iter().filter_map(|s| s.pointer(pointer)).map(Value::to_string);
        values.collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!((distinct("/spec/clusterIP"), distinct("/spec/ports/0/nodePort")), (81, 80));
}
