//! The objects of a link, as they go to the importing cluster, and the account they speak for in the exporting one.

use super::LinkArgs;
use super::exporter::Exporter;
use crate::own_version;
use crate::report::Problem;
use base64::Engine as _;
use mesh_types::{annotations, labels};
use serde_json::{Value, json};

/// Type of the Secrets that hold link credentials.
const CREDENTIALS_TYPE: &str = "mirror.linkerd.io/remote-kubeconfig";

/// Annotation that tells the mirror which Service publishes the gateway's addresses.
const GATEWAY_SERVICE: &str = "isthmus.dev/gateway-service";

/// Two Secrets and a Link.
pub(crate) fn for_importer(
    link: &LinkArgs,
    exporter: &Exporter,
    token: &str,
    control_plane: &str,
) -> anyhow::Result<Vec<Value>> {
    let name = format!("cluster-credentials-{}", exporter.cluster);
    let kubeconfig = base64::engine::general_purpose::STANDARD.encode(exporter.kubeconfig(token)?);
    let secret = |namespace: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": CREDENTIALS_TYPE,
            "metadata": {"name": name, "namespace": namespace},
            "data": {"kubeconfig": kubeconfig},
        })
    };
    let mut for_destination = secret(control_plane);
    for_destination["metadata"]["labels"] = json!({ (labels::LINK_CLUSTER_NAME): exporter.cluster.as_str() });
    for_destination["metadata"]["annotations"] = json!({
        (annotations::TRUST_DOMAIN): exporter.trust_domain,
        (annotations::CLUSTER_DOMAIN): exporter.domain,
    });
    Ok(vec![secret(&link.namespace), for_destination, link_object(link, exporter, control_plane)?])
}

fn link_object(link: &LinkArgs, exporter: &Exporter, control_plane: &str) -> anyhow::Result<Value> {
    let gateway = &exporter.gateway;
    let mut notes = json!({ (annotations::CREATED_BY): format!("linkerd/cli {}", own_version()) });
    if !gateway.pinned {
        notes[GATEWAY_SERVICE] = format!("{}/{}", gateway.namespace, gateway.name).into();
    }
    Ok(json!({
        "apiVersion": "multicluster.linkerd.io/v1alpha3", "kind": "Link",
        "metadata": {"name": exporter.cluster.as_str(), "namespace": link.namespace, "annotations": notes},
        "spec": {
            "targetClusterName": exporter.cluster.as_str(),
            "targetClusterDomain": exporter.domain,
            "targetClusterLinkerdNamespace": control_plane,
            "clusterCredentialsSecret": format!("cluster-credentials-{}", exporter.cluster),
            "gatewayAddress": gateway.addresses.join(","),
            "gatewayPort": gateway.port.to_string(),
            "gatewayIdentity": gateway.identity,
            "probeSpec": {
                "path": gateway.probe_path,
                "port": gateway.probe_port.to_string(),
                "period": gateway.probe_period,
                "timeout": "2s",
                "failureThreshold": "3",
            },
            "selector": selector("--selector", &link.selector)?,
            "remoteDiscoverySelector": selector("--remote-discovery-selector", &link.remote_discovery_selector)?,
            "federatedServiceSelector": selector("--federated-service-selector", &link.federated_service_selector)?,
            "excludedAnnotations": link.excluded_annotations,
            "excludedLabels": link.excluded_labels,
        },
    }))
}

/// The account in the exporting cluster that one importing cluster gets: it may read services and endpoint slices,
/// nothing else, and can be revoked alone.
pub(crate) fn for_exporter(namespace: &str, account: &str) -> Vec<Value> {
    let labels = json!({(labels::EXTENSION): "multicluster", "component": "service-mirror-remote-access"});
    vec![
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": account, "namespace": namespace, "labels": labels},
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": account, "labels": labels},
            "rules": [
                {"apiGroups": [""], "resources": ["services"], "verbs": ["get", "list", "watch"]},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]},
            ],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": account, "labels": labels},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": account},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
        }),
    ]
}

/// `key=value,key2=value2` as a LabelSelector; empty selects nothing.
fn selector(flag: &str, text: &str) -> anyhow::Result<Value> {
    let mut labels = serde_json::Map::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let pair = part.split_once('=').map(|(k, v)| (k.trim(), v.trim_start_matches('=').trim()));
        match pair {
            Some((key, value)) if !key.is_empty() && !key.ends_with('!') => {
                labels.insert(key.to_owned(), value.into());
            }
            _ => {
                let why = format!("{part:?} is not key=value");
                return Err(Problem::usage(
                    format!("{flag} cannot be read"),
                    why,
                    "give it as key=value,key2=value2",
                )
                .into());
            }
        }
    }
    Ok(json!({ "matchLabels": labels }))
}

#[cfg(test)]
mod tests;
