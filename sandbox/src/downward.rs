//! The downward API: what a pod may be told about itself, in files and in environment variables. Pure.

use serde_json::Value;

use crate::controllers::object;

/// The value of a `fieldRef` path. `Err` names a path that is not supported.
pub(crate) fn field(pod: &Value, path: &str) -> Result<String, String> {
    if let Some((map, key)) = subscript(path) {
        let found = pod.pointer(map).and_then(|fields| fields.get(key)).and_then(Value::as_str);
        return Ok(found.unwrap_or_default().to_owned());
    }
    let text = |pointer: &str| Ok(object::text(pod, pointer).to_owned());
    match path {
        "metadata.name" => text("/metadata/name"),
        "metadata.namespace" => text("/metadata/namespace"),
        "metadata.uid" => text("/metadata/uid"),
        "metadata.labels" => Ok(lines(pod, "/metadata/labels")),
        "metadata.annotations" => Ok(lines(pod, "/metadata/annotations")),
        "spec.nodeName" => text("/spec/nodeName"),
        "spec.serviceAccountName" => text("/spec/serviceAccountName"),
        "status.podIP" => text("/status/podIP"),
        "status.hostIP" => text("/status/hostIP"),
        "status.podIPs" => Ok(addresses(pod, "/status/podIPs")),
        "status.hostIPs" => Ok(addresses(pod, "/status/hostIPs")),
        _ => Err(format!("fieldRef.fieldPath {path:?} is not supported")),
    }
}

/// `metadata.labels['key']` as the pointer of the map and the key.
fn subscript(path: &str) -> Option<(&'static str, &str)> {
    let (map, rest) = match path.split_once('[')? {
        ("metadata.labels", rest) => ("/metadata/labels", rest),
        ("metadata.annotations", rest) => ("/metadata/annotations", rest),
        _ => return None,
    };
    let key = rest.strip_suffix(']')?;
    let quoted = |quote: char| key.strip_prefix(quote)?.strip_suffix(quote);
    Some((map, quoted('\'').or_else(|| quoted('"'))?))
}

/// `key="value"` lines, as the kubelet writes label and annotation files.
fn lines(pod: &Value, pointer: &str) -> String {
    let mut pairs: Vec<_> = object::map(pod, pointer).into_iter().flatten().collect();
    pairs.sort_by_key(|(key, _)| *key);
    let lines: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    lines.join("\n")
}

fn addresses(pod: &Value, pointer: &str) -> String {
    let all: Vec<&str> = object::items(pod, pointer).iter().map(|entry| object::text(entry, "/ip")).collect();
    all.join(",")
}

/// The value of a `resourceFieldRef` of a container, divided by its divisor and rounded up. Without a limit, the
/// machine's own size is told.
pub(crate) fn resource(container: &Value, reference: &Value) -> Result<String, String> {
    let name = object::text(reference, "/resource");
    let (kind, resource) = name.split_once('.').ok_or_else(|| unsupported(name))?;
    if !matches!(kind, "limits" | "requests") || !matches!(resource, "cpu" | "memory" | "ephemeral-storage") {
        return Err(unsupported(name));
    }
    let given = |kind: &str| container.pointer(&format!("/resources/{kind}/{resource}"));
    let amount = match given(kind).or_else(|| given("limits")) {
        Some(amount) => {
            quantity(amount).ok_or_else(|| format!("resource quantity {amount} cannot be read"))?
        }
        None if kind == "requests" => 0.0,
        None if resource == "cpu" => {
            std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64)
        }
        None => machine_memory(),
    };
    let divisor = reference.get("divisor").and_then(quantity).filter(|divisor| *divisor > 0.0).unwrap_or(1.0);
    Ok(format!("{}", (amount / divisor).ceil()))
}

fn unsupported(name: &str) -> String {
    format!("resourceFieldRef.resource {name:?} is not supported")
}

fn machine_memory() -> f64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total =
        info.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
    total.map_or(0.0, |kib: f64| kib * 1024.0)
}

/// A Kubernetes quantity such as `100m`, `1.5`, `64Mi`, as a number.
fn quantity(value: &Value) -> Option<f64> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        number => number.as_f64()?.to_string(),
    };
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let factor = match suffix {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}
