//! The exporting side as it is now: what a Link must say of it.

mod gateway;
mod servers;

use super::{CREDENTIALS_LIFETIME, LinkArgs, cluster_name};
use crate::globals::Globals;
use crate::report::Problem;
use anyhow::Context as _;
use base64::Engine as _;
use mesh_kube::Client;
use mesh_kube::k8s_openapi::api::apps::v1::Deployment;
use mesh_kube::k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use mesh_kube::k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use mesh_kube::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mesh_kube::kube::Api;
use mesh_kube::kube::api::PostParams;
use mesh_kube::kube::config::Kubeconfig;
use mesh_types::ClusterName;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub(crate) use gateway::Gateway;
#[cfg(test)]
pub(crate) use servers::Candidate;
pub(crate) use servers::Servers;

/// What was found.
pub(crate) struct Exporter {
    pub(crate) client: Client,
    pub(crate) cluster: ClusterName,
    pub(crate) domain: String,
    pub(crate) trust_domain: String,
    /// PEM.
    pub(crate) anchors: String,
    /// The API server as the importing cluster will reach it: the first of its addresses, until one has been tried.
    pub(crate) server: String,
    pub(crate) servers: Servers,
    pub(crate) gateway: Gateway,
}

impl Exporter {
    pub(crate) async fn observe(
        link: &LinkArgs,
        context: Option<&str>,
        globals: &Globals,
    ) -> anyhow::Result<Self> {
        let client = globals.client_for(context).await?;
        let cluster = cluster_name(link.cluster_name.as_deref(), context)?;
        let config = mesh_config(&client, &globals.linkerd_namespace, cluster.as_str()).await?;
        let text = |key: &str| config[key].as_str().filter(|s| !s.is_empty()).map(str::to_owned);
        let domain = text("clusterDomain").unwrap_or_else(|| mesh_types::CLUSTER_DOMAIN.to_owned());
        let anchors = trust_anchors(&client, &globals.linkerd_namespace, cluster.as_str()).await?;
        let servers = Servers::of(&client, link, context, globals).await?;
        let gateway = Gateway::of(&client, link, cluster.as_str()).await?;
        Ok(Self {
            trust_domain: text("identityTrustDomain").unwrap_or_else(|| domain.clone()),
            client,
            cluster,
            domain,
            anchors,
            server: servers.candidates[0].url.clone(),
            servers,
            gateway,
        })
    }

    /// A token of an account here, for the importing cluster.
    pub(crate) async fn token(&self, namespace: &str, account: &str) -> anyhow::Result<String> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let request = TokenRequest {
            metadata: ObjectMeta::default(),
            spec: TokenRequestSpec {
                expiration_seconds: i64::try_from(CREDENTIALS_LIFETIME.as_secs()).ok(),
                ..TokenRequestSpec::default()
            },
            status: None,
        };
        let answer = accounts.create_token_request(account, &PostParams::default(), &request).await;
        let answer = answer.map_err(|e| {
            let fix = format!(
                "meshctl --context {} multicluster install | kubectl apply -f - makes the account",
                self.cluster
            );
            Problem::new(format!("no token for {namespace}/{account}"), mesh_kube::explain(&e), fix)
        })?;
        Ok(answer.status.context("the API server answered without a token")?.token)
    }

    /// The kubeconfig the importing cluster gets.
    pub(crate) fn kubeconfig(&self, token: &str) -> anyhow::Result<String> {
        let mut cluster = serde_json::json!({"server": self.server});
        if let Some(ca) = &self.servers.ca {
            let encoded = base64::engine::general_purpose::STANDARD.encode(ca);
            cluster["certificate-authority-data"] = encoded.into();
        }
        let name = self.cluster.as_str();
        let config = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": name,
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": "service-mirror", "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": "service-mirror"}}],
        });
        Ok(serde_json::to_string_pretty(&config)?)
    }
}

/// The exporting side once its gateway has a ready pod and an address, or as it is when `patience` is over: right
/// after `multicluster install` both are still on their way.
pub(crate) async fn wait_for_gateway(
    link: &LinkArgs,
    context: &str,
    patience: Duration,
    globals: &Globals,
) -> anyhow::Result<Exporter> {
    let started = Instant::now();
    let mut told = false;
    loop {
        let found = Exporter::observe(link, Some(context), globals).await?;
        let gateway = &found.gateway;
        let ready = !gateway.addresses.is_empty() && gateway_replicas(&found).await.0 > 0;
        if ready || started.elapsed() >= patience {
            return Ok(found);
        }
        if !told {
            told = true;
            eprintln!(
                "waiting for the gateway of {context}: {}/{} is not ready",
                gateway.namespace, gateway.name
            );
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Pods of the gateway: ready, and all.
pub(crate) async fn gateway_replicas(exporter: &Exporter) -> (i32, i32) {
    let gateway = &exporter.gateway;
    let deployments: Api<Deployment> = Api::namespaced(exporter.client.clone(), &gateway.namespace);
    let status = deployments.get(&gateway.name).await.ok().and_then(|d| d.status).unwrap_or_default();
    (status.ready_replicas.unwrap_or(0), status.replicas.unwrap_or(0))
}

/// The kubeconfig that the flags name.
pub(crate) fn read_kubeconfig(globals: &Globals) -> anyhow::Result<Kubeconfig> {
    match &globals.kubeconfig {
        Some(path) => Kubeconfig::read_from(path).with_context(|| format!("kubeconfig {}", path.display())),
        None => Kubeconfig::read().context("kubeconfig"),
    }
}

/// The values the mesh of a cluster was installed with.
pub(crate) async fn mesh_config(client: &Client, namespace: &str, cluster: &str) -> anyhow::Result<Value> {
    let data = config_map(client, namespace, "linkerd-config").await.map_err(|error| {
        let fix = format!("meshctl --context {cluster} install | kubectl --context {cluster} apply -f -");
        Problem::new(
            format!("cluster {cluster} has no mesh in namespace {namespace}"),
            error.to_string(),
            fix,
        )
    })?;
    let values = data.get("values").map_or("{}", String::as_str);
    serde_saphyr::from_str(values)
        .with_context(|| format!("ConfigMap {namespace}/linkerd-config of {cluster}"))
}

/// The trust anchors in force in a cluster, PEM.
pub(crate) async fn trust_anchors(client: &Client, namespace: &str, cluster: &str) -> anyhow::Result<String> {
    let name = "linkerd-identity-trust-roots";
    let data = config_map(client, namespace, name).await.map_err(|error| {
        let fix = format!("meshctl --context {cluster} check tells what the control plane lacks");
        Problem::new(format!("cluster {cluster} has no trust anchors"), error.to_string(), fix)
    })?;
    data.get("ca-bundle.crt")
        .cloned()
        .with_context(|| format!("ConfigMap {namespace}/{name} has no ca-bundle.crt"))
}

async fn config_map(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<BTreeMap<String, String>, mesh_kube::Error> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    Ok(maps.get(name).await?.data.unwrap_or_default())
}
