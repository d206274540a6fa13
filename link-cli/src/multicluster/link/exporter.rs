//! The exporting side as it is now: what a Link must say of it.

use super::{CREDENTIALS_LIFETIME, LinkArgs, cluster_name};
use crate::globals::Globals;
use crate::report::Problem;
use anyhow::Context as _;
use base64::Engine as _;
use mesh_kube::Client;
use mesh_kube::k8s_openapi::api::apps::v1::Deployment;
use mesh_kube::k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use mesh_kube::k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use mesh_kube::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mesh_kube::kube::Api;
use mesh_kube::kube::api::PostParams;
use mesh_kube::kube::config::Kubeconfig;
use mesh_types::{ClusterName, annotations, ports};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What was found.
pub(crate) struct Exporter {
    pub(crate) client: Client,
    pub(crate) cluster: ClusterName,
    pub(crate) domain: String,
    pub(crate) trust_domain: String,
    /// PEM.
    pub(crate) anchors: String,
    /// The API server as the importing cluster will reach it.
    pub(crate) server: String,
    /// Why `server` is not the kubeconfig's own.
    pub(crate) server_note: Option<String>,
    /// PEM.
    pub(crate) server_ca: Option<String>,
    pub(crate) gateway: Gateway,
}

/// The gateway Service.
pub(crate) struct Gateway {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) port: u16,
    pub(crate) identity: String,
    pub(crate) probe_path: String,
    pub(crate) probe_port: u16,
    pub(crate) probe_period: String,
    /// Whether the addresses were given rather than found.
    pub(crate) pinned: bool,
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
        let (server, server_note, server_ca) = api_server(&client, link, context, globals).await?;
        let gateway = gateway(&client, link, cluster.as_str()).await?;
        Ok(Self {
            trust_domain: text("identityTrustDomain").unwrap_or_else(|| domain.clone()),
            client,
            cluster,
            domain,
            anchors,
            server,
            server_note,
            server_ca,
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
        if let Some(ca) = &self.server_ca {
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

/// Address and CA of the API server. A kubeconfig that points at loopback is of no use to another cluster; clusters made
/// by kubeadm publish an address of their own in kube-public/cluster-info, and so does the sandbox.
async fn api_server(
    client: &Client,
    link: &LinkArgs,
    context: Option<&str>,
    globals: &Globals,
) -> anyhow::Result<(String, Option<String>, Option<String>)> {
    let kubeconfig = read_kubeconfig(globals)?;
    let name = context.map(str::to_owned).or_else(|| kubeconfig.current_context.clone()).unwrap_or_default();
    let named = kubeconfig.contexts.iter().find(|c| c.name == name).and_then(|c| c.context.clone());
    let cluster_name = named.context("the context names no cluster")?.cluster;
    let entry = kubeconfig.clusters.iter().find(|c| c.name == cluster_name).and_then(|c| c.cluster.clone());
    let entry = entry.with_context(|| format!("the kubeconfig has no cluster {cluster_name:?}"))?;
    let ca = match (&entry.certificate_authority_data, &entry.certificate_authority) {
        (Some(data), _) => {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(data.trim())
                .context("certificate-authority-data")?;
            Some(String::from_utf8(bytes).context("certificate-authority-data")?)
        }
        (None, Some(path)) => Some(std::fs::read_to_string(path).with_context(|| path.clone())?),
        (None, None) => None,
    };
    if let Some(given) = &link.api_server_address {
        return Ok((given.clone(), None, ca));
    }
    let own = entry.server.unwrap_or_default();
    if !is_loopback(&own) {
        return Ok((own, None, ca));
    }
    let published = published_address(client).await.ok_or_else(|| {
        let why = format!("the kubeconfig's address is {own}, which only this machine reaches");
        Problem::usage(
            "the API server's address is of no use to another cluster",
            why,
            "give one with --api-server-address",
        )
    })?;
    let note = format!("the kubeconfig says {own}; taken from kube-public/cluster-info");
    Ok((published, Some(note), ca))
}

fn is_loopback(server: &str) -> bool {
    let host = server.split("://").last().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(h, _)| h).trim_matches(['[', ']']);
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

async fn published_address(client: &Client) -> Option<String> {
    let data = config_map(client, "kube-public", "cluster-info").await.ok()?;
    let info = Kubeconfig::from_yaml(data.get("kubeconfig")?).ok()?;
    info.clusters.into_iter().find_map(|c| c.cluster?.server).filter(|s| !is_loopback(s))
}

async fn gateway(client: &Client, link: &LinkArgs, cluster: &str) -> anyhow::Result<Gateway> {
    let namespace = link.gateway_namespace.clone().unwrap_or_else(|| link.namespace.clone());
    let services: Api<Service> = Api::namespaced(client.clone(), &namespace);
    let name = &link.gateway_name;
    let service = services.get(name).await.map_err(|e| {
        let fix = format!(
            "meshctl --context {cluster} multicluster install | kubectl --context {cluster} apply -f -"
        );
        Problem::new(
            format!("cluster {cluster} has no gateway {namespace}/{name}"),
            mesh_kube::explain(&e),
            fix,
        )
    })?;
    let notes = service.metadata.annotations.clone().unwrap_or_default();
    let note = |key: &str| notes.get(key).cloned();
    let identity = note(annotations::GATEWAY_IDENTITY).with_context(|| {
        format!("Service {namespace}/{name} has no annotation {}", annotations::GATEWAY_IDENTITY)
    })?;
    let declared = service.spec.as_ref().and_then(|s| s.ports.clone()).unwrap_or_default();
    let port = |wanted: &str| {
        let found = declared.iter().find(|p| p.name.as_deref() == Some(wanted));
        found.and_then(|p| u16::try_from(p.port).ok())
    };
    let found = load_balancer_addresses(&service);
    let given =
        link.gateway_addresses.as_deref().map(|a| a.split(',').map(|h| h.trim().to_owned()).collect());
    let pinned = given.is_some();
    let period = note(annotations::PROBE_PERIOD).unwrap_or_else(|| "3".to_owned());
    let period = if period.bytes().all(|b| b.is_ascii_digit()) { format!("{period}s") } else { period };
    Ok(Gateway {
        name: name.clone(),
        namespace,
        addresses: given.unwrap_or(found),
        port: link.gateway_port.or_else(|| port("mc-gateway")).unwrap_or(ports::INBOUND),
        identity,
        probe_path: note(annotations::PROBE_PATH).unwrap_or_else(|| "/ready".to_owned()),
        probe_port: port("mc-probe").unwrap_or(ports::ADMIN),
        probe_period: period,
        pinned,
    })
}

fn load_balancer_addresses(service: &Service) -> Vec<String> {
    let status = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
    let ingress = status.and_then(|l| l.ingress.clone()).unwrap_or_default();
    ingress.into_iter().filter_map(|i| i.ip.or(i.hostname)).collect()
}
