//! Waits until pods are injected: what is created before stays without a proxy.

use crate::globals::Globals;
use crate::install_checks::unreachable;
use crate::report::Problem;
use mesh_injector::webhook::WEBHOOK_CONFIGURATION;
use mesh_kube::Client;
use mesh_kube::k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use mesh_kube::k8s_openapi::api::apps::v1::Deployment;
use mesh_kube::kube::{self, Api};
use std::time::{Duration, Instant};

const INJECTOR: &str = "linkerd-proxy-injector";
/// Between two looks.
const PERIOD: Duration = Duration::from_millis(250);

/// Waits until the injector is available and the API server knows its certificate; at most `timeout`, and not at all
/// for zero.
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
    let known = webhooks.unwrap_or_default().iter().any(|w| w.client_config.ca_bundle.is_some());
    Ok((!known).then(|| format!("{WEBHOOK_CONFIGURATION} has no caBundle")))
}
