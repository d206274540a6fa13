//! Pods and their namespaces.

use super::{Map, parsed, port, read, text};
use crate::defaults::DefaultPolicy;
use mesh_kube::k8s_openapi::api::core::v1 as core;
use mesh_kube::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mesh_kube::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mesh_types::{OpaquePorts, PortSet, annotations};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Namespace {
    /// The default policy of its pods.
    pub default_policy: Option<DefaultPolicy>,
    /// The opaque ports of its pods.
    pub opaque_ports: Option<OpaquePorts>,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// Its own default policy.
    pub default_policy: Option<DefaultPolicy>,
    /// Its opaque ports.
    pub opaque_ports: Option<OpaquePorts>,
    /// Ports on which clients must be meshed.
    pub require_identity: PortSet,
    /// Its proxy is a multicluster gateway.
    pub gateway: bool,
    /// Names of container ports.
    pub port_names: BTreeMap<u16, String>,
    /// What the kubelet asks, by port.
    pub probes: BTreeMap<u16, BTreeSet<Probe>>,
}

/// A request that the kubelet makes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Probe {
    /// GET of this path.
    Http(String),
    /// The health service of gRPC.
    Grpc,
}

impl Namespace {
    /// Keeps what is needed of a namespace.
    pub fn from_object(namespace: &core::Namespace) -> Self {
        let meta = &namespace.metadata;
        Self {
            default_policy: default_policy(meta, "Namespace"),
            opaque_ports: text(&meta.annotations, annotations::OPAQUE_PORTS).map(OpaquePorts::parse),
        }
    }
}

fn default_policy(meta: &ObjectMeta, kind: &str) -> Option<DefaultPolicy> {
    read(meta, kind, annotations::DEFAULT_INBOUND_POLICY, parsed)
}

impl Pod {
    /// Keeps what is needed of a pod.
    pub fn from_object(pod: &core::Pod) -> Self {
        let meta = &pod.metadata;
        let ips = pod.status.as_ref().map(|s| match &s.pod_ips {
            Some(all) if !all.is_empty() => all.iter().map(|ip| ip.ip.clone()).collect(),
            _ => s.pod_ip.clone().into_iter().collect::<Vec<_>>(),
        });
        let require_identity = read(meta, "Pod", annotations::REQUIRE_IDENTITY_PORTS, parsed);
        Self {
            ips: ips.unwrap_or_default().iter().filter_map(|ip| ip.parse().ok()).collect(),
            default_policy: default_policy(meta, "Pod"),
            opaque_ports: text(&meta.annotations, annotations::OPAQUE_PORTS).map(OpaquePorts::parse),
            require_identity: require_identity.unwrap_or_default(),
            gateway: is_gateway(&meta.annotations),
            port_names: containers(pod).flat_map(port_names).collect(),
            probes: probes(pod),
        }
    }
}

fn is_gateway(notes: &Map) -> bool {
    matches!(text(notes, annotations::ENABLE_GATEWAY), Some("true" | "enabled"))
}

fn containers(pod: &core::Pod) -> impl Iterator<Item = &core::Container> {
    pod.spec.iter().flat_map(|s| s.init_containers.iter().flatten().chain(&s.containers))
}

fn port_names(container: &core::Container) -> impl Iterator<Item = (u16, String)> {
    let ports = container.ports.iter().flatten();
    ports.filter_map(|p| Some((port(p.container_port)?, p.name.clone()?)))
}

fn probes(pod: &core::Pod) -> BTreeMap<u16, BTreeSet<Probe>> {
    let mut found: BTreeMap<u16, BTreeSet<Probe>> = BTreeMap::new();
    for container in containers(pod) {
        let kinds = [&container.liveness_probe, &container.readiness_probe, &container.startup_probe];
        for probe in kinds.into_iter().flatten() {
            if let Some((port, probe)) = probe_of(container, probe) {
                found.entry(port).or_default().insert(probe);
            }
        }
    }
    found
}

fn probe_of(container: &core::Container, probe: &core::Probe) -> Option<(u16, Probe)> {
    if let Some(grpc) = &probe.grpc {
        return Some((port(grpc.port)?, Probe::Grpc));
    }
    let get = probe.http_get.as_ref()?;
    // Inside TLS there is no path to see.
    if get.scheme.as_deref() == Some("HTTPS") {
        return None;
    }
    let number = match &get.port {
        IntOrString::Int(number) => port(*number)?,
        IntOrString::String(name) => {
            let named = port_names(container).find(|(_, n)| n == name).map(|(number, _)| number);
            named.or_else(|| name.parse().ok())?
        }
    };
    // The query is no part of what a route matches, and the kubelet adds a slash where there is none.
    let path = get.path.as_deref().unwrap_or("/");
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    Some((number, Probe::Http(format!("{slash}{path}"))))
}
