//! Who a pod belongs to: the top of its chain of controllers.

use crate::Owner;
use mesh_kube::Client;
use mesh_kube::k8s_openapi::api::apps::v1::ReplicaSet;
use mesh_kube::k8s_openapi::api::batch::v1::Job;
use mesh_kube::k8s_openapi::api::core::v1::ObjectReference;
use mesh_kube::k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use mesh_kube::kube::Api;
use serde_json::Value;
use std::time::Duration;
use tracing::debug;

/// The API server waits for the webhook, so the webhook does not wait long for the API server.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// The owner, and how events refer to it.
pub(super) struct Found {
    /// For labels. `None` for a pod of its own.
    pub(super) owner: Option<Owner>,
    /// For events. `None` where there is no name to refer to yet.
    pub(super) reference: Option<ObjectReference>,
}

/// Follows the owner references of `pod`: ReplicaSet to Deployment, Job to CronJob.
pub(super) async fn find(client: &Client, namespace: &str, pod: &Value) -> Found {
    let Some(direct) = controller_of(pod) else { return pod_itself(namespace, pod) };
    let above = match direct.kind.as_str() {
        "ReplicaSet" => meta(Api::<ReplicaSet>::namespaced(client.clone(), namespace), &direct.name).await,
        "Job" => meta(Api::<Job>::namespaced(client.clone(), namespace), &direct.name).await,
        _ => None,
    };
    let controls = |r: &OwnerReference| r.controller == Some(true);
    let above = above.and_then(|m| m.owner_references?.into_iter().find(controls));
    let top = above.unwrap_or(direct);
    Found {
        owner: Some(Owner { kind: top.kind.clone(), name: top.name.clone() }),
        reference: Some(ObjectReference {
            api_version: Some(top.api_version),
            kind: Some(top.kind),
            name: Some(top.name),
            uid: Some(top.uid),
            namespace: Some(namespace.to_owned()),
            ..ObjectReference::default()
        }),
    }
}

fn controller_of(pod: &Value) -> Option<OwnerReference> {
    let references = pod.pointer("/metadata/ownerReferences")?.as_array()?;
    let controller = references.iter().find(|r| r.get("controller") == Some(&Value::Bool(true)))?;
    serde_json::from_value(controller.clone()).ok()
}

fn pod_itself(namespace: &str, pod: &Value) -> Found {
    let name = pod.pointer("/metadata/name").and_then(Value::as_str).filter(|n| !n.is_empty());
    let reference = name.map(|name| ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        ..ObjectReference::default()
    });
    Found { owner: None, reference }
}

async fn meta<K>(api: Api<K>, name: &str) -> Option<ObjectMeta>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    match tokio::time::timeout(LOOKUP_TIMEOUT, api.get_metadata(name)).await {
        Ok(Ok(object)) => Some(object.metadata),
        Ok(Err(error)) => {
            debug!(name, reason = mesh_kube::explain(&error), "owner not found");
            None
        }
        Err(_) => {
            debug!(name, "owner lookup timed out");
            None
        }
    }
}
