//! The downward API: fields of a pod as text, and resource quantities.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use serde_json::Value;

use crate::controllers::object;

/// Addresses that are known before the pod's status is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    /// The pod's.
    pub(crate) pod: Ipv4Addr,
    /// The node's.
    pub(crate) host: Ipv4Addr,
}

/// A `fieldRef` as text; `None` for a path that is not offered.
pub(crate) fn field(pod: &Value, path: &str, addresses: Addresses) -> Option<String> {
    for (list, pointer) in [("labels", "/metadata/labels"), ("annotations", "/metadata/annotations")] {
        if let Some(rest) = path.strip_prefix("metadata.").and_then(|path| path.strip_prefix(list)) {
            if rest.is_empty() {
                return Some(lines(object::map(pod, pointer)));
            }
            let key = rest.strip_prefix("['")?.strip_suffix("']")?;
            let value = object::map(pod, pointer).and_then(|map| map.get(key)).and_then(Value::as_str);
            return Some(value.unwrap_or_default().to_owned());
        }
    }
    let text = |pointer| Some(object::text(pod, pointer).to_owned());
    match path {
        "metadata.name" => text("/metadata/name"),
        "metadata.namespace" => text("/metadata/namespace"),
        "metadata.uid" => text("/metadata/uid"),
        "spec.nodeName" => text("/spec/nodeName"),
        "spec.serviceAccountName" => text("/spec/serviceAccountName"),
        "status.podIP" | "status.podIPs" => Some(addresses.pod.to_string()),
        "status.hostIP" | "status.hostIPs" => Some(addresses.host.to_string()),
        _ => None,
    }
}

/// `key="value"` lines, sorted, quoted as Kubernetes does.
fn lines(map: Option<&serde_json::Map<String, Value>>) -> String {
    let sorted: BTreeMap<_, _> = map.into_iter().flatten().collect();
    let mut out = String::new();
    for (key, value) in sorted {
        let _ = writeln!(out, "{key}={:?}", value.as_str().unwrap_or_default());
    }
    out.pop();
    out
}

/// A `resourceFieldRef` as text. What a container does not limit is limited by the machine.
pub(crate) fn resource(pod: &Value, reference: &Value, container: &str) -> Option<String> {
    let name = match object::text(reference, "/containerName") {
        "" => container,
        name => name,
    };
    let container = ["/spec/containers", "/spec/initContainers"]
        .iter()
        .flat_map(|list| object::items(pod, list))
        .find(|candidate| object::text(candidate, "/name") == name)?;
    let (which, resource) = object::text(reference, "/resource").split_once('.')?;
    let own = object::map(container, &format!("/resources/{which}")).and_then(|list| list.get(resource));
    let value = match own.and_then(quantity) {
        Some(value) => value,
        None if which == "requests" => 0,
        None => capacity(resource)?,
    };
    let divisor = reference.get("divisor").and_then(quantity).filter(|divisor| *divisor > 0).unwrap_or(1000);
    Some(((value + divisor - 1) / divisor).to_string())
}

/// What this machine has, in thousandths.
pub(crate) fn capacity(resource: &str) -> Option<i128> {
    match resource {
        "cpu" => Some(std::thread::available_parallelism().map_or(1, usize::from) as i128 * 1000),
        "memory" => {
            let text = std::fs::read_to_string("/proc/meminfo").ok()?;
            let kib: i128 = text.lines().next()?.split_whitespace().nth(1)?.parse().ok()?;
            Some(kib * 1024 * 1000)
        }
        _ => Some(0),
    }
}

/// A Kubernetes quantity in thousandths, such as `100m`, `1.5` or `64Mi`.
pub(crate) fn quantity(value: &Value) -> Option<i128> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let factor: i128 = match suffix {
        "m" => 1,
        "" => 1000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "Ki" => 1000 << 10,
        "Mi" => 1000 << 20,
        "Gi" => 1000 << 30,
        "Ti" => 1000 << 40,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mut out = if whole.is_empty() { 0 } else { whole.parse::<i128>().ok()? * factor };
    if !fraction.is_empty() {
        let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        out += fraction.parse::<i128>().ok()? * factor / scale;
    }
    Some(out)
}

#[cfg(test)]
mod tests;
