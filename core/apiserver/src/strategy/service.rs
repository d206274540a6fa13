//! Services: their addresses and node ports.

use crate::allocate::{Guard, NODE_PORTS};
use crate::api::{Api, Target};
use crate::error::{ApiError, FieldError};
use crate::object;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Fields that only Services with an address have.
const ADDRESS_FIELDS: &[&str] = &[
    "clusterIP",
    "clusterIPs",
    "ipFamilies",
    "ipFamilyPolicy",
    "internalTrafficPolicy",
    "healthCheckNodePort",
];

pub(super) fn allocate(
    api: &Api,
    guard: &Guard<'_>,
    target: &Target,
    service: &mut Value,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    if !service["spec"].is_object() {
        return Ok(());
    }
    let others: Vec<_> = api
        .store
        .list("services", None)
        .objects
        .into_iter()
        .filter(|s| object::namespace(s) != target.namespace || object::name(s) != target.name)
        .collect();
    if object::text(service, "/spec/type") == "ExternalName" {
        if let Some(spec) = service["spec"].as_object_mut() {
            ADDRESS_FIELDS.iter().for_each(|f| drop(spec.remove(*f)));
        }
        release_ports(service);
        return Ok(());
    }
    address(api, guard, target, service, old, &others)?;
    node_ports(api, guard, target, service, old, &others)
}

/// An update that leaves out what was allocated keeps it.
pub(super) fn carry(before: &Value, new: &mut Value) {
    let external = |service: &Value| object::text(service, "/spec/type") == "ExternalName";
    if external(before) || external(new) || !new["spec"].is_object() {
        return;
    }
    // A client that only changes the type leaves the ports as they were; they go with the type.
    if wants_node_ports(before) && !wants_node_ports(new) && before["spec"]["ports"] == new["spec"]["ports"] {
        release_ports(new);
    }
    // So it is with what only Services that are reached from outside have.
    let is_outside =
        |service: &Value| matches!(object::text(service, "/spec/type"), "LoadBalancer" | "NodePort");
    let is_balanced = |service: &Value| object::text(service, "/spec/type") == "LoadBalancer";
    let gone = [
        ("externalTrafficPolicy", is_outside(before) && !is_outside(new)),
        ("allocateLoadBalancerNodePorts", is_balanced(before) && !is_balanced(new)),
        ("loadBalancerClass", is_balanced(before) && !is_balanced(new)),
    ];
    for (field, is_gone) in gone {
        if is_gone && before["spec"][field] == new["spec"][field] {
            object::member_mut(new, "spec").remove(field);
        }
    }
    if is_balanced(before) && !is_balanced(new) {
        new["status"] = json!({"loadBalancer": {}});
    }
    // Who changes the one address means the first of all.
    let (address, had) = (object::text(new, "/spec/clusterIP"), object::text(before, "/spec/clusterIP"));
    if !address.is_empty() && address != had && new["spec"]["clusterIPs"] == before["spec"]["clusterIPs"] {
        new["spec"]["clusterIPs"] = json!([address]);
    }
    let asked = !object::text(new, "/spec/clusterIP").is_empty()
        || !object::items(new, "/spec/clusterIPs").is_empty();
    if !asked {
        for name in ["clusterIP", "clusterIPs"] {
            object::copy(&before["spec"], name, object::member_mut(new, "spec"));
        }
    }
}

fn address(
    api: &Api,
    guard: &Guard<'_>,
    target: &Target,
    service: &mut Value,
    old: Option<&Value>,
    others: &[std::sync::Arc<Value>],
) -> Result<(), ApiError> {
    let listed = object::text(service, "/spec/clusterIPs/0").to_owned();
    let mut wanted = object::text(service, "/spec/clusterIP").to_owned();
    if wanted.is_empty() {
        wanted = listed;
    }
    let had = old.map(|o| object::text(o, "/spec/clusterIP").to_owned()).unwrap_or_default();
    if wanted.is_empty() {
        wanted.clone_from(&had);
    }
    if !had.is_empty() && wanted != had {
        let causes =
            vec![FieldError::invalid("spec.clusterIPs[0]", &json!([wanted]), "may not change once set")];
        return Err(target.invalid(causes));
    }
    let taken: BTreeSet<IpAddr> =
        others.iter().filter_map(|s| object::text(s, "/spec/clusterIP").parse().ok()).collect();
    if wanted.is_empty() {
        let free = api.allocator.address(guard, &taken);
        let none_left = || ApiError::Internal("failed to allocate a serviceIP: range is full".into());
        wanted = free.ok_or_else(none_left)?.to_string();
    } else if wanted != "None" && wanted != had {
        check_wanted(api, target, &wanted, &taken)?;
    }
    let spec = object::member_mut(service, "spec");
    spec.insert("clusterIPs".into(), json!([wanted]));
    spec.insert("clusterIP".into(), wanted.into());
    spec.entry("ipFamilies").or_insert_with(|| json!(["IPv4"]));
    spec.entry("ipFamilyPolicy").or_insert_with(|| json!("SingleStack"));
    spec.entry("internalTrafficPolicy").or_insert_with(|| json!("Cluster"));
    Ok(())
}

fn check_wanted(api: &Api, target: &Target, wanted: &str, taken: &BTreeSet<IpAddr>) -> Result<(), ApiError> {
    let refuse = |why: String| {
        Err(target.invalid(vec![FieldError::invalid("spec.clusterIPs", &json!([wanted]), why)]))
    };
    match wanted.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) if !api.allocator.cidr.contains(&ip) => refuse(format!(
            "failed to allocate IP {wanted}: the provided IP ({wanted}) is not in the valid range. The range of valid \
             IPs is {}",
            api.allocator.cidr
        )),
        Ok(ip) if taken.contains(&ip) => {
            refuse(format!("failed to allocate IP {wanted}: provided IP is already allocated"))
        }
        Ok(IpAddr::V4(_)) => Ok(()),
        Ok(IpAddr::V6(_)) => refuse("IPv6 is not configured on this cluster".into()),
        Err(_) => refuse("must be a valid IP address or 'None' for headless services".into()),
    }
}

fn wants_node_ports(service: &Value) -> bool {
    match object::text(service, "/spec/type") {
        "NodePort" => true,
        "LoadBalancer" => service["spec"]["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

fn node_ports(
    api: &Api,
    guard: &Guard<'_>,
    target: &Target,
    service: &mut Value,
    old: Option<&Value>,
    others: &[std::sync::Arc<Value>],
) -> Result<(), ApiError> {
    if !wants_node_ports(service) {
        if old.is_some_and(wants_node_ports) {
            release_ports(service);
        }
        return Ok(());
    }
    let mut taken: BTreeSet<u16> = others.iter().flat_map(|s| ports(s)).collect();
    let asked: Vec<u16> = ports(service).collect();
    for (index, port) in asked.iter().enumerate() {
        let field = format!("spec.ports[{index}].nodePort");
        if !NODE_PORTS.contains(port) {
            let why = "provided port is not in the valid range. The range of valid ports is 30000-32767";
            return Err(target.invalid(vec![FieldError::invalid(field, &json!(port), why)]));
        }
        if taken.contains(port) {
            let why = "provided port is already allocated";
            return Err(target.invalid(vec![FieldError::invalid(field, &json!(port), why)]));
        }
    }
    taken.extend(asked);
    health_port(api, guard, service, old, &mut taken)?;
    let earlier = old.map(|o| object::items(o, "/spec/ports").to_vec()).unwrap_or_default();
    for port in ports_mut(service) {
        if !port.is_object() || port["nodePort"].as_u64().is_some_and(|n| n != 0) {
            continue;
        }
        let same = |o: &&Value| o["port"] == port["port"] && o["protocol"] == port["protocol"];
        let kept = earlier.iter().find(same).and_then(node_port).filter(|p| !taken.contains(p));
        let none_left = || ApiError::Internal("failed to allocate a nodePort: range is full".into());
        let number = kept.or_else(|| api.allocator.port(guard, &taken)).ok_or_else(none_left)?;
        taken.insert(number);
        port["nodePort"] = number.into();
    }
    Ok(())
}

/// A LoadBalancer that keeps client addresses is asked for its health on a port of its own.
fn health_port(
    api: &Api,
    guard: &Guard<'_>,
    service: &mut Value,
    old: Option<&Value>,
    taken: &mut BTreeSet<u16>,
) -> Result<(), ApiError> {
    let local = object::text(service, "/spec/externalTrafficPolicy") == "Local";
    let given =
        |s: &Value| s.pointer("/spec/healthCheckNodePort").and_then(Value::as_u64).filter(|n| *n != 0);
    if object::text(service, "/spec/type") != "LoadBalancer" || !local {
        object::member_mut(service, "spec").remove("healthCheckNodePort");
    } else if given(service).is_none() {
        let kept = old.and_then(given).and_then(|n| u16::try_from(n).ok());
        let none_left = || ApiError::Internal("failed to allocate a nodePort: range is full".into());
        let port = kept.or_else(|| api.allocator.port(guard, taken)).ok_or_else(none_left)?;
        taken.insert(port);
        object::member_mut(service, "spec").insert("healthCheckNodePort".into(), port.into());
    }
    Ok(())
}

fn node_port(port: &Value) -> Option<u16> {
    port["nodePort"].as_u64().and_then(|n| u16::try_from(n).ok()).filter(|n| *n != 0)
}

fn ports(service: &Value) -> impl Iterator<Item = u16> {
    let health = service.pointer("/spec/healthCheckNodePort").and_then(Value::as_u64);
    let health = health.and_then(|n| u16::try_from(n).ok()).filter(|n| *n != 0);
    object::items(service, "/spec/ports").iter().filter_map(node_port).chain(health)
}

fn release_ports(service: &mut Value) {
    for port in ports_mut(service) {
        if let Some(port) = port.as_object_mut() {
            port.remove("nodePort");
        }
    }
}

/// Not by index, which would write a null for a list that is not there.
fn ports_mut(service: &mut Value) -> impl Iterator<Item = &mut Value> {
    service.pointer_mut("/spec/ports").and_then(Value::as_array_mut).into_iter().flatten()
}
