//! Under which addresses another cluster may reach the API server of this one. A kubeconfig that points at loopback is of
//! no use to anybody else, and one that points at a load balancer may be of none to pods; so everything that the cluster
//! says of itself is a candidate, and the preflight tries them from where the link will be used.

use super::super::LinkArgs;
use super::{config_map, read_kubeconfig};
use crate::globals::Globals;
use crate::report::Problem;
use anyhow::Context as _;
use base64::Engine as _;
use mesh_kube::Client;
use mesh_kube::k8s_openapi::api::discovery::v1::EndpointSlice;
use mesh_kube::kube::Api;
use mesh_kube::kube::api::ListParams;
use mesh_kube::kube::config::{Cluster, Kubeconfig};
use std::net::IpAddr;

/// All addresses, the most likely first.
pub(crate) struct Servers {
    /// Never empty.
    pub(crate) candidates: Vec<Candidate>,
    /// Whether the first was given on the command line, so that no other may take its place.
    pub(crate) given: bool,
    /// The kubeconfig's own address, where it is of no use to another cluster.
    pub(crate) useless: Option<String>,
    /// What the certificate must chain to, PEM.
    pub(crate) ca: Option<String>,
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) url: String,
    /// Who says so.
    pub(crate) from: &'static str,
}

impl Servers {
    pub(crate) async fn of(
        client: &Client,
        link: &LinkArgs,
        context: Option<&str>,
        globals: &Globals,
    ) -> anyhow::Result<Self> {
        let entry = entry(&read_kubeconfig(globals)?, context)?;
        let ca = authority(&entry)?;
        let own = entry.server.unwrap_or_default();
        let (published, endpoints) = tokio::join!(published_address(client), endpoints(client));
        let candidates = rank(link.api_server_address.as_deref(), &own, published, endpoints);
        let useless = is_loopback(&own).then(|| own.clone());
        if candidates.is_empty() {
            let why = format!("the kubeconfig's address is {own}, which only this machine reaches");
            let what = "the API server's address is of no use to another cluster";
            return Err(Problem::usage(what, why, "give one with --api-server-address").into());
        }
        Ok(Self { candidates, given: link.api_server_address.is_some(), useless, ca })
    }
}

/// What the kubeconfig says of the context's cluster.
fn entry(kubeconfig: &Kubeconfig, context: Option<&str>) -> anyhow::Result<Cluster> {
    let name = context.map(str::to_owned).or_else(|| kubeconfig.current_context.clone()).unwrap_or_default();
    let named = kubeconfig.contexts.iter().find(|c| c.name == name).and_then(|c| c.context.clone());
    let cluster = named.context("the context names no cluster")?.cluster;
    let entry = kubeconfig.clusters.iter().find(|c| c.name == cluster).and_then(|c| c.cluster.clone());
    entry.with_context(|| format!("the kubeconfig has no cluster {cluster:?}"))
}

fn authority(entry: &Cluster) -> anyhow::Result<Option<String>> {
    match (&entry.certificate_authority_data, &entry.certificate_authority) {
        (Some(data), _) => {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(data.trim())
                .context("certificate-authority-data")?;
            Ok(Some(String::from_utf8(bytes).context("certificate-authority-data")?))
        }
        (None, Some(path)) => Ok(Some(std::fs::read_to_string(path).with_context(|| path.clone())?)),
        (None, None) => Ok(None),
    }
}

/// Puts the addresses in order. What people gave comes first, then the kubeconfig's; the name that kubeadm publishes
/// before the endpoints where it is one that others can resolve (kind publishes the name of a container).
fn rank(given: Option<&str>, own: &str, published: Option<String>, endpoints: Vec<String>) -> Vec<Candidate> {
    let candidate = |url: String, from| Candidate { url: url.trim_end_matches('/').to_owned(), from };
    let mut all = Vec::new();
    all.extend(given.map(|url| candidate(url.to_owned(), "--api-server-address")));
    all.push(candidate(own.to_owned(), "the kubeconfig"));
    let public = published.map(|url| candidate(url, "kube-public/cluster-info"));
    let known = public.as_ref().is_some_and(|c| resolves_elsewhere(&c.url));
    let own_endpoints =
        endpoints.into_iter().map(|url| candidate(url, "the endpoints of default/kubernetes"));
    if known {
        all.extend(public);
        all.extend(own_endpoints);
    } else {
        all.extend(own_endpoints);
        all.extend(public);
    }
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|c| (c.from == "--api-server-address" || !is_loopback(&c.url)) && seen.insert(c.url.clone()));
    all
}

fn host(url: &str) -> &str {
    let rest = url.split("://").last().unwrap_or_default();
    let authority = rest.split('/').next().unwrap_or_default();
    if let Some(v6) = authority.strip_prefix('[') {
        return v6.split(']').next().unwrap_or_default();
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

fn resolves_elsewhere(url: &str) -> bool {
    let host = host(url);
    host.contains('.') || host.parse::<IpAddr>().is_ok()
}

fn is_loopback(url: &str) -> bool {
    let host = host(url);
    host.is_empty()
        || host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

/// The address that clusters made by kubeadm publish for joining nodes.
async fn published_address(client: &Client) -> Option<String> {
    let data = config_map(client, "kube-public", "cluster-info").await.ok()?;
    let info = Kubeconfig::from_yaml(data.get("kubeconfig")?).ok()?;
    info.clusters.into_iter().find_map(|c| c.cluster?.server)
}

/// Where the API servers listen, as the cluster's own pods are told.
async fn endpoints(client: &Client) -> Vec<String> {
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), "default");
    let ours = ListParams::default().labels("kubernetes.io/service-name=kubernetes");
    let listed = slices.list(&ours).await.map(|l| l.items).unwrap_or_default();
    let urls = listed.iter().flat_map(|slice| {
        let port = slice.ports.as_deref().unwrap_or_default().iter().find_map(|p| p.port).unwrap_or(6443);
        let addresses = slice.endpoints.iter().flat_map(|e| &e.addresses);
        addresses.map(move |a| {
            if a.contains(':') { format!("https://[{a}]:{port}") } else { format!("https://{a}:{port}") }
        })
    });
    urls.collect()
}

#[cfg(test)]
mod tests;
