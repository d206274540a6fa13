//! Whether pods are injected, as the API server sees it. What is created before stays without a proxy.

use crate::globals::Globals;
use crate::install_checks::unreachable;
use crate::report::Problem;
use mesh_injector::PROXY_CONTAINER;
use mesh_injector::webhook::WEBHOOK_CONFIGURATION;
use mesh_kube::Client;
use mesh_kube::k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use mesh_kube::k8s_openapi::api::apps::v1::Deployment;
use mesh_kube::k8s_openapi::api::core::v1::Pod;
use mesh_kube::kube::api::PostParams;
use mesh_kube::kube::{self, Api};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const INJECTOR: &str = "linkerd-proxy-injector";
/// Between two looks.
const PERIOD: Duration = Duration::from_millis(250);

/// Namespace in which a pod is tried: it always exists.
pub(crate) const TRIAL_NAMESPACE: &str = "default";

/// What became of a pod that needs a proxy, and was created for trial only.
pub(crate) enum Trial {
    /// It has one.
    Injected,
    /// The API server could not ask the injector, or was told no: its words.
    Refused(String),
    /// It was let through as it was.
    LetThrough,
    /// Nothing was learned, as this account may not create pods, or something else refuses them, such as a policy.
    Unknown,
}

/// Creates a pod that needs a proxy, without keeping it.
pub(crate) async fn try_it(client: &Client) -> Trial {
    let pods: Api<Pod> = Api::namespaced(client.clone(), TRIAL_NAMESPACE);
    let Ok(pod) = serde_json::from_value::<Pod>(trial()) else { return Trial::Unknown };
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    match pods.create(&dry, &pod).await {
        Ok(made) => {
            if has_proxy(&made) {
                Trial::Injected
            } else {
                Trial::LetThrough
            }
        }
        Err(error) => {
            let why = mesh_kube::explain(&error);
            if why.contains(INJECTOR) { Trial::Refused(why) } else { Trial::Unknown }
        }
    }
}

/// Whether a pod has a proxy, as an ordinary container or as a native sidecar.
pub(crate) fn has_proxy(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    let initial = spec.and_then(|s| s.init_containers.as_ref());
    let mut all = spec.map(|s| &s.containers).into_iter().chain(initial).flatten();
    all.any(|container| container.name == PROXY_CONTAINER)
}

/// A pod that is not let through without a proxy.
fn trial() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "isthmus-check",
            "namespace": TRIAL_NAMESPACE,
            "annotations": {"linkerd.io/inject": "enabled"},
            "labels": {"isthmus.dev/require-proxy": "true"},
        },
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [{"name": "trial", "image": "isthmus/proxy"}],
        },
    })
}

/// Waits until the injector is available, the API server knows its certificate and reaches it; at most `timeout`, and not
/// at all for zero.
pub(crate) async fn wait(globals: &Globals, timeout: Duration) -> anyhow::Result<()> {
    if timeout.is_zero() {
        return Ok(());
    }
    let client = globals.client().await?;
    let began = Instant::now();
    let mut told = false;
    loop {
        let missing = missing(&client, &globals.linkerd_namespace).await.map_err(|e| unreachable(&e))?;
        let Some(missing) = missing else { return Ok(()) };
        if began.elapsed() >= timeout {
            return Err(Problem::new(
                format!("the injector is not ready after {} s", timeout.as_secs()),
                missing,
                format!(
                    "look at it:  kubectl -n {} describe deploy/{INJECTOR}   (--wait 0s does not wait)",
                    globals.linkerd_namespace
                ),
            )
            .into());
        }
        if !told {
            eprintln!("waiting for the injector: {missing}");
            told = true;
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// What is missing yet, in words.
async fn missing(client: &Client, namespace: &str) -> Result<Option<String>, kube::Error> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let deployment = deployments.get_opt(INJECTOR).await?;
    let available = deployment.and_then(|d| d.status?.available_replicas).unwrap_or(0);
    if available == 0 {
        return Ok(Some(format!("Deployment {namespace}/{INJECTOR} has no available replica")));
    }
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let webhooks = configurations.get_opt(WEBHOOK_CONFIGURATION).await?.and_then(|c| c.webhooks);
    let known = webhooks.is_some_and(|all| all.iter().all(|w| w.client_config.ca_bundle.is_some()));
    if !known {
        return Ok(Some(format!("{WEBHOOK_CONFIGURATION} has no caBundle")));
    }
    // The nodes hear of its address a moment after it is available.
    Ok(match try_it(client).await {
        Trial::Refused(why) => Some(why),
        Trial::Injected | Trial::LetThrough | Trial::Unknown => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_an_ordinary_container_or_a_native_sidecar() {
        let pod = |spec: Value| serde_json::from_value::<Pod>(json!({"spec": spec})).unwrap();
        let (pause, proxy) = (json!({"name": "pause"}), json!({"name": "linkerd-proxy"}));
        assert!(has_proxy(&pod(json!({"containers": [pause, proxy]}))));
        assert!(has_proxy(&pod(json!({"containers": [pause], "initContainers": [proxy]}))));
        assert!(!has_proxy(&pod(json!({"containers": [pause], "initContainers": [pause]}))));
    }
}
