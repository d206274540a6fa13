//! Pods.

use super::{Map, port, text};
use mesh_kube::k8s_openapi::api::core::v1 as core;
use mesh_types::{OpaquePorts, PortSet, annotations, labels, ports};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The name of the sidecar and of its inbound port.
const PROXY: &str = "linkerd-proxy";
/// The sidecar's admin port.
const PROXY_ADMIN: &str = "linkerd-admin";

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its own addresses; none with the host's network.
    pub ips: Vec<IpAddr>,
    /// Whether it may still serve: neither succeeded nor failed.
    pub alive: bool,
    /// Service account.
    pub service_account: String,
    /// Its proxy, if it is meshed.
    pub proxy: Option<Proxy>,
    /// The opaque-ports annotation, where there is one.
    pub opaque_ports: Option<OpaquePorts>,
    /// Names of container ports.
    pub port_names: BTreeMap<u16, String>,
    /// Labels of metrics: owner, template hash.
    pub labels: BTreeMap<String, String>,
}

/// The proxy of a meshed pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// The control plane that it belongs to.
    pub control_plane_namespace: String,
    /// Where it takes connections with a transport header.
    pub inbound_port: u16,
    /// Ports that do not pass it.
    pub skip_inbound: PortSet,
    /// Its own ports, which take no transport header.
    pub own_ports: [u16; 2],
}

impl Pod {
    /// Keeps what is needed of a pod.
    pub fn from_object(pod: &core::Pod) -> Self {
        let meta = &pod.metadata;
        let spec = pod.spec.as_ref();
        let status = pod.status.as_ref();
        let host_network = spec.and_then(|s| s.host_network).unwrap_or(false);
        let ips = status.map(|s| match &s.pod_ips {
            Some(all) if !all.is_empty() => all.iter().map(|ip| ip.ip.clone()).collect(),
            _ => s.pod_ip.clone().into_iter().collect::<Vec<_>>(),
        });
        let ips = ips.unwrap_or_default();
        let phase = status.and_then(|s| s.phase.as_deref());
        let named = containers(spec).flat_map(|c| c.ports.as_deref().unwrap_or_default());
        let account = spec.and_then(|s| s.service_account_name.clone()).filter(|a| !a.is_empty());
        Self {
            ips: ips.iter().filter(|_| !host_network).filter_map(|ip| ip.parse().ok()).collect(),
            alive: !matches!(phase, Some("Succeeded" | "Failed")),
            service_account: account.unwrap_or_else(|| "default".to_owned()),
            proxy: Proxy::from_object(pod),
            opaque_ports: text(&meta.annotations, annotations::OPAQUE_PORTS).map(OpaquePorts::parse),
            port_names: named.filter_map(|p| Some((port(p.container_port)?, p.name.clone()?))).collect(),
            labels: metric_labels(&meta.labels),
        }
    }

    /// Whether a port is to be treated as opaque TCP.
    pub fn is_opaque(&self, number: u16, default: &OpaquePorts) -> bool {
        let listed = self.opaque_ports.as_ref().unwrap_or(default);
        listed.contains(number, self.port_names.get(&number).map(String::as_str))
    }
}

impl Proxy {
    fn from_object(pod: &core::Pod) -> Option<Self> {
        let meta = &pod.metadata;
        let control_plane_namespace = text(&meta.labels, labels::CONTROL_PLANE_NS)?.to_owned();
        let sidecar = containers(pod.spec.as_ref()).find(|c| c.name == PROXY);
        let named = |name: &str, default: u16| {
            let mut ports = sidecar.and_then(|c| c.ports.as_deref()).unwrap_or_default().iter();
            ports
                .find(|p| p.name.as_deref() == Some(name))
                .and_then(|p| port(p.container_port))
                .unwrap_or(default)
        };
        let skipped = text(&meta.annotations, annotations::SKIP_INBOUND_PORTS).unwrap_or_default();
        Some(Self {
            control_plane_namespace,
            inbound_port: named(PROXY, ports::INBOUND),
            // A list that cannot be read has been refused by the injector; it skips nothing.
            skip_inbound: skipped.parse().unwrap_or_default(),
            own_ports: [named(PROXY_ADMIN, ports::ADMIN), ports::CONTROL],
        })
    }
}

fn containers(spec: Option<&core::PodSpec>) -> impl Iterator<Item = &core::Container> {
    spec.into_iter().flat_map(|s| s.init_containers.iter().flatten().chain(&s.containers))
}

/// `linkerd.io/proxy-deployment: web` becomes `deployment="web"`, as dashboards expect.
fn metric_labels(labels: &Map) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (key, value) in labels.iter().flatten() {
        match key.strip_prefix(labels::PROXY_OWNER_PREFIX) {
            Some("job") => found.insert("k8s_job".to_owned(), value.clone()),
            Some(kind) => found.insert(kind.to_owned(), value.clone()),
            None if key == "pod-template-hash" => found.insert("pod_template_hash".to_owned(), value.clone()),
            None => None,
        };
    }
    found
}
