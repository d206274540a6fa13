//! Names: the services a gateway forwards to, which are those of its own cluster, and other gateways.

use mesh_types::{GATEWAY_SERVICE_ACCOUNT, Identity, MULTICLUSTER_NAMESPACE};

/// Whether an identity is named as the multicluster extension names gateways, in whatever trust domain.
pub(crate) fn is_gateway(identity: &Identity) -> bool {
    identity.workload().is_ok_and(|workload| {
        workload.service_account == GATEWAY_SERVICE_ACCOUNT && workload.namespace == MULTICLUSTER_NAMESPACE
    })
}

/// Whether `name` is `<service>.<namespace>.<suffix>`, or `<pod>.<service>.<namespace>.<suffix>`, for one of the suffixes.
///
/// Names are lower case and without trailing dots.
pub(crate) fn is_ours(name: &str, suffixes: &[String]) -> bool {
    suffixes.iter().any(|suffix| {
        let Some(labels) = name.strip_suffix(suffix.as_str()).and_then(|rest| rest.strip_suffix('.')) else {
            return false;
        };
        matches!(labels.split('.').count(), 2 | 3) && labels.split('.').all(|label| !label.is_empty())
    })
}

#[cfg(test)]
mod tests;
