//! The policy in force until the policy service answers.

use super::{Authentication, Authorization, Meta, Network, Protocol, ServerPolicy};
use crate::config::{DefaultPolicy, Inbound};
use std::sync::Arc;

/// The policy of `port` by the proxy's own environment.
pub fn default_policy(config: &Inbound, port: u16) -> ServerPolicy {
    let name = match config.default_policy {
        DefaultPolicy::AllUnauthenticated => "all-unauthenticated",
        DefaultPolicy::AllAuthenticated => "all-authenticated",
        DefaultPolicy::ClusterUnauthenticated => "cluster-unauthenticated",
        DefaultPolicy::ClusterAuthenticated => "cluster-authenticated",
        DefaultPolicy::Audit => "audit",
        DefaultPolicy::Deny => "deny",
    };
    let meta = Meta { group: "".into(), kind: "default".into(), name: name.into() };
    let cluster = || {
        let network = |net: &ipnet::IpNet| Network { net: *net, except: Vec::new() };
        config.cluster_networks.iter().map(network).collect()
    };
    let authenticated =
        || Authentication::Identities { names: Default::default(), suffixes: vec![String::new()] };
    let (networks, mut authentication) = match config.default_policy {
        DefaultPolicy::AllUnauthenticated | DefaultPolicy::Audit => {
            (Network::all(), Authentication::Unauthenticated)
        }
        DefaultPolicy::AllAuthenticated => (Network::all(), authenticated()),
        DefaultPolicy::ClusterUnauthenticated => (cluster(), Authentication::Unauthenticated),
        DefaultPolicy::ClusterAuthenticated => (cluster(), authenticated()),
        DefaultPolicy::Deny => (Vec::new(), authenticated()),
    };
    if config.require_identity.contains(port) {
        authentication = authenticated();
    }
    let authorizations: Arc<[_]> = if networks.is_empty() {
        Arc::new([])
    } else {
        Arc::new([Authorization { meta: meta.clone(), networks, authentication }])
    };
    let protocol = if config.opaque.contains(port) {
        Protocol::Opaque
    } else {
        Protocol::Detect { timeout: config.detect_timeout, routes: Arc::default() }
    };
    ServerPolicy { meta, protocol, authorizations, rate_limit: None }
}
