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
    pub conditions: Vec<Condition>,
    /// When the linked cluster's API last answered, RFC 3339; written anew every ten seconds or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_synced: Option<String>,
    /// When the credentials run out, RFC 3339; absent where they say nothing of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_expire: Option<String>,
    /// The link in words, for tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<LinkSummary>,
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

/// What `kubectl get links` prints; everything in it can be made from the rest of the status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LinkSummary {
    /// How services are reached: `gateway`.
    pub mode: String,
    /// Gateway addresses that answer, of all: `2/2`.
    pub alive: String,
    /// Round trips to the nearest of them: `0.3/1.1 ms`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rtt: String,
    /// Services imported.
    pub services: usize,
}

/// A condition of a link, or of one service of the linked cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
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
    /// Of a service: itself in the importing cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_ref: Option<ObjectRef>,
}

/// What became of one service of the linked cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    /// `linkerd.io/service-mirror`.
    pub controller_name: String,
    /// The service in its own cluster.
    pub remote_ref: ObjectRef,
    /// Of type `Mirrored`: `Mirrored`, `InvalidService`, `Error`, `MissingNamespace` and others are its reasons.
    pub conditions: Vec<Condition>,
}

/// A reference to an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectRef {
    /// API group, empty for the core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
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
    /// Median round trip of recent successful probes, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_p50_ms: Option<f64>,
    /// 99th percentile of the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_p99_ms: Option<f64>,
    /// Why the last probe failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl LinkStatus {
    /// The condition of this name.
    pub fn condition(&self, name: &str) -> Option<&Condition> {
        self.conditions.iter().find(|c| c.type_ == name)
    }
}

impl GatewayStatus {
    /// The living address with the shortest round trip.
    pub fn nearest(&self) -> Option<&GatewayAddressStatus> {
        let measured =
            |a: &&GatewayAddressStatus| a.alive == Some(true) && a.rtt_ms.is_some_and(f64::is_finite);
        self.addresses
            .iter()
            .filter(measured)
            .min_by(|a, b| a.rtt_ms.partial_cmp(&b.rtt_ms).unwrap_or(std::cmp::Ordering::Equal))
    }
}
