//! Services, and the members of federated ones.

use super::{Balance, Key, Problem, port, text};
use mesh_kube::k8s_openapi::api::core::v1 as core;
use mesh_kube::k8s_openapi::api::discovery::v1 as discovery;
use mesh_types::{AppProtocol, OpaquePorts, annotations, labels};
use std::net::IpAddr;

/// A Service.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Cluster IPs; none for a headless Service.
    pub cluster_ips: Vec<IpAddr>,
    /// TCP ports.
    pub ports: Vec<ServicePort>,
    /// The opaque-ports annotation, where there is one.
    pub opaque_ports: Option<OpaquePorts>,
    /// Gateways serve it: exported, or a member of a federated service.
    pub exported: bool,
    /// It stands for services of other clusters.
    pub mirrored: bool,
    /// It merges services of several clusters.
    pub federated: bool,
    /// Of a federated Service: there is a member in this cluster.
    pub local_member: bool,
    /// Of a federated Service whose members are tried one after the other: in which order.
    pub tiers: Option<Order>,
    /// How its endpoints are judged and its requests timed.
    pub balance: Balance,
    /// What is wrong with the annotations that say so.
    pub problems: Vec<Problem>,
}

/// The order of a federated Service's members.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Order {
    /// Clusters that people put in order; may hold the word for the local one.
    pub wanted: Vec<String>,
    /// Clusters by distance, as the mirror measures it.
    pub measured: Vec<String>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Name; empty for the only port of a Service.
    pub name: String,
    /// Number.
    pub port: u16,
    /// What it speaks, if the Service says so.
    pub app_protocol: Option<AppProtocol>,
}

impl Service {
    /// Keeps what is needed of a Service.
    pub fn from_object(service: &core::Service) -> Self {
        let meta = &service.metadata;
        let spec = service.spec.as_ref();
        let ips =
            spec.and_then(|s| s.cluster_ips.clone().or_else(|| s.cluster_ip.clone().map(|ip| vec![ip])));
        let ports = spec.and_then(|s| s.ports.as_deref()).unwrap_or_default();
        let note = |key: &str| text(&meta.annotations, key);
        let label = |key: &str| text(&meta.labels, key);
        let local_member = note(annotations::LOCAL_DISCOVERY).is_some();
        let federated = label(labels::FEDERATED_SERVICE).is_some() || local_member;
        let near = spec.is_some_and(|s| {
            matches!(
                s.traffic_distribution.as_deref(),
                Some("PreferClose" | "PreferSameZone" | "PreferSameNode")
            )
        });
        let failover = note(annotations::FAILOVER).filter(|f| *f != "disabled");
        let tiered = federated && (near || failover.is_some());
        let ports: Vec<_> = ports.iter().filter_map(ServicePort::from_object).collect();
        let (balance, mut problems) = Balance::from_meta(meta);
        let codes = balance.retry.as_ref().is_some_and(|retry| !retry.grpc.is_empty());
        if codes && !ports.iter().any(|port| port.app_protocol == Some(AppProtocol::Http2)) {
            problems.push(Problem {
                annotation: annotations::RETRY_GRPC.to_owned(),
                reason: "it counts for ports that are known to speak HTTP/2, and no port has appProtocol \
                         kubernetes.io/h2c"
                    .to_owned(),
            });
        }
        Self {
            cluster_ips: ips.unwrap_or_default().iter().filter_map(|ip| ip.parse().ok()).collect(),
            ports,
            opaque_ports: note(annotations::OPAQUE_PORTS).map(OpaquePorts::parse),
            exported: label(labels::EXPORTED) == Some("true") || label(labels::FEDERATED) == Some("member"),
            mirrored: label(labels::MIRRORED_SERVICE).is_some(),
            federated,
            local_member,
            tiers: tiered.then(|| Order {
                wanted: failover.filter(|f| *f != "enabled").map(list).unwrap_or_default(),
                measured: note(annotations::CLUSTER_ORDER).map(list).unwrap_or_default(),
            }),
            balance,
            problems,
        }
    }

    /// The port of this number.
    pub fn port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|p| p.port == number)
    }

    /// What a port speaks, if the Service or its annotation says so.
    pub fn protocol(&self, number: u16, default_opaque: &OpaquePorts) -> Option<AppProtocol> {
        let port = self.port(number);
        port.and_then(|p| p.app_protocol).or_else(|| {
            let listed = self.opaque_ports.as_ref().unwrap_or(default_opaque);
            listed.contains(number, port.map(|p| p.name.as_str())).then_some(AppProtocol::Opaque)
        })
    }
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|c| !c.is_empty()).map(str::to_owned).collect()
}

impl ServicePort {
    fn from_object(object: &core::ServicePort) -> Option<Self> {
        if object.protocol.as_deref().is_some_and(|p| p != "TCP") {
            return None;
        }
        Some(Self {
            name: object.name.clone().unwrap_or_default(),
            port: port(object.port)?,
            app_protocol: object.app_protocol.as_deref().map(AppProtocol::parse),
        })
    }
}

/// A linked cluster's member of a federated Service, or the cluster behind a mirror: known by its EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The Service here.
    pub service: Key,
    /// The linked cluster.
    pub cluster: String,
}

impl Member {
    /// The member that a slice stands for; `None` for a slice of this cluster's own endpoints.
    pub fn from_object(slice: &discovery::EndpointSlice) -> Option<Self> {
        let meta = &slice.metadata;
        let service = text(&meta.labels, labels::SERVICE_NAME)?;
        let cluster = text(&meta.labels, labels::CLUSTER_NAME)?.to_owned();
        Some(Self { service: Key::new(meta.namespace.clone().unwrap_or_default(), service), cluster })
    }
}
