//! The objects the mirror writes, as they are sent to server-side apply.

use crate::model::{Gateway, Key, LinkConfig, Port, RemoteService};
use crate::plan::{gateway_endpoints, remote_fqdn};
use mesh_types::{annotations, labels};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Annotation on member slices: `spec.trafficDistribution` of the member, for the federated Service.
pub const MEMBER_DISTRIBUTION: &str = "isthmus.dev/traffic-distribution";
/// Annotation on member slices: the member's ports as JSON, for the federated Service.
pub const MEMBER_PORTS: &str = "isthmus.dev/service-ports";
/// Annotation on member slices: when the member was created, RFC 3339.
pub const MEMBER_CREATED: &str = "isthmus.dev/created";
/// Annotation on member slices: the member's own failover annotation.
pub const MEMBER_FAILOVER: &str = "isthmus.dev/member-failover";

/// `<svc>-<cluster>`: same ports (with `appProtocol`), no selector.
pub fn mirror_service(
    link: &LinkConfig,
    service: &RemoteService,
    key: &Key,
    mut labels: BTreeMap<String, String>,
    mut annotations: BTreeMap<String, String>,
) -> Value {
    labels.extend(owned_by(link));
    annotations.insert(annotations::REMOTE_RESOURCE_VERSION.to_owned(), service.resource_version.clone());
    annotations.insert(annotations::REMOTE_SVC_FQ_NAME.to_owned(), remote_fqdn(link, service));
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": key.name, "namespace": key.namespace, "labels": labels, "annotations": annotations,
        },
        "spec": { "ports": service_ports(&service.ports) },
    })
}

/// A namespace made for mirrors. It is kept when they go: others may use it by then.
pub fn namespace(link: &LinkConfig, name: &str) -> Value {
    let labels: BTreeMap<String, String> = owned_by(link).into_iter().collect();
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

/// The slice behind a mirror: every port leads to the gateway's port.
pub fn mirror_slice(link: &LinkConfig, service: &RemoteService, key: &Key, gateway: &Gateway) -> Value {
    let mut slice = slice(link, service, key, &key.name, gateway);
    slice["endpoints"] = gateway_endpoints(gateway, service.ready_endpoints);
    slice
}

/// The slice of one member cluster behind a federated service.
pub fn member_slice(
    link: &LinkConfig,
    service: &RemoteService,
    key: &Key,
    federated: &str,
    gateway: &Gateway,
) -> Value {
    let mut slice = slice(link, service, key, federated, gateway);
    slice["endpoints"] = gateway_endpoints(gateway, service.ready_endpoints);
    let notes = &mut slice["metadata"]["annotations"];
    notes[annotations::READY_ENDPOINTS] = service.ready_endpoints.to_string().into();
    notes[MEMBER_CREATED] = service.created.clone().into();
    // Ports are plain data; serialising them cannot fail.
    notes[MEMBER_PORTS] = serde_json::to_string(&service.ports).unwrap_or_default().into();
    if let Some(distribution) = &service.traffic_distribution {
        notes[MEMBER_DISTRIBUTION] = distribution.clone().into();
    }
    if let Some(failover) = service.annotations.get(annotations::FAILOVER) {
        notes[MEMBER_FAILOVER] = failover.clone().into();
    }
    slice
}

fn slice(link: &LinkConfig, service: &RemoteService, key: &Key, of: &str, gateway: &Gateway) -> Value {
    let mut labels: BTreeMap<String, String> = owned_by(link).into_iter().collect();
    labels.insert(labels::SERVICE_NAME.to_owned(), of.to_owned());
    labels.insert(labels::SLICE_MANAGED_BY.to_owned(), labels::SLICE_MANAGER_MIRROR.to_owned());
    let ports = service.ports.iter().map(|p| {
        let mut port = json!({"name": p.name, "port": gateway.port, "protocol": p.protocol});
        if let Some(app) = &p.app_protocol {
            port["appProtocol"] = app.clone().into();
        }
        port
    });
    // The family of a slice never changes, so each has a name of its own.
    let (family, name) = match gateway.uses_ipv6() {
        true => ("IPv6", format!("{}-ipv6", key.name)),
        false => ("IPv4", key.name.clone()),
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": key.namespace,
            "labels": labels,
            "annotations": {
                (annotations::REMOTE_GATEWAY_IDENTITY): link.gateway_identity,
                (annotations::REMOTE_SVC_FQ_NAME): remote_fqdn(link, service),
            },
        },
        "addressType": family,
        "ports": ports.collect::<Vec<_>>(),
    })
}

/// The ports of a Service without names of targets: a mirror's endpoints are gateways, whose port the slice names.
pub fn service_ports(ports: &[Port]) -> Value {
    let ports = ports.iter().map(|p| {
        let mut port = json!({"port": p.port, "protocol": p.protocol});
        if !p.name.is_empty() {
            port["name"] = p.name.clone().into();
        }
        if let Some(app) = &p.app_protocol {
            port["appProtocol"] = app.clone().into();
        }
        port
    });
    ports.collect()
}

fn owned_by(link: &LinkConfig) -> [(String, String); 2] {
    [
        (labels::MIRRORED_SERVICE.to_owned(), "true".to_owned()),
        (labels::CLUSTER_NAME.to_owned(), link.cluster.to_string()),
    ]
}
