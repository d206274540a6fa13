//! Services: opaque ports are written onto them when they are created, so that clients learn of them.

use crate::overlay::Annotations;
use crate::pod::annotations_of;
use mesh_types::PortSet;
use mesh_types::annotations::OPAQUE_PORTS;
use serde_json::Value;

/// The opaque-ports annotation a new Service should get: its namespace's, or those of the default opaque ports
/// that it really has. `None` when it has the annotation itself, or nothing applies.
pub fn opaque_ports_of_service(
    service: &Value,
    namespace: &Annotations,
    default_ports: &str,
) -> Option<String> {
    if annotations_of(service).contains_key(OPAQUE_PORTS) {
        return None;
    }
    if let Some(ports) = namespace.get(OPAQUE_PORTS) {
        return Some(ports.clone());
    }
    let default: PortSet = default_ports.parse().ok()?;
    let ports = service.pointer("/spec/ports").and_then(Value::as_array)?;
    let mut opaque = Vec::new();
    for entry in ports {
        let number = |key: &str| entry.get(key).and_then(Value::as_u64).and_then(|p| u16::try_from(p).ok());
        let Some(port) = number("port") else { continue };
        // What listens is the target port; what clients address, and what the annotation names, is the port.
        if default.contains(number("targetPort").filter(|p| *p != 0).unwrap_or(port)) {
            opaque.push(port);
        }
    }
    join(&opaque)
}

/// The ports of `numbers` that are in `set`, as an annotation value.
pub(crate) fn opaque_among(set: &PortSet, numbers: &[u16]) -> Option<String> {
    let found: Vec<u16> = numbers.iter().copied().filter(|p| set.contains(*p)).collect();
    join(&found)
}

fn join(ports: &[u16]) -> Option<String> {
    let texts: Vec<String> = ports.iter().map(u16::to_string).collect();
    (!texts.is_empty()).then(|| texts.join(","))
}

#[cfg(test)]
mod tests;
