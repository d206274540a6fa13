//! Objects for tests, read as the API server would send them.

use crate::index::Settings;
use crate::model::{Key, Pod, Service, Slice};
use mesh_kube::k8s_openapi::api::core::v1 as core;
use mesh_kube::k8s_openapi::api::discovery::v1 as discovery;
use mesh_types::{OpaquePorts, ports};
use serde_json::{Value, json};

pub(crate) fn settings() -> Settings {
    Settings {
        control_plane_namespace: "linkerd".to_owned(),
        trust_domain: "cluster.local".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
        default_opaque: OpaquePorts::parse(ports::DEFAULT_OPAQUE),
        h2_upgrade: true,
    }
}

pub(crate) fn service(object: Value) -> (Key, Service) {
    let object: core::Service = serde_json::from_value(object).expect("a Service");
    (Key::of(&object.metadata), Service::from_object(&object))
}

pub(crate) fn slice(object: Value) -> (Key, Slice) {
    let object: discovery::EndpointSlice = serde_json::from_value(object).expect("an EndpointSlice");
    (Key::of(&object.metadata), Slice::from_object(&object).expect("a slice of a Service"))
}

pub(crate) fn pod(object: Value) -> (Key, Pod) {
    let object: core::Pod = serde_json::from_value(object).expect("a Pod");
    (Key::of(&object.metadata), Pod::from_object(&object))
}

/// A slice as the service mirror writes it.
pub(crate) fn gateway_slice(name: &str, of: &str, cluster: &str, address: &str, ready: Option<u32>) -> Value {
    let mut object = json!({
        "metadata": {
            "name": name, "namespace": "shop",
            "labels": {"kubernetes.io/service-name": of, "mirror.linkerd.io/cluster-name": cluster},
            "annotations": {
                "mirror.linkerd.io/remote-gateway-identity":
                    "linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local",
                "mirror.linkerd.io/remote-svc-fq-name": "web.shop.svc.cluster.local",
            }
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 4143}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}]
    });
    if let Some(ready) = ready {
        object["metadata"]["annotations"]["isthmus.dev/ready-endpoints"] = ready.to_string().into();
    }
    object
}
