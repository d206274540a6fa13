//! What is told of a Service or an address: plain values that streams compare.

use crate::model::Key;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// The endpoints of a Service's port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndpointsView {
    /// Whether the Service exists.
    pub exists: bool,
    /// The Service.
    pub service: Option<Key>,
    /// Only endpoints on the client's own node may be used.
    pub node_local: bool,
    /// Endpoints that take traffic.
    pub endpoints: BTreeMap<SocketAddr, Arc<Endpoint>>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Share of traffic; 10000 is one endpoint's.
    pub weight: u32,
    /// Labels of metrics.
    pub labels: BTreeMap<String, String>,
    /// TLS identity, of a meshed endpoint.
    pub identity: Option<String>,
    /// What may be spoken to it.
    pub hint: Hint,
    /// Where it takes connections with a transport header.
    pub transport_port: Option<u16>,
    /// The authority to ask a gateway for.
    pub authority_override: Option<String>,
    /// The pod behind it.
    pub pod: Option<Key>,
    /// The node it is on.
    pub node: Option<String>,
    /// The zones whose clients should use it; none where that is left open.
    pub for_zones: Vec<String>,
}

/// What a client may assume of an endpoint's proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Nothing: there is no proxy.
    Unknown,
    /// It takes HTTP/2, and HTTP/1 carried over it.
    H2,
    /// It takes the port as opaque TCP.
    Opaque,
    /// It is a proxy, but nothing is to be carried.
    Meshed,
}

/// What is known of an address or a Service's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProfileView {
    /// A port of a Service.
    Service {
        /// The Service.
        service: Key,
        /// Its port.
        port: u16,
        /// Its fully qualified name.
        name: String,
        /// Whether the port is opaque.
        opaque: bool,
    },
    /// A port that the Service does not have.
    UndefinedPort,
    /// A pod.
    Pod {
        /// Its address.
        addr: SocketAddr,
        /// Itself.
        endpoint: Arc<Endpoint>,
        /// Whether the port is opaque.
        opaque: bool,
    },
    /// Nothing of the cluster.
    Unknown {
        /// Whether the port is opaque by default.
        opaque: bool,
    },
    /// A Service name that does not exist.
    NoService,
}
