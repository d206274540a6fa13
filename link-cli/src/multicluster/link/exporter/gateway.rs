//! The gateway Service of the exporting side.

use super::super::LinkArgs;
use crate::report::Problem;
use anyhow::Context as _;
use mesh_kube::Client;
use mesh_kube::k8s_openapi::api::core::v1::{Node, Service, ServicePort};
use mesh_kube::kube::Api;
use mesh_kube::kube::api::ListParams;
use mesh_types::{annotations, ports};

/// What a Link must say of it.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) port: u16,
    pub(crate) identity: String,
    pub(crate) probe_path: String,
    pub(crate) probe_port: u16,
    pub(crate) probe_period: String,
    /// Whether the addresses stay as they are now: they were given, or are those of nodes. Others are followed.
    pub(crate) pinned: bool,
}

impl Gateway {
    pub(crate) async fn of(client: &Client, link: &LinkArgs, cluster: &str) -> anyhow::Result<Self> {
        let namespace = link.gateway_namespace.clone().unwrap_or_else(|| link.namespace.clone());
        let services: Api<Service> = Api::namespaced(client.clone(), &namespace);
        let name = &link.gateway_name;
        let service = services.get(name).await.map_err(|e| {
            let fix = format!(
                "meshctl --context {cluster} multicluster install | kubectl --context {cluster} apply -f -"
            );
            let what = format!("cluster {cluster} has no gateway {namespace}/{name}");
            Problem::new(what, mesh_kube::explain(&e), fix)
        })?;
        let nodes = match is_node_port(&service) {
            true => {
                let nodes: Api<Node> = Api::all(client.clone());
                nodes.list(&ListParams::default()).await.map(|l| l.items).unwrap_or_default()
            }
            false => Vec::new(),
        };
        Self::from_objects(link, &service, &nodes)
            .with_context(|| format!("Service {namespace}/{name} of cluster {cluster} is no gateway"))
    }

    fn from_objects(link: &LinkArgs, service: &Service, nodes: &[Node]) -> anyhow::Result<Self> {
        let notes = service.metadata.annotations.clone().unwrap_or_default();
        let note = |key: &str| notes.get(key).cloned();
        let identity = note(annotations::GATEWAY_IDENTITY)
            .with_context(|| format!("it has no annotation {}", annotations::GATEWAY_IDENTITY))?;
        let declared = service.spec.as_ref().and_then(|s| s.ports.clone()).unwrap_or_default();
        let by_node = is_node_port(service);
        let port = |wanted: &str| {
            declared.iter().find(|p| p.name.as_deref() == Some(wanted)).and_then(|p| number(p, by_node))
        };
        let given: Option<Vec<String>> =
            link.gateway_addresses.as_deref().map(|a| a.split(',').map(|h| h.trim().to_owned()).collect());
        let found = if by_node { node_addresses(nodes) } else { load_balancer_addresses(service) };
        let period = note(annotations::PROBE_PERIOD).unwrap_or_else(|| "3".to_owned());
        let period = if period.bytes().all(|b| b.is_ascii_digit()) { format!("{period}s") } else { period };
        Ok(Self {
            name: service.metadata.name.clone().unwrap_or_default(),
            namespace: service.metadata.namespace.clone().unwrap_or_default(),
            pinned: given.is_some() || by_node,
            addresses: given.unwrap_or(found),
            port: link.gateway_port.or_else(|| port("mc-gateway")).unwrap_or(ports::INBOUND),
            identity,
            probe_path: note(annotations::PROBE_PATH).unwrap_or_else(|| "/ready".to_owned()),
            probe_port: port("mc-probe").unwrap_or(ports::ADMIN),
            probe_period: period,
        })
    }

    /// Each address with the port that traffic takes.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        let all = self.addresses.iter();
        all.map(
            |a| if a.contains(':') { format!("[{a}]:{}", self.port) } else { format!("{a}:{}", self.port) },
        )
        .collect()
    }
}

/// A Service of type NodePort has no address of its own: every node is one.
fn is_node_port(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|s| s.type_.as_deref() == Some("NodePort"))
}

fn number(port: &ServicePort, by_node: bool) -> Option<u16> {
    let number = if by_node { port.node_port? } else { port.port };
    u16::try_from(number).ok()
}

fn load_balancer_addresses(service: &Service) -> Vec<String> {
    let status = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
    let ingress = status.and_then(|l| l.ingress.clone()).unwrap_or_default();
    let mut found: Vec<String> = ingress.into_iter().filter_map(|i| i.ip.or(i.hostname)).collect();
    if found.is_empty() {
        found = service.spec.as_ref().and_then(|s| s.external_ips.clone()).unwrap_or_default();
    }
    found
}

/// One address a node: the external one where there is one.
fn node_addresses(nodes: &[Node]) -> Vec<String> {
    let address = |node: &Node| {
        let all = node.status.as_ref()?.addresses.clone().unwrap_or_default();
        let of = |kind: &str| all.iter().find(|a| a.type_ == kind).map(|a| a.address.clone());
        of("ExternalIP").or_else(|| of("InternalIP"))
    };
    nodes.iter().filter_map(address).collect()
}

#[cfg(test)]
mod tests;
