//! Reading pods and other objects as raw JSON.

use serde_json::Value;
use std::collections::BTreeMap;

/// An object's annotations.
pub fn annotations_of(object: &Value) -> BTreeMap<String, String> {
    let map = object.pointer("/metadata/annotations").and_then(Value::as_object);
    map.into_iter().flatten().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
}

/// Containers of one list of the pod spec (`containers` or `initContainers`).
pub(crate) fn containers<'a>(pod: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    pod.get("spec").and_then(|s| s.get(list)).and_then(Value::as_array).into_iter().flatten()
}

/// Containers that run beside each other: the ordinary ones and native sidecars.
fn long_running(pod: &Value) -> impl Iterator<Item = &Value> {
    let sidecar = |c: &&Value| c.get("restartPolicy").and_then(Value::as_str) == Some("Always");
    containers(pod, "containers").chain(containers(pod, "initContainers").filter(sidecar))
}

/// TCP ports the pod's containers declare: name (may be empty) and number.
pub(crate) fn container_ports(pod: &Value) -> Vec<(&str, u16)> {
    let mut ports = Vec::new();
    for port in long_running(pod).filter_map(|c| c.get("ports")?.as_array()).flatten() {
        let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
        let number = port.get("containerPort").and_then(Value::as_u64).and_then(|p| u16::try_from(p).ok());
        if let (Some(number), "TCP") = (number, protocol) {
            ports.push((port.get("name").and_then(Value::as_str).unwrap_or_default(), number));
        }
    }
    ports
}

/// Replaces the names of container ports in a port list by their numbers. Names nobody has are dropped.
pub(crate) fn resolve_named_ports(list: &str, ports: &[(&str, u16)]) -> String {
    let resolved = list.split(',').map(str::trim).filter_map(|token| match token {
        "" => None,
        t if t.starts_with(|c: char| c.is_ascii_digit()) => Some(t.to_owned()),
        t => ports.iter().find(|(name, _)| *name == t).map(|(_, number)| number.to_string()),
    });
    resolved.collect::<Vec<_>>().join(",")
}
