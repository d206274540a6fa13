//! The importing side as it is now.

use super::LinkArgs;
use super::exporter::{mesh_config, trust_anchors};
use crate::globals::Globals;
use mesh_kube::Client;
use mesh_kube::k8s_openapi::api::core::v1::Pod;
use mesh_kube::kube::Api;
use mesh_kube::kube::api::ListParams;
use std::time::{Duration, Instant};

/// What was found.
pub(crate) struct Importer {
    pub(crate) client: Client,
    /// PEM.
    pub(crate) anchors: String,
    /// A ready pod of the service mirror, from inside which things are tried.
    pub(crate) mirror_pod: Option<String>,
    pub(crate) namespace: String,
}

impl Importer {
    pub(crate) async fn observe(link: &LinkArgs, context: &str, globals: &Globals) -> anyhow::Result<Self> {
        let client = globals.client_for(Some(context)).await?;
        mesh_config(&client, &globals.linkerd_namespace, context).await?;
        let anchors = trust_anchors(&client, &globals.linkerd_namespace, context).await?;
        let mirror_pod = mirror_pod(&client, &link.namespace).await;
        Ok(Self { client, anchors, mirror_pod, namespace: link.namespace.clone() })
    }
}

/// The importing side once its service mirror is ready, or as it is when `patience` is over.
pub(crate) async fn wait_for_mirror(
    link: &LinkArgs,
    context: &str,
    patience: Duration,
    globals: &Globals,
) -> anyhow::Result<Importer> {
    let started = Instant::now();
    let mut found = Importer::observe(link, context, globals).await?;
    if found.mirror_pod.is_none() && !patience.is_zero() {
        eprintln!("waiting for the service mirror of {context}: no pod of it is ready");
    }
    while found.mirror_pod.is_none() && started.elapsed() < patience {
        tokio::time::sleep(Duration::from_millis(250)).await;
        found.mirror_pod = mirror_pod(&found.client, &found.namespace).await;
    }
    Ok(found)
}

async fn mirror_pod(client: &Client, namespace: &str) -> Option<String> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let listed = pods.list(&ListParams::default().labels("app=linkerd-service-mirror")).await.ok()?;
    let ready = |pod: &Pod| {
        let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
        conditions.is_some_and(|c| c.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
    };
    listed.items.into_iter().find(ready)?.metadata.name
}
