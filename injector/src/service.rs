//! Services: opaque ports are written onto them when they are created, so that clients learn of them.

use crate::overlay::{Annotations, named_port_list, unknown_port_names};
use crate::pod::annotations_of;
use crate::warning::Warning;
use mesh_types::PortSet;
use mesh_types::annotations::OPAQUE_PORTS;
use serde_json::Value;

/// The opaque-ports annotation a new Service should get: its namespace's, or those of the default opaque ports
/// that it really has. `None` when it has the annotation itself, or nothing applies. A list that cannot be read is
/// told of, and not handed down.
pub fn opaque_ports_of_service(
    service: &Value,
    namespace: &Annotations,
    default_ports: &str,
) -> (Option<String>, Option<Warning>) {
    let declared = service.pointer("/spec/ports").and_then(Value::as_array);
    let ports: Vec<&Value> = declared.into_iter().flatten().collect();
    if let Some(own) = annotations_of(service).get(OPAQUE_PORTS) {
        let names: Vec<&str> = ports.iter().filter_map(|p| p.get("name")?.as_str()).collect();
        return (
            None,
            unreadable(own, "service").or_else(|| unknown_port_names(own, "service", "service", &names)),
        );
    }
    if let Some(inherited) = namespace.get(OPAQUE_PORTS) {
        return match unreadable(inherited, "namespace") {
            Some(warning) => (None, Some(warning)),
            None => (Some(inherited.clone()), None),
        };
    }
    let default: PortSet = default_ports.parse().unwrap_or_default();
    let opaque = ports.iter().filter_map(|entry| {
        let number = |key: &str| entry.get(key).and_then(Value::as_u64).and_then(|p| u16::try_from(p).ok());
        let port = number("port")?;
        // What listens is the target port; what clients address, and what the annotation names, is the port.
        default.contains(number("targetPort").filter(|p| *p != 0).unwrap_or(port)).then_some(port)
    });
    (join(&opaque.collect::<Vec<u16>>()), None)
}

fn unreadable(text: &str, place: &'static str) -> Option<Warning> {
    // An empty list is an opinion: nothing is opaque.
    let problem = named_port_list(text).err().filter(|_| !text.trim().is_empty())?;
    Some(Warning::Annotation { key: OPAQUE_PORTS.to_owned(), place, value: text.to_owned(), problem })
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
