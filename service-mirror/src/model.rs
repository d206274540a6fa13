//! What the mirror knows of a linked cluster and of its own, as plain values that the planners read.

use mesh_types::ClusterName;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// A key of two texts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of a Kubernetes object; empty texts where metadata lacks them.
    pub fn of(object: &Value) -> Self {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        Self { namespace: text("namespace"), name: text("name") }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One port of a Service, as mirrors carry it on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Name; empty for the only port of a Service.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Port number of the Service.
    pub port: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// What the port speaks, if the exporter said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

/// A Service of the linked cluster that is exported or a member of a federated service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteService {
    /// Namespace and name there.
    pub key: Key,
    /// Resource version there.
    pub resource_version: String,
    /// Creation time there, RFC 3339: the oldest member decides where members differ.
    pub created: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Ports.
    pub ports: Vec<Port>,
    /// `spec.clusterIP` is `None`.
    pub headless: bool,
    /// `spec.type` is `ExternalName`.
    pub external_name: bool,
    /// `spec.trafficDistribution`.
    pub traffic_distribution: Option<String>,
    /// Endpoints ready behind it, over all its EndpointSlices.
    pub ready_endpoints: u32,
}

impl RemoteService {
    /// Exported through the gateway under `<name>-<cluster>`.
    pub fn exported_by(&self, selector: &Selector) -> bool {
        selector.matches(&self.labels)
    }
}

/// A label selector that selects nothing when it is absent or empty: a link must never export everything by
/// mistake.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Selector {
    /// Labels that must have these values.
    pub match_labels: BTreeMap<String, String>,
    /// Further conditions, all of which must hold.
    pub match_expressions: Vec<Expression>,
}

/// One condition of a [`Selector`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expression {
    /// Label.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// Values for `In` and `NotIn`.
    #[serde(default)]
    pub values: Vec<String>,
}

impl Selector {
    /// Whether labels match; never for an empty selector.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        if self.match_labels.is_empty() && self.match_expressions.is_empty() {
            return false;
        }
        self.match_labels.iter().all(|(k, v)| labels.get(k) == Some(v))
            && self.match_expressions.iter().all(|e| e.holds(labels))
    }
}

impl Expression {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator.as_str() {
            "In" => value.is_some_and(|v| self.values.contains(v)),
            "NotIn" => value.is_none_or(|v| !self.values.contains(v)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    }
}

/// Settings of one link, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkConfig {
    /// Where the Link object is.
    pub key: Key,
    /// Name of the linked cluster.
    pub cluster: ClusterName,
    /// DNS domain of the linked cluster.
    pub target_domain: String,
    /// TLS identity of its gateway.
    pub gateway_identity: String,
    /// Services mirrored through the gateway.
    pub exported: Selector,
    /// Services merged by name.
    pub federated: Selector,
    /// Annotations that are not copied: exact names or `prefix/*`.
    pub excluded_annotations: Vec<String>,
    /// Labels that are not copied: exact names or `prefix/*`.
    pub excluded_labels: Vec<String>,
    /// Time between probes.
    pub probe_period: Duration,
    /// Time a probe may take.
    pub probe_timeout: Duration,
    /// Failures in a row after which an address counts as dead.
    pub probe_failures: u32,
    /// Path probed.
    pub probe_path: String,
    /// Port probed.
    pub probe_port: u16,
}

/// The gateway of a linked cluster as it is known now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gateway {
    /// Port that mirrors send to.
    pub port: u16,
    /// Each published address is an endpoint of its own.
    pub addresses: Vec<GatewayAddress>,
    /// Whether these are the addresses that are published now, rather than those of before or none yet.
    pub current: bool,
}

impl Gateway {
    /// Whether every address that is published now has been probed at least once, so that what is written is known and
    /// not guessed. Until then what stands is left as it is: a mirror that starts anew takes nothing away.
    pub fn settled(&self) -> bool {
        self.current && self.addresses.iter().all(|a| a.alive.is_some())
    }

    /// Whether mirrors lead to the IPv6 addresses. An EndpointSlice holds one family, so it is the one that answers;
    /// IPv4 where both do, or neither.
    pub fn uses_ipv6(&self) -> bool {
        let any = |v6: bool, alive: bool| {
            self.addresses.iter().any(|a| a.ip.is_ipv6() == v6 && (!alive || a.alive == Some(true)))
        };
        !any(false, true) && (any(true, true) || !any(false, false) && any(true, false))
    }

    /// The addresses of that family.
    pub fn used(&self) -> impl Iterator<Item = &GatewayAddress> {
        let v6 = self.uses_ipv6();
        self.addresses.iter().filter(move |a| a.ip.is_ipv6() == v6)
    }

    /// Addresses that answer.
    pub fn alive(&self) -> usize {
        self.addresses.iter().filter(|a| a.alive == Some(true)).count()
    }
}

/// One address of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayAddress {
    /// The address.
    pub ip: IpAddr,
    /// What probes say; `None` before the first.
    pub alive: Option<bool>,
}

/// All that a plan for one link is made from.
#[derive(Debug, Clone)]
pub struct LinkWorld {
    /// The link.
    pub link: LinkConfig,
    /// Whether the linked cluster's Services and EndpointSlices have been listed completely.
    pub remote_synced: bool,
    /// The same for the own cluster's.
    pub local_synced: bool,
    /// Exported and federated Services there.
    pub remote: BTreeMap<Key, RemoteService>,
    /// Its gateway.
    pub gateway: Gateway,
    /// Namespaces here that are not being deleted.
    pub namespaces: BTreeSet<String>,
    /// Whether namespaces that lack here are made.
    pub create_namespaces: bool,
    /// Services here that carry this cluster's name.
    pub services: BTreeMap<Key, Arc<Value>>,
    /// EndpointSlices here that carry this cluster's name.
    pub slices: BTreeMap<Key, Arc<Value>>,
}

/// What a plan wants done. Applies are whole objects, for server-side apply.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Create a namespace that an exported Service needs.
    ApplyNamespace(Value),
    /// Create or change a Service.
    ApplyService(Value),
    /// Create or change an EndpointSlice.
    ApplySlice(Value),
    /// Delete a Service.
    DeleteService(Key),
    /// Delete an EndpointSlice.
    DeleteSlice(Key),
}

/// What became of one remote Service, for `Link.status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The Service there.
    pub remote: Key,
    /// The Service here, where there is one.
    pub local: Option<Key>,
    /// Whether it is mirrored.
    pub mirrored: bool,
    /// `Mirrored`, `InvalidService`, `MissingNamespace`, `NameShortened` or `GatewayUnknown`.
    pub reason: &'static str,
    /// In words.
    pub message: String,
}
