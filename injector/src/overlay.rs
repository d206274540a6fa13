//! Annotations over values: the settings of one pod's proxy.

use crate::Values;
use crate::annotations::*;
use crate::warning::Warning;
use mesh_types::{OpaquePorts, PortSet, annotations as keys, parse_duration};
use serde_json::Value;
use std::collections::BTreeMap;

/// Annotations of a pod or a namespace.
pub type Annotations = BTreeMap<String, String>;

const POLICIES: [&str; 6] = [
    "all-unauthenticated",
    "all-authenticated",
    "cluster-unauthenticated",
    "cluster-authenticated",
    "deny",
    "audit",
];

/// The values for one pod: `values`, changed by its namespace's annotations and by its own.
pub fn overlay(values: &Values, pod: &Annotations, namespace: &Annotations) -> (Values, Vec<Warning>) {
    let mut v = values.clone();
    let mut o = Overlay { pod, namespace, warnings: Vec::new() };
    images(&mut o, &mut v);
    ports(&mut o, &mut v);
    resources(&mut o, &mut v);
    logging(&mut o, &mut v);
    lifecycle(&mut o, &mut v);
    connections(&mut o, &mut v);
    o.additional_env(&mut v.proxy.additional_env);
    // The role of one workload: a namespace cannot turn all of its pods into gateways.
    match pod.get(keys::ENABLE_GATEWAY).map(|text| text.trim().parse()) {
        Some(Ok(gateway)) => v.proxy.gateway = gateway,
        Some(Err(_)) => o.warn(keys::ENABLE_GATEWAY, "must be true or false"),
        None => {}
    }
    if o.find(DEBUG_SIDECAR).is_some_and(|(value, _)| value == "true") {
        o.warn(DEBUG_SIDECAR, "is not available here; use kubectl debug");
    }
    o.unknown_settings();
    (v, o.warnings)
}

fn images(o: &mut Overlay<'_>, v: &mut Values) {
    o.text(PROXY_IMAGE, &mut v.proxy.image.name);
    o.text(PROXY_VERSION_OVERRIDE, &mut v.proxy.image.version);
    if let Some(policy) = o.one_of(IMAGE_PULL_POLICY, &["Always", "IfNotPresent", "Never"]) {
        v.proxy.image.pull_policy = policy.clone();
        v.proxy_init.image.pull_policy = policy;
    }
}

fn ports(o: &mut Overlay<'_>, v: &mut Values) {
    o.parse(INBOUND_PORT, &mut v.proxy.ports.inbound, port);
    o.parse(OUTBOUND_PORT, &mut v.proxy.ports.outbound, port);
    o.parse(CONTROL_PORT, &mut v.proxy.ports.control, port);
    o.parse(ADMIN_PORT, &mut v.proxy.ports.admin, port);
    o.parse(keys::SKIP_INBOUND_PORTS, &mut v.proxy_init.ignore_inbound_ports, port_list);
    o.parse(keys::SKIP_OUTBOUND_PORTS, &mut v.proxy_init.ignore_outbound_ports, port_list);
    o.parse(keys::SKIP_SUBNETS, &mut v.proxy_init.skip_subnets, subnets);
    o.parse(keys::OPAQUE_PORTS, &mut v.proxy.opaque_ports, named_port_list);
    o.parse(keys::REQUIRE_IDENTITY_PORTS, &mut v.proxy.require_identity_on_inbound_ports, port_list);
    o.parse(POD_INBOUND_PORTS, &mut v.proxy.pod_inbound_ports, port_list);
}

fn resources(o: &mut Overlay<'_>, v: &mut Values) {
    let r = &mut v.proxy.resources;
    o.parse(CPU_REQUEST, &mut r.cpu.request, quantity);
    o.parse(CPU_LIMIT, &mut r.cpu.limit, quantity);
    o.parse(MEMORY_REQUEST, &mut r.memory.request, quantity);
    o.parse(MEMORY_LIMIT, &mut r.memory.limit, quantity);
    o.parse(STORAGE_REQUEST, &mut r.ephemeral_storage.request, quantity);
    o.parse(STORAGE_LIMIT, &mut r.ephemeral_storage.limit, quantity);
    o.parse(CPU_RATIO_LIMIT, &mut v.proxy.runtime.workers.maximum_cpu_ratio, |s| {
        let ratio = s.parse().ok().filter(|r: &f64| *r > 0.0 && *r < 1.0);
        ratio.map(Some).ok_or_else(|| "must be a number between 0 and 1, both excluded".to_owned())
    });
    o.parse(PROXY_UID, &mut v.proxy.uid, |s| match s.parse() {
        Ok(uid) if uid > 0 => Ok(uid),
        _ => Err("must be a user id above 0".to_owned()),
    });
    o.parse(PROXY_GID, &mut v.proxy.gid, |s| {
        s.parse::<u32>().map(i64::from).map_err(|_| "must be a group id".to_owned())
    });
}

fn logging(o: &mut Overlay<'_>, v: &mut Values) {
    o.text(LOG_LEVEL, &mut v.proxy.log_level);
    o.choice(LOG_FORMAT, &["plain", "json"], &mut v.proxy.log_format);
    o.choice(LOG_HTTP_HEADERS, &["off", "insecure"], &mut v.proxy.log_http_headers);
    o.choice(ACCESS_LOG, &["apache", "json"], &mut v.proxy.access_log);
    o.boolean(METRICS_HOSTNAMES, &mut v.proxy.metrics.hostname_labels);
}

fn lifecycle(o: &mut Overlay<'_>, v: &mut Values) {
    o.switch(ADMIN_SHUTDOWN, &mut v.proxy.enable_shutdown_endpoint);
    o.switch(PROXY_AWAIT, &mut v.proxy.await_ready);
    o.parse(SHUTDOWN_GRACE_PERIOD, &mut v.proxy.shutdown_grace_period, duration);
    o.parse(WAIT_BEFORE_EXIT, &mut v.proxy.wait_before_exit_seconds, |s| {
        s.parse().map_err(|_| "must be a number of seconds".to_owned())
    });
    for key in NATIVE_SIDECAR_OLD.iter().rev().chain([&NATIVE_SIDECAR]) {
        o.boolean(key, &mut v.proxy.native_sidecar);
    }
    o.parse(CLOSE_WAIT_TIMEOUT, &mut v.proxy_init.close_wait_timeout_secs, |s| {
        let seconds = parse_duration(s).map_err(|e| e.to_string())?.as_secs();
        u32::try_from(seconds).map_err(|_| "is too long".to_owned())
    });
}

fn connections(o: &mut Overlay<'_>, v: &mut Values) {
    let p = &mut v.proxy;
    o.boolean(EXTERNAL_PROFILES, &mut p.enable_external_profiles);
    o.parse(OUTBOUND_CONNECT_TIMEOUT, &mut p.outbound_connect_timeout, duration);
    o.parse(INBOUND_CONNECT_TIMEOUT, &mut p.inbound_connect_timeout, duration);
    o.parse(OUTBOUND_DISCOVERY_TIMEOUT, &mut p.outbound_discovery_cache_unused_timeout, duration);
    o.parse(INBOUND_DISCOVERY_TIMEOUT, &mut p.inbound_discovery_cache_unused_timeout, duration);
    o.boolean(DISABLE_OUTBOUND_DETECT_TIMEOUT, &mut p.disable_outbound_protocol_detect_timeout);
    o.boolean(DISABLE_INBOUND_DETECT_TIMEOUT, &mut p.disable_inbound_protocol_detect_timeout);
    o.choice(keys::DEFAULT_INBOUND_POLICY, &POLICIES, &mut p.default_inbound_policy);
}

struct Overlay<'a> {
    pod: &'a Annotations,
    namespace: &'a Annotations,
    warnings: Vec<Warning>,
}

impl<'a> Overlay<'a> {
    fn find(&self, key: &str) -> Option<(&'a str, &'static str)> {
        let on_pod = self.pod.get(key).map(|v| (v.trim(), "pod"));
        on_pod.or_else(|| self.namespace.get(key).map(|v| (v.trim(), "namespace")))
    }

    fn warn(&mut self, key: &str, problem: impl Into<String>) {
        if let Some((value, place)) = self.find(key) {
            let (key, value) = (key.to_owned(), value.to_owned());
            self.warnings.push(Warning::Annotation { key, place, value, problem: problem.into() });
        }
    }

    fn parse<T>(&mut self, key: &str, slot: &mut T, parse: impl FnOnce(&str) -> Result<T, String>) {
        let Some((value, _)) = self.find(key) else { return };
        match parse(value) {
            Ok(parsed) => *slot = parsed,
            Err(problem) => self.warn(key, problem),
        }
    }

    fn text(&mut self, key: &str, slot: &mut String) {
        self.parse(key, slot, |s| match s {
            "" => Err("must not be empty".to_owned()),
            text => Ok(text.to_owned()),
        });
    }

    fn one_of(&mut self, key: &str, allowed: &[&str]) -> Option<String> {
        let mut found = None;
        self.parse(key, &mut found, |s| match allowed.contains(&s) {
            true => Ok(Some(s.to_owned())),
            false => Err(format!("must be one of {}", allowed.join(", "))),
        });
        found
    }

    fn choice(&mut self, key: &str, allowed: &[&str], slot: &mut String) {
        if let Some(value) = self.one_of(key, allowed) {
            *slot = value;
        }
    }

    fn boolean(&mut self, key: &str, slot: &mut bool) {
        self.parse(key, slot, |s| s.parse().map_err(|_| "must be true or false".to_owned()));
    }

    fn switch(&mut self, key: &str, slot: &mut bool) {
        if let Some(value) = self.one_of(key, &["enabled", "disabled"]) {
            *slot = value == "enabled";
        }
    }

    /// Keys of the pod that look like settings and are none: mostly slips of the pen, which would otherwise have no
    /// effect and no trace.
    fn unknown_settings(&mut self) {
        for key in self.pod.keys().filter(|k| k.starts_with(keys::CONFIG_PREFIX) && !is_known(k)) {
            self.warnings.push(Warning::Unknown { key: key.clone() });
        }
    }

    /// Environment from all three places, the nearer winning by name.
    fn additional_env(&mut self, env: &mut Vec<Value>) {
        for (place, annotations) in [("namespace", self.namespace), ("pod", self.pod)] {
            let Some(text) = annotations.get(ADDITIONAL_ENV) else { continue };
            match serde_json::from_str::<Vec<Value>>(text) {
                Ok(list) if list.iter().all(|e| e.get("name").is_some_and(Value::is_string)) => {
                    for item in list {
                        env.retain(|e| e.get("name") != item.get("name"));
                        env.push(item);
                    }
                }
                _ => self.warnings.push(Warning::Annotation {
                    key: ADDITIONAL_ENV.to_owned(),
                    place,
                    value: text.clone(),
                    problem: "must be a JSON list of objects with a name and a value".to_owned(),
                }),
            }
        }
    }
}

fn port(s: &str) -> Result<u16, String> {
    s.parse().ok().filter(|p| *p > 0).ok_or_else(|| "must be a port from 1 to 65535".to_owned())
}

fn port_list(s: &str) -> Result<String, String> {
    s.parse::<PortSet>().map(|_| s.to_owned()).map_err(|e| format!("is not a list of ports: {e}"))
}

/// A list of ports, ranges and names of ports (RFC 6335, as Kubernetes wants them).
pub(crate) fn named_port_list(s: &str) -> Result<String, String> {
    for token in s.split(',').map(str::trim) {
        let name = |t: &str| {
            t.len() <= 15
                && t.contains(|c: char| c.is_ascii_lowercase())
                && t.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        if !name(token) {
            port_list(token)?;
        }
    }
    Ok(s.to_owned())
}

/// Warns of port names in a well-formed opaque-ports annotation that no port here has: whoever wrote them meant
/// something else.
pub(crate) fn unknown_port_names(
    text: &str,
    place: &'static str,
    of: &str,
    known: &[&str],
) -> Option<Warning> {
    named_port_list(text).ok()?;
    let opaque = OpaquePorts::parse(text);
    let missing = opaque.names().iter().filter(|n| !known.contains(&n.as_str()));
    let missing: Vec<String> = missing.map(|n| format!("{n:?}")).collect();
    (!missing.is_empty()).then(|| Warning::Annotation {
        key: keys::OPAQUE_PORTS.to_owned(),
        place,
        value: text.to_owned(),
        problem: format!(
            "has {}, neither a port number nor the name of a port of this {of}",
            missing.join(", ")
        ),
    })
}

fn subnets(s: &str) -> Result<String, String> {
    for token in s.split(',').map(str::trim).filter(|t| !t.is_empty()) {
        token
            .parse::<ipnet::IpNet>()
            .map_err(|_| format!("has {token:?}, which is no subnet such as 10.0.0.0/8"))?;
    }
    Ok(s.to_owned())
}

fn duration(s: &str) -> Result<String, String> {
    parse_duration(s).map(|_| s.to_owned()).map_err(|e| format!("is not valid: {e}"))
}

/// Kubernetes quantities: a decimal number and an optional suffix.
fn quantity(s: &str) -> Result<String, String> {
    let split = s.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(s.len());
    let (number, suffix) = s.split_at(split);
    let known = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    match number.parse::<f64>().is_ok() && known.contains(&suffix) {
        true => Ok(s.to_owned()),
        false => Err("is not a quantity such as 100m or 64Mi".to_owned()),
    }
}

#[cfg(test)]
mod tests;
