//! EndpointSlices.

use super::{Key, port, text};
use mesh_kube::k8s_openapi::api::discovery::v1 as discovery;
use mesh_types::{annotations, labels};
use std::net::IpAddr;

/// An EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// The Service it belongs to.
    pub service: Key,
    /// TCP ports by name; the name is empty where the Service has one port without a name.
    pub ports: Vec<(String, u16)>,
    /// Endpoints.
    pub endpoints: Vec<SliceEndpoint>,
    /// Written by the mirror: the endpoints are gateways of a linked cluster.
    pub gateway: Option<GatewaySlice>,
}

/// One endpoint of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether it takes traffic.
    pub ready: bool,
    /// The pod behind it.
    pub pod: Option<Key>,
    /// The node it is on.
    pub node: Option<String>,
    /// The name it has under a headless Service.
    pub hostname: Option<String>,
    /// The zone it is in.
    pub zone: Option<String>,
    /// The zones whose clients should use it, where Kubernetes has made up its mind (`trafficDistribution`, topology).
    pub for_zones: Vec<String>,
}

/// What the mirror says of a linked cluster's Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewaySlice {
    /// TLS identity of the gateway.
    pub identity: String,
    /// Fully qualified name of the Service in its own cluster.
    pub remote_name: String,
    /// The linked cluster.
    pub cluster: String,
    /// Endpoints ready behind the gateway; known for members of federated services.
    pub ready_endpoints: Option<u32>,
}

impl Slice {
    /// Keeps what is needed of a slice; `None` for one that belongs to no Service or holds host names.
    pub fn from_object(slice: &discovery::EndpointSlice) -> Option<Self> {
        let meta = &slice.metadata;
        if slice.address_type == "FQDN" {
            return None;
        }
        let namespace = meta.namespace.clone().unwrap_or_default();
        let service = text(&meta.labels, labels::SERVICE_NAME)?;
        let ports = slice.ports.as_deref().unwrap_or_default().iter().filter_map(|p| {
            let tcp = p.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
            Some((p.name.clone().unwrap_or_default(), port(p.port?)?)).filter(|_| tcp)
        });
        let gateway = text(&meta.annotations, annotations::REMOTE_GATEWAY_IDENTITY).map(|identity| {
            let note = |key| text(&meta.annotations, key);
            GatewaySlice {
                identity: identity.to_owned(),
                remote_name: note(annotations::REMOTE_SVC_FQ_NAME).unwrap_or_default().to_owned(),
                cluster: text(&meta.labels, labels::CLUSTER_NAME).unwrap_or_default().to_owned(),
                ready_endpoints: note(annotations::READY_ENDPOINTS).and_then(|n| n.parse().ok()),
            }
        });
        Some(Self {
            service: Key::new(namespace.clone(), service),
            ports: ports.collect(),
            endpoints: slice.endpoints.iter().map(|e| SliceEndpoint::from_object(e, &namespace)).collect(),
            gateway,
        })
    }

    /// The port behind a Service's port of this name. All ports of a gateway slice lead to the same port, so there
    /// a name that one member has and another lacks does no harm.
    pub fn port(&self, name: &str) -> Option<u16> {
        let named = self.ports.iter().find(|(n, _)| n == name);
        let any = || self.ports.first().filter(|_| self.gateway.is_some());
        named.or_else(any).map(|(_, port)| *port)
    }

    /// Nodes and zones of the endpoints.
    pub fn zones(&self) -> impl Iterator<Item = (&str, &str)> {
        self.endpoints.iter().filter_map(|e| Some((e.node.as_deref()?, e.zone.as_deref()?)))
    }

    /// How many endpoints take traffic.
    pub fn ready(&self) -> usize {
        self.endpoints.iter().filter(|e| e.ready).map(|e| e.addresses.len()).sum()
    }
}

impl SliceEndpoint {
    fn from_object(endpoint: &discovery::Endpoint, namespace: &str) -> Self {
        let pod = endpoint.target_ref.as_ref().filter(|r| r.kind.as_deref() == Some("Pod"));
        let in_namespace = |r: &mesh_kube::k8s_openapi::api::core::v1::ObjectReference| {
            Key::new(r.namespace.as_deref().unwrap_or(namespace), r.name.clone().unwrap_or_default())
        };
        Self {
            addresses: endpoint.addresses.iter().filter_map(|a| a.parse().ok()).collect(),
            // Kubernetes: an absent condition is to be taken for true.
            ready: endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true),
            pod: pod.map(in_namespace),
            node: endpoint.node_name.clone(),
            hostname: endpoint.hostname.clone(),
            zone: endpoint.zone.clone(),
            for_zones: endpoint
                .hints
                .as_ref()
                .and_then(|h| h.for_zones.as_ref())
                .map_or_else(Vec::new, |zones| zones.iter().map(|z| z.name.clone()).collect()),
        }
    }
}
