//! Objects for tests, read as the API server would send them.

use crate::defaults::DefaultPolicy;
use crate::inbound::InboundSettings;
use crate::index::Index;
use crate::model::{Key, Member, Namespace, Pod, Service};
use crate::outbound::OutboundSettings;
use mesh_kube::k8s_openapi::api::core::v1 as core;
use mesh_kube::k8s_openapi::api::discovery::v1 as discovery;
use mesh_types::{OpaquePorts, ports};
use serde_json::Value;

pub(crate) fn index() -> Index {
    let default_opaque = OpaquePorts::parse(ports::DEFAULT_OPAQUE);
    let inbound = InboundSettings {
        default_policy: DefaultPolicy::AllUnauthenticated,
        cluster_networks: vec!["10.0.0.0/8".parse().expect("a network")],
        probe_networks: vec!["0.0.0.0/0".parse().expect("a network")],
        default_opaque: default_opaque.clone(),
    };
    let outbound = OutboundSettings {
        cluster_domain: "cluster.local".to_owned(),
        default_opaque,
        allow_l5d_request_headers: false,
    };
    Index::new(inbound, outbound)
}

pub(crate) fn namespace(index: &mut Index, object: Value) {
    let object: core::Namespace = serde_json::from_value(object).expect("a Namespace");
    index.set_namespace(&Key::of(&object.metadata), Some(Namespace::from_object(&object)));
}

pub(crate) fn pod(index: &mut Index, object: Value) {
    let object: core::Pod = serde_json::from_value(object).expect("a Pod");
    index.set_pod(&Key::of(&object.metadata), Some(Pod::from_object(&object)));
}

pub(crate) fn service(index: &mut Index, object: Value) {
    let object: core::Service = serde_json::from_value(object).expect("a Service");
    index.set_service(&Key::of(&object.metadata), Some(Service::from_object(&object)));
}

pub(crate) fn slice(index: &mut Index, object: Value) {
    let object: discovery::EndpointSlice = serde_json::from_value(object).expect("an EndpointSlice");
    index.set_member(&Key::of(&object.metadata), Member::from_object(&object));
}
