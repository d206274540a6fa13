//! The Link resource (`links.multicluster.linkerd.io/v1alpha3`): Linkerd's fields, and a status that says how the link
//! is doing.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// What a link connects, and how. Every field is optional in the schema, as it is in Linkerd's.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "multicluster.linkerd.io",
    version = "v1alpha3",
    kind = "Link",
    plural = "links",
    namespaced,
    status = "LinkStatus",
    schema = "disabled",
    derive = "PartialEq",
    derive = "Default"
)]
#[serde(rename_all = "camelCase", default)]
pub struct LinkSpec {
    /// Name of the linked cluster, used in names and labels here.
    pub target_cluster_name: String,
    /// DNS domain of the linked cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target_cluster_domain: String,
    /// Control-plane namespace of the linked cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target_cluster_linkerd_namespace: String,
    /// Secret in the Link's namespace that holds the kubeconfig.
    pub cluster_credentials_secret: String,
    /// Addresses of the gateway, comma-separated; absent without a gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_address: Option<String>,
    /// Port of the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_port: Option<String>,
    /// TLS identity of the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_identity: Option<String>,
    /// How the gateway is probed; absent without a gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_spec: Option<ProbeSpec>,
    /// Services mirrored through the gateway. Absent or empty selects nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Services mirrored with their own endpoints. Absent or empty selects nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_discovery_selector: Option<LabelSelector>,
    /// Services that join the federated service of their name. Absent or empty selects nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub federated_service_selector: Option<LabelSelector>,
    /// Annotations that mirrors do not copy: exact, or `prefix/*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excluded_annotations: Vec<String>,
    /// Labels that mirrors do not copy: exact, or `prefix/*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excluded_labels: Vec<String>,
}

/// How a gateway is probed. Numbers are texts, as in Linkerd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProbeSpec {
    /// Path, `/ready`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Port, `4191`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub port: String,
    /// Time between probes, `3s`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub period: String,
    /// Time one probe may take, `30s`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub timeout: String,
    /// Failures in a row that count as dead, `3`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub failure_threshold: String,
}

/// How a link is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LinkStatus {
    /// `Accepted`, `CredentialsValid`, `TrustEstablished`, `Reachable`, `Synced`, `Degraded`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<LinkCondition>,
    /// What became of exported services.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mirror_services: Vec<ServiceStatus>,
    /// What became of members of federated services.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub federated_services: Vec<ServiceStatus>,
    /// The gateway as probes see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayStatus>,
}

/// One condition of a link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LinkCondition {
    /// Its name.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word for programs.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// Since when the status is what it is, RFC 3339.
    pub last_transition_time: String,
    /// Generation of the Link it speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// What became of one service of the linked cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    /// `linkerd.io/service-mirror`.
    pub controller_name: String,
    /// The service in its own cluster.
    pub remote_ref: RemoteRef,
    /// Of type `Mirrored`.
    pub conditions: Vec<ServiceCondition>,
}

/// A reference to an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RemoteRef {
    /// API group, empty for the core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
}

/// A condition of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceCondition {
    /// `Mirrored`.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True` or `False`.
    pub status: String,
    /// `Mirrored`, `InvalidService`, `Error`, `MissingNamespace`.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// Since when, RFC 3339.
    pub last_transition_time: String,
    /// The service here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_ref: Option<RemoteRef>,
}

/// The gateway of a linked cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayStatus {
    /// Port of the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Each published address.
    pub addresses: Vec<GatewayAddressStatus>,
}

/// One address of a gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayAddressStatus {
    /// IP address or host name.
    pub address: String,
    /// Whether probes succeed; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alive: Option<bool>,
    /// Smoothed round trip of successful probes, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Why the last probe failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
