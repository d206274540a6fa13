//! EndpointSlices, and the legacy Endpoints object, for Services with a selector.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::object::{self, Key};
use super::plan::{Action, Plan};
use super::pods;
use super::world::{Kind, World};

/// Label that names the controller of a slice; slices of others (a service mirror's) are left alone.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const OUR_NAME: &str = "endpointslice-controller.k8s.io";
/// Label that ties a slice to its Service.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Endpoints in one slice, as `--max-endpoints-per-slice`'s default.
const SLICE_SIZE: usize = 100;

/// One selected pod with the Service's ports as they resolve on it.
struct Member {
    pod: Arc<Value>,
    ready: bool,
    serving: bool,
    terminating: bool,
}

/// Plans the slices and Endpoints of one Service.
pub(crate) fn plan(world: &World, key: &Key) -> Plan {
    let mut plan = Plan::default();
    let Some(service) = world.object(Kind::Service, key) else { return plan };
    let selector = object::map(service, "/spec/selector").filter(|selector| !selector.is_empty());
    if object::is_deleting(service)
        || selector.is_none()
        || object::text(service, "/spec/type") == "ExternalName"
    {
        return plan;
    }
    let groups = group(world, service);
    plan_slices(world, service, &groups, &mut plan);
    plan_legacy(world, service, &groups, &mut plan);
    plan
}

/// The members of a Service by the ports they serve (named target ports may resolve differently per pod).
fn group(world: &World, service: &Value) -> BTreeMap<String, (Vec<Value>, Vec<Member>)> {
    let selector = object::map(service, "/spec/selector");
    let publish_all = object::flag(service, "/spec/publishNotReadyAddresses");
    let mut groups: BTreeMap<String, (Vec<Value>, Vec<Member>)> = BTreeMap::new();
    for pod in world.in_namespace(Kind::Pod, object::namespace(service)) {
        let has_address = !object::text(pod, "/status/podIP").is_empty();
        if !has_address || pods::is_finished(pod) || !object::selects_plainly(selector, pod) {
            continue;
        }
        let ports = resolve_ports(service, pod);
        if ports.is_empty() && !object::items(service, "/spec/ports").is_empty() {
            continue;
        }
        let (serving, terminating) = (publish_all || pods::is_ready(pod), object::is_deleting(pod));
        let ready = publish_all || (serving && !terminating);
        let identity = Value::Array(ports.clone()).to_string();
        let member = Member { pod: pod.clone(), ready, serving, terminating };
        groups.entry(identity).or_insert_with(|| (ports, Vec::new())).1.push(member);
    }
    groups
}

fn resolve_ports(service: &Value, pod: &Value) -> Vec<Value> {
    let resolved = |port: &Value| {
        let number = match port.get("targetPort") {
            Some(Value::String(name)) => named_port(pod, name, protocol(port))?,
            Some(Value::Number(number)) if number.as_i64() != Some(0) => number.as_i64()?,
            _ => object::int(port, "/port")?,
        };
        Some(endpoint_port(port, number))
    };
    object::items(service, "/spec/ports").iter().filter_map(resolved).collect()
}

fn protocol(port: &Value) -> &str {
    Some(object::text(port, "/protocol")).filter(|name| !name.is_empty()).unwrap_or("TCP")
}

fn endpoint_port(port: &Value, number: i64) -> Value {
    let mut out = json!({ "name": object::text(port, "/name"), "port": number, "protocol": protocol(port) });
    if let Some(app) = port.get("appProtocol").filter(|app| !app.is_null()) {
        out["appProtocol"] = app.clone();
    }
    out
}

fn named_port(pod: &Value, name: &str, protocol_wanted: &str) -> Option<i64> {
    let sidecars = object::items(pod, "/spec/initContainers")
        .iter()
        .filter(|container| object::text(container, "/restartPolicy") == "Always");
    object::items(pod, "/spec/containers")
        .iter()
        .chain(sidecars)
        .flat_map(|container| object::items(container, "/ports"))
        .find(|port| object::text(port, "/name") == name && protocol(port) == protocol_wanted)
        .and_then(|port| object::int(port, "/containerPort"))
}

fn target(pod: &Value) -> Value {
    json!({ "kind": "Pod", "namespace": object::namespace(pod), "name": object::name(pod), "uid": object::uid(pod) })
}

/// The pod's host name, when it has asked for a record under this Service.
fn hostname<'a>(service: &Value, pod: &'a Value) -> Option<&'a str> {
    let name = object::text(pod, "/spec/hostname");
    (!name.is_empty() && object::text(pod, "/spec/subdomain") == object::name(service)).then_some(name)
}

fn endpoint(service: &Value, member: &Member) -> Value {
    let mut out = json!({
        "addresses": [object::text(&member.pod, "/status/podIP")],
        "conditions": { "ready": member.ready, "serving": member.serving, "terminating": member.terminating },
        "targetRef": target(&member.pod),
    });
    if let Some(name) = hostname(service, &member.pod) {
        out["hostname"] = json!(name);
    }
    let node = object::text(&member.pod, "/spec/nodeName");
    if !node.is_empty() {
        out["nodeName"] = json!(node);
    }
    out
}

fn slice_labels(service: &Value) -> Map<String, Value> {
    let mut labels = object::map(service, "/metadata/labels").cloned().unwrap_or_default();
    labels.retain(|key, _| key != HEADLESS && key != SERVICE_NAME && key != MANAGED_BY);
    labels.insert(MANAGED_BY.to_owned(), json!(OUR_NAME));
    labels.insert(SERVICE_NAME.to_owned(), json!(object::name(service)));
    if object::text(service, "/spec/clusterIP") == "None" {
        labels.insert(HEADLESS.to_owned(), json!(""));
    }
    labels
}

/// The slices a Service should have, by name. A Service without members keeps one empty slice.
fn wanted_slices(
    service: &Value,
    groups: &BTreeMap<String, (Vec<Value>, Vec<Member>)>,
) -> BTreeMap<String, (Value, Value)> {
    let (name, uid) = (object::name(service), object::uid(service));
    let mut slices = BTreeMap::new();
    for (index, (identity, (ports, members))) in groups.iter().enumerate() {
        for (chunk, members) in members.chunks(SLICE_SIZE).enumerate() {
            let seed = if index == 0 { json!([uid, chunk]) } else { json!([uid, chunk, identity]) };
            let endpoints: Vec<_> = members.iter().map(|member| endpoint(service, member)).collect();
            slices
                .insert(format!("{name}-{}", object::short_hash(&seed, 5)), (json!(endpoints), json!(ports)));
        }
    }
    if slices.is_empty() {
        let numeric = |port: &Value| {
            let number = port.get("targetPort").and_then(Value::as_i64).filter(|number| *number != 0);
            let named = port.get("targetPort").is_some_and(Value::is_string);
            (!named).then(|| {
                endpoint_port(port, number.or_else(|| object::int(port, "/port")).unwrap_or_default())
            })
        };
        let ports: Vec<_> = object::items(service, "/spec/ports").iter().filter_map(numeric).collect();
        slices
            .insert(format!("{name}-{}", object::short_hash(&json!([uid, 0]), 5)), (json!([]), json!(ports)));
    }
    slices
}

fn plan_slices(
    world: &World,
    service: &Value,
    groups: &BTreeMap<String, (Vec<Value>, Vec<Member>)>,
    plan: &mut Plan,
) {
    let namespace = object::namespace(service);
    let labels = slice_labels(service);
    let mut wanted = wanted_slices(service, groups);
    for slice in world.in_namespace(Kind::EndpointSlice, namespace) {
        let held = object::map(slice, "/metadata/labels");
        let is = |key: &str, value: &str| {
            held.and_then(|held| held.get(key)).and_then(Value::as_str) == Some(value)
        };
        if !is(MANAGED_BY, OUR_NAME) || !is(SERVICE_NAME, object::name(service)) {
            continue;
        }
        let owned = object::items(slice, "/metadata/ownerReferences")
            .iter()
            .any(|owner| object::text(owner, "/uid") == object::uid(service));
        match wanted.remove(object::name(slice)) {
            Some((endpoints, ports)) if owned => {
                let same = slice.get("endpoints").unwrap_or(&json!([])) == &endpoints
                    && slice.get("ports").unwrap_or(&json!([])) == &ports
                    && held == Some(&labels);
                if !same {
                    let patch = json!({
                        "metadata": { "labels": label_patch(held, &labels) }, "endpoints": endpoints, "ports": ports,
                    });
                    plan.push(Action::Patch(Kind::EndpointSlice, Key::of(slice), patch));
                }
            }
            _ => {
                plan.push(Action::Delete(Kind::EndpointSlice, Key::of(slice), object::uid(slice).to_owned()))
            }
        }
    }
    for (name, (endpoints, ports)) in wanted {
        plan.push(Action::Create(
            Kind::EndpointSlice,
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {
                    "namespace": namespace, "name": name, "labels": labels,
                    "ownerReferences": [object::controller_reference(service, "v1", "Service")],
                },
                "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
            }),
        ));
    }
}

/// A merge patch from one label map to another.
fn label_patch(held: Option<&Map<String, Value>>, wanted: &Map<String, Value>) -> Map<String, Value> {
    let mut patch = wanted.clone();
    for key in held.into_iter().flat_map(Map::keys) {
        patch.entry(key.clone()).or_insert(Value::Null);
    }
    patch
}

fn plan_legacy(
    world: &World,
    service: &Value,
    groups: &BTreeMap<String, (Vec<Value>, Vec<Member>)>,
    plan: &mut Plan,
) {
    let key = Key::of(service);
    let mut subsets = Vec::new();
    for (ports, members) in groups.values() {
        let address = |member: &Member| {
            let mut out =
                json!({ "ip": object::text(&member.pod, "/status/podIP"), "targetRef": target(&member.pod) });
            if let Some(name) = hostname(service, &member.pod) {
                out["hostname"] = json!(name);
            }
            let node = object::text(&member.pod, "/spec/nodeName");
            if !node.is_empty() {
                out["nodeName"] = json!(node);
            }
            out
        };
        let ready: Vec<_> = members.iter().filter(|member| member.ready).map(address).collect();
        let waiting: Vec<_> =
            members.iter().filter(|member| !member.ready && !member.terminating).map(address).collect();
        let mut subset = json!({ "ports": ports });
        for (field, addresses) in [("addresses", ready), ("notReadyAddresses", waiting)] {
            if !addresses.is_empty() {
                subset[field] = json!(addresses);
            }
        }
        if subset.as_object().is_some_and(|fields| fields.len() > 1) {
            subsets.push(subset);
        }
    }
    let subsets = json!(subsets);
    match world.object(Kind::Endpoints, &key) {
        None => plan.push(Action::Create(
            Kind::Endpoints,
            json!({
                "apiVersion": "v1", "kind": "Endpoints",
                "metadata": {
                    "namespace": key.namespace, "name": key.name, "labels": object::map(service, "/metadata/labels"),
                    "ownerReferences": [object::controller_reference(service, "v1", "Service")],
                },
                "subsets": subsets,
            }),
        )),
        Some(held) if held.get("subsets").unwrap_or(&json!([])) != &subsets => {
            plan.push(Action::Patch(Kind::Endpoints, key, json!({ "subsets": subsets })));
        }
        Some(_) => {}
    }
}

#[cfg(test)]
mod tests;
