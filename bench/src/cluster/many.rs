//! Pods that the API knows and no node runs: the control plane cannot tell them from others.

use anyhow::{Context as _, Result};
use mesh_kube::Client;
use mesh_kube::k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use mesh_kube::k8s_openapi::api::discovery::v1::EndpointSlice;
use mesh_kube::kube::Api;
use mesh_kube::kube::api::{Patch, PatchParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Instant;

/// The namespace whose pods get a proxy, and its service.
pub(crate) const INJECTED: &str = "many";
/// The namespace whose pods get none.
pub(crate) const PLAIN: &str = "plain";
/// Endpoints in a slice, as Kubernetes makes them.
const SLICE: usize = 100;

/// Makes both namespaces.
pub(crate) async fn namespaces(client: &Client) -> Result<()> {
    let all: Api<Namespace> = Api::all(client.clone());
    for (name, inject) in [(INJECTED, "enabled"), (PLAIN, "disabled")] {
        let namespace = json!({"metadata": {"name": name, "annotations": {"linkerd.io/inject": inject}}});
        create(&all, namespace).await?;
    }
    Ok(())
}

/// Creates pods one after the other; answers with the milliseconds each took, sorted.
pub(crate) async fn pods(client: &Client, namespace: &str, count: usize) -> Result<Vec<f64>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    // A namespace gets its account a moment after it was made, and no pod is taken before.
    let mut tries = 0;
    while let Err(error) = pods.create(&PostParams { dry_run: true, ..Default::default() }, &pod(0)?).await {
        tries += 1;
        anyhow::ensure!(tries < 100, "a pod in {namespace}: {error}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let mut times = Vec::with_capacity(count);
    for index in 0..count {
        let pod = pod(index)?;
        let began = Instant::now();
        let created = pods.create(&PostParams::default(), &pod).await?;
        times.push(began.elapsed().as_secs_f64() * 1000.0);
        let proxies = created
            .spec
            .map_or(0, |spec| spec.init_containers.map_or(0, |c| c.len()) + spec.containers.len());
        anyhow::ensure!((proxies > 1) == (namespace == INJECTED), "{namespace}: {proxies} containers");
    }
    for index in 0..count {
        let address = address(index);
        let status = json!({"status": {"podIP": address, "podIPs": [{"ip": address}]}});
        pods.patch_status(&name(index), &PatchParams::default(), &Patch::Merge(status)).await?;
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// The service of the injected pods.
pub(crate) async fn service(client: &Client, count: usize) -> Result<()> {
    let services: Api<Service> = Api::namespaced(client.clone(), INJECTED);
    let ports = json!([{"name": "http", "port": 80, "targetPort": 8080}]);
    create(&services, json!({"metadata": {"name": INJECTED}, "spec": {"ports": ports}})).await?;
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), INJECTED);
    for first in (0..count).step_by(SLICE) {
        create(&slices, slice(first, count.min(first + SLICE))).await?;
    }
    Ok(())
}

/// Takes the last pod out of the service.
pub(crate) async fn remove_last(client: &Client, count: usize) -> Result<()> {
    let first = (count - 1) / SLICE * SLICE;
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), INJECTED);
    let slice = slice(first, count - 1);
    let name = slice["metadata"]["name"].as_str().context("a slice has a name")?;
    let endpoints = json!({"endpoints": slice["endpoints"]});
    slices.patch(name, &PatchParams::default(), &Patch::Merge(endpoints)).await?;
    Ok(())
}

fn slice(first: usize, end: usize) -> Value {
    let endpoint = |index: usize| {
        json!({
            "addresses": [address(index)], "conditions": {"ready": true},
            "targetRef": {"kind": "Pod", "name": name(index), "namespace": INJECTED},
        })
    };
    json!({
        "metadata": {
            "name": format!("{INJECTED}-{}", first / SLICE),
            "labels": {"kubernetes.io/service-name": INJECTED},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": (first..end).map(endpoint).collect::<Vec<_>>(),
    })
}

fn pod(index: usize) -> Result<Pod> {
    let pod = json!({
        "metadata": {"name": name(index), "labels": {"app": "many"}},
        "spec": {
            "schedulingGates": [{"name": "isthmus.dev/never-run"}],
            "containers": [{"name": "many", "image": "isthmus/demo", "ports": [{"containerPort": 8080}]}],
        },
    });
    Ok(serde_json::from_value(pod)?)
}

fn name(index: usize) -> String {
    format!("many-{index}")
}

/// Of a range for measurements (RFC 2544), so that no real pod has it.
fn address(index: usize) -> String {
    format!("198.19.{}.{}", index / 250, index % 250 + 1)
}

async fn create<K>(api: &Api<K>, object: Value) -> Result<()>
where
    K: Clone + std::fmt::Debug + DeserializeOwned + serde::Serialize,
{
    api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    Ok(())
}
