//! A gRPC channel to a controller's pod, through the API server's port-forward.

use crate::globals::Globals;
use crate::report::Problem;
use anyhow::Context as _;
use hyper_util::rt::TokioIo;
use mesh_api::tonic::transport::{Channel, Endpoint};
use mesh_kube::k8s_openapi::api::core::v1::Pod;
use mesh_kube::kube::Api;
use mesh_kube::kube::ResourceExt;
use mesh_kube::kube::api::ListParams;
use std::io;

/// A channel to `port` of a destination pod: the given one, or the first that is ready.
pub(crate) async fn destination(globals: &Globals, pod: Option<&str>, port: u16) -> anyhow::Result<Channel> {
    let namespace = &globals.linkerd_namespace;
    let pods: Api<Pod> = Api::namespaced(globals.client().await?, namespace);
    let name = match pod {
        Some(name) => name.to_owned(),
        None => ready_pod(&pods, namespace).await?,
    };
    let target = format!("{namespace}/{name}");
    let connect = tower::service_fn(move |_| {
        let (pods, name) = (pods.clone(), name.clone());
        async move {
            let mut forward = pods
                .portforward(&name, &[port])
                .await
                .map_err(|e| io::Error::other(mesh_kube::explain(&e)))?;
            let stream =
                forward.take_stream(port).ok_or_else(|| io::Error::other("port-forward gave no stream"))?;
            // The forwarder's task goes on by itself until the stream ends.
            drop(tokio::spawn(forward.join()));
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    let endpoint = Endpoint::from_static("http://destination");
    endpoint
        .connect_with_connector(connect)
        .await
        .with_context(|| format!("cannot reach pod {target}, port {port}"))
}

async fn ready_pod(pods: &Api<Pod>, namespace: &str) -> anyhow::Result<String> {
    let selector = "linkerd.io/control-plane-component=destination";
    let listed = pods.list(&ListParams::default().labels(selector)).await.map_err(|e| {
        Problem::new(
            "the destination pods cannot be listed",
            mesh_kube::explain(&e),
            "check --context and your rights",
        )
    })?;
    let ready = |pod: &Pod| {
        let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
        conditions.is_some_and(|c| c.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
    };
    let found = listed.items.iter().find(|p| ready(p)).map(ResourceExt::name_any);
    found.ok_or_else(|| {
        let why = format!("namespace {namespace} has {} of them, none ready", listed.items.len());
        let fix = format!("kubectl -n {namespace} get pods; meshctl check tells more");
        Problem::new("no destination pod to ask", why, fix).into()
    })
}
