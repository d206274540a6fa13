//! Services.

use super::{port, text};
use mesh_kube::k8s_openapi::api::core::v1 as core;
use mesh_types::{AppProtocol, OpaquePorts, annotations, labels};
use std::net::IpAddr;

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Cluster IPs; none for a headless Service.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.type` is `ExternalName`.
    pub external_name: bool,
    /// TCP ports.
    pub ports: Vec<ServicePort>,
    /// The opaque-ports annotation, where there is one.
    pub opaque_ports: Option<OpaquePorts>,
    /// `internalTrafficPolicy: Local`: only endpoints on the client's node.
    pub node_local: bool,
    /// A federated Service: its members can be addressed by cluster.
    pub federated: bool,
    /// Of a federated Service: the name of the local member.
    pub local_member: Option<String>,
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
        let local_member = text(&meta.annotations, annotations::LOCAL_DISCOVERY).map(str::to_owned);
        Self {
            cluster_ips: ips.unwrap_or_default().iter().filter_map(|ip| ip.parse().ok()).collect(),
            external_name: spec.is_some_and(|s| s.type_.as_deref() == Some("ExternalName")),
            ports: ports.iter().filter_map(ServicePort::from_object).collect(),
            opaque_ports: text(&meta.annotations, annotations::OPAQUE_PORTS).map(OpaquePorts::parse),
            node_local: spec.is_some_and(|s| s.internal_traffic_policy.as_deref() == Some("Local")),
            federated: text(&meta.labels, labels::FEDERATED_SERVICE).is_some() || local_member.is_some(),
            local_member,
        }
    }

    /// The port of this number.
    pub fn port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|p| p.port == number)
    }

    /// Whether a port is to be treated as opaque TCP: by `appProtocol`, by annotation, or by the default list.
    pub fn is_opaque(&self, number: u16, default: &OpaquePorts) -> bool {
        let port = self.port(number);
        match port.and_then(|p| p.app_protocol) {
            Some(protocol) => protocol == AppProtocol::Opaque,
            None => {
                let listed = self.opaque_ports.as_ref().unwrap_or(default);
                listed.contains(number, port.map(|p| p.name.as_str()))
            }
        }
    }
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
