//! What destination keeps of Services, EndpointSlices and Pods: the fields that answers are made of.

mod pod;
mod service;
mod slice;

pub use mesh_kube::Key;
pub use pod::{Pod, Proxy};
pub use service::{Service, ServicePort};
pub use slice::{GatewaySlice, Slice, SliceEndpoint};

use std::collections::BTreeMap;

type Map = Option<BTreeMap<String, String>>;

fn text<'a>(map: &'a Map, key: &str) -> Option<&'a str> {
    map.as_ref()?.get(key).map(String::as_str)
}

fn port(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|p| *p != 0)
}
