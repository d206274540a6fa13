//! The controllers against the real API server, with a node that makes every pod ready at once.

use super::*;
use mesh_apiserver::{ApiServer, Config, Handle, PatchKind, Selection, WatchEvent};
use serde_json::{Value, json};

struct Bed {
    api: Handle,
    client: LocalClient,
    exposed: watch::Receiver<Arc<Exposed>>,
    token: CancellationToken,
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.token.cancel();
        self.api.shutdown();
    }
}

async fn bed() -> Bed {
    let api = ApiServer::start(Config::default()).await.unwrap();
    let client = api.client("test", &["system:masters"]);
    let (sender, exposed) = watch::channel(Arc::default());
    let token = CancellationToken::new();
    tokio::spawn(run(client.clone(), AddressPool::of_cluster(1), sender, token.clone()));
    tokio::spawn(token.clone().run_until_cancelled_owned(fake_node(client.clone())));
    client.create("namespaces", json!({ "metadata": { "name": "shop" } })).await.unwrap();
    Bed { api, client, exposed, token }
}

async fn fake_node(client: LocalClient) {
    let mut pods = client.watch("pods", &Selection::default()).unwrap();
    let mut next = 1;
    while let Some(event) = pods.next().await {
        let (WatchEvent::Added(pod) | WatchEvent::Modified(pod)) = event else { continue };
        let (namespace, name) = (object::namespace(&pod), object::name(&pod));
        if object::is_deleting(&pod) {
            let now = mesh_apiserver::DeleteOptions { grace_period_seconds: Some(0), ..Default::default() };
            let _ = client.delete("pods", namespace, name, &now).await;
        } else if object::text(&pod, "/status/podIP").is_empty() {
            next += 1;
            let status = json!({ "status": {
                "phase": "Running", "podIP": format!("10.42.0.{next}"), "podIPs": [{ "ip": format!("10.42.0.{next}") }],
                "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" }],
            } });
            let _ = client.patch("pods", namespace, name, "status", PatchKind::Merge, status).await;
        }
    }
}

async fn until(
    client: &LocalClient,
    resource: &str,
    name: &str,
    reached: impl Fn(&Value) -> bool,
) -> Arc<Value> {
    let mut changes = client.watch(resource, &Selection::namespace("shop")).unwrap();
    let waiting = async {
        loop {
            let (WatchEvent::Added(object) | WatchEvent::Modified(object)) = changes.next().await.unwrap()
            else {
                continue;
            };
            if object::name(&object).starts_with(name) && reached(&object) {
                return object;
            }
        }
    };
    match tokio::time::timeout(Duration::from_secs(10), waiting).await {
        Ok(object) => object,
        Err(_) => panic!("{resource} {name}: {:#?}", client.list(resource, &Selection::namespace("shop"))),
    }
}

fn deployment(image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "namespace": "shop", "name": "web" },
        "spec": {
            "replicas": 3, "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "main", "image": image, "ports": [{ "name": "http", "containerPort": 8080 }] }] },
            },
        },
    })
}

fn is_rolled_out(revision: &'static str) -> impl Fn(&Value) -> bool {
    move |object| {
        object::annotation(object, "deployment.kubernetes.io/revision") == Some(revision)
            && object::int(object, "/status/observedGeneration") == Some(object::generation(object))
            && object::int(object, "/status/updatedReplicas") == Some(3)
            && object::int(object, "/status/replicas") == Some(3)
            && object::int(object, "/status/availableReplicas") == Some(3)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_rolls_out_updates_and_rolls_back_against_the_real_api() {
    let bed = bed().await;
    bed.client.create("deployments.apps", deployment("a")).await.unwrap();
    until(&bed.client, "deployments.apps", "web", is_rolled_out("1")).await;
    for (image, revision) in [("b", "2"), ("a", "3")] {
        let patch = json!({ "spec": { "template": { "spec": { "containers": [
            { "name": "main", "image": image, "ports": [{ "name": "http", "containerPort": 8080 }] } ] } } } });
        bed.client.patch("deployments.apps", "shop", "web", "", PatchKind::Merge, patch).await.unwrap();
        until(&bed.client, "deployments.apps", "web", is_rolled_out(revision)).await;
    }
    let (sets, _) = bed.client.list("replicasets.apps", &Selection::namespace("shop")).unwrap();
    assert_eq!(sets.len(), 2, "a rollback reuses the old ReplicaSet");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_gets_its_endpoints_and_a_load_balancer_its_address() {
    let mut bed = bed().await;
    bed.client.create("deployments.apps", deployment("a")).await.unwrap();
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "namespace": "shop", "name": "web" },
        "spec": { "type": "LoadBalancer", "selector": { "app": "web" }, "ports": [{ "name": "http", "port": 80, "targetPort": "http" }] },
    });
    bed.client.create("services", service).await.unwrap();
    until(&bed.client, "services", "web", |service| {
        object::text(service, "/status/loadBalancer/ingress/0/ip") == "198.18.1.10"
    })
    .await;
    until(&bed.client, "endpointslices.discovery.k8s.io", "web-", |slice| {
        let endpoints = object::items(slice, "/endpoints");
        endpoints.len() == 3 && endpoints.iter().all(|endpoint| object::flag(endpoint, "/conditions/ready"))
    })
    .await;
    until(&bed.client, "endpoints", "web", |object| object::items(object, "/subsets/0/addresses").len() == 3)
        .await;
    let told = bed.exposed.wait_for(|exposed| {
        let named = |slice: &Arc<Value>| object::name(slice).starts_with("web-");
        exposed.slices.iter().any(|slice| named(slice) && object::items(slice, "/endpoints").len() == 3)
    });
    tokio::time::timeout(Duration::from_secs(5), told).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_pod_is_replaced_and_a_deleted_deployment_takes_everything_along() {
    let bed = bed().await;
    bed.client.create("deployments.apps", deployment("a")).await.unwrap();
    until(&bed.client, "deployments.apps", "web", is_rolled_out("1")).await;
    let (pods, _) = bed.client.list("pods", &Selection::namespace("shop")).unwrap();
    let first = object::name(&pods[0]).to_owned();
    bed.client.delete("pods", "shop", &first, &Default::default()).await.unwrap();
    until(&bed.client, "deployments.apps", "web", |object| {
        object::int(object, "/status/availableReplicas") != Some(3)
    })
    .await;
    until(&bed.client, "deployments.apps", "web", is_rolled_out("1")).await;
    bed.client.delete("deployments.apps", "shop", "web", &Default::default()).await.unwrap();
    let emptied = async {
        loop {
            let (pods, _) = bed.client.list("pods", &Selection::namespace("shop")).unwrap();
            if pods.is_empty() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), emptied).await.unwrap();
}
