//! What goes into the cells of built-in kinds.

use super::age;
use jiff::Timestamp;
use serde_json::{Value, json};

pub(super) const NONE: &str = "<none>";

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A text, or `<none>`.
pub(super) fn or_none(value: &Value) -> Value {
    let shown = text(value);
    json!(if shown.is_empty() { NONE } else { shown })
}

/// A text, or `<unknown>`.
pub(super) fn or_unknown(value: &Value) -> Value {
    let shown = text(value);
    json!(if shown.is_empty() { "<unknown>" } else { shown })
}

/// Kind and name of the controller, or `<none>`.
pub(super) fn controller(object: &Value, _: Timestamp) -> Value {
    let owner = list(&object["metadata"]["ownerReferences"]).iter().find(|owner| owner["controller"] == true);
    let Some(owner) = owner else { return json!(NONE) };
    let (version, kind) = (text(&owner["apiVersion"]), text(&owner["kind"]).to_lowercase());
    let group = version.split_once('/').map(|(group, _)| format!(".{group}")).unwrap_or_default();
    json!(format!("{kind}{group}/{}", text(&owner["name"])))
}

/// Whether a CronJob rests, as Go writes it.
pub(super) fn suspended(object: &Value, _: Timestamp) -> Value {
    json!(if object["spec"]["suspend"] == true { "True" } else { "False" })
}

/// What an autoscaler aims at, as far as it is a share of a resource.
pub(super) fn scaling_targets(object: &Value, _: Timestamp) -> Value {
    let targets = list(&object["spec"]["metrics"]).iter().filter_map(|metric| {
        let resource = &metric["resource"];
        let wanted = resource["target"]["averageUtilization"].as_i64()?;
        let name = text(&resource["name"]);
        let now = list(&object["status"]["currentMetrics"])
            .iter()
            .find(|m| m["resource"]["name"] == name)
            .and_then(|m| m["resource"]["current"]["averageUtilization"].as_i64());
        let now = now.map_or_else(|| "<unknown>".to_owned(), |now| format!("{now}%"));
        Some(format!("{name}: {now}/{wanted}%"))
    });
    joined(targets)
}

/// Hosts of an Ingress, `*` where a rule has none.
pub(super) fn ingress_hosts(object: &Value, _: Timestamp) -> Value {
    let hosts: Vec<&str> = list(&object["spec"]["rules"])
        .iter()
        .map(|rule| text(&rule["host"]))
        .filter(|h| !h.is_empty())
        .collect();
    json!(if hosts.is_empty() { "*".to_owned() } else { hosts.join(",") })
}

/// Addresses of an Ingress, or nothing.
pub(super) fn ingress_addresses(object: &Value, _: Timestamp) -> Value {
    let ingress = list(&object["status"]["loadBalancer"]["ingress"]).iter();
    let address = |entry: &Value| match text(&entry["ip"]) {
        "" => text(&entry["hostname"]).to_owned(),
        ip => ip.to_owned(),
    };
    json!(ingress.map(address).collect::<Vec<_>>().join(","))
}

/// Texts joined by commas, or `<none>`.
pub(super) fn joined<T: AsRef<str>>(parts: impl IntoIterator<Item = T>) -> Value {
    let parts: Vec<String> =
        parts.into_iter().map(|p| p.as_ref().to_owned()).filter(|p| !p.is_empty()).collect();
    json!(if parts.is_empty() { NONE.to_owned() } else { parts.join(",") })
}

pub(super) fn name(object: &Value, _: Timestamp) -> Value {
    object["metadata"]["name"].clone()
}

pub(super) fn age(object: &Value, now: Timestamp) -> Value {
    json!(age::since(&object["metadata"]["creationTimestamp"], now))
}

pub(super) fn number(value: &Value) -> Value {
    json!(value.as_i64().unwrap_or_default())
}

pub(super) fn count(value: &Value) -> Value {
    let length = value.as_array().map(Vec::len).or_else(|| value.as_object().map(serde_json::Map::len));
    json!(length.unwrap_or_default())
}

/// `name=value` pairs of a map, sorted, or `<none>`.
pub(super) fn pairs(map: &Value) -> Value {
    joined(map.as_object().into_iter().flatten().map(|(k, v)| format!("{k}={}", text(v))))
}

/// A label selector as people write it.
pub(super) fn selector(selector: &Value) -> Value {
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let mut parts: Vec<String> = labels.map(|(k, v)| format!("{k}={}", text(v))).collect();
    for expression in list(&selector["matchExpressions"]) {
        let (key, values) = (text(&expression["key"]), list(&expression["values"]));
        let values = values.iter().map(text).collect::<Vec<_>>().join(",");
        parts.push(match text(&expression["operator"]) {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        });
    }
    joined(parts)
}

fn containers<'a>(object: &'a Value, field: &'a str) -> impl Iterator<Item = &'a str> {
    list(&object["spec"]["template"]["spec"]["containers"]).iter().map(move |c| text(&c[field]))
}

pub(super) fn container_names(object: &Value, _: Timestamp) -> Value {
    joined(containers(object, "name"))
}

pub(super) fn container_images(object: &Value, _: Timestamp) -> Value {
    joined(containers(object, "image"))
}

pub(super) fn external_ip(service: &Value, _: Timestamp) -> Value {
    let spec = &service["spec"];
    let ingress = list(&service["status"]["loadBalancer"]["ingress"]);
    let ingress =
        ingress.iter().map(|i| if i["ip"].is_string() { text(&i["ip"]) } else { text(&i["hostname"]) });
    let pinned = list(&spec["externalIPs"]).iter().map(text);
    match text(&spec["type"]) {
        "ExternalName" => or_none(&spec["externalName"]),
        "LoadBalancer" => {
            let shown = joined(ingress.chain(pinned));
            if shown == NONE { json!("<pending>") } else { shown }
        }
        _ => joined(pinned),
    }
}

pub(super) fn service_ports(service: &Value, _: Timestamp) -> Value {
    joined(list(&service["spec"]["ports"]).iter().map(|port| {
        let (number, protocol) = (number(&port["port"]), text(&port["protocol"]));
        match port["nodePort"].as_i64() {
            Some(node) if node > 0 => format!("{number}:{node}/{protocol}"),
            _ => format!("{number}/{protocol}"),
        }
    }))
}

pub(super) fn slice_ports(slice: &Value, _: Timestamp) -> Value {
    let shown = joined(list(&slice["ports"]).iter().map(|p| number(&p["port"]).to_string()));
    if shown == NONE { json!("<unset>") } else { shown }
}

pub(super) fn slice_endpoints(slice: &Value, _: Timestamp) -> Value {
    let all: Vec<&str> =
        list(&slice["endpoints"]).iter().flat_map(|e| list(&e["addresses"])).map(text).collect();
    let shown: Vec<&str> = all.iter().take(3).copied().collect();
    if all.is_empty() {
        return json!("<unset>");
    }
    let more = if all.len() > 3 { format!(" + {} more...", all.len() - 3) } else { String::new() };
    json!(format!("{}{more}", shown.join(",")))
}

pub(super) fn endpoints(object: &Value, _: Timestamp) -> Value {
    let mut all = Vec::new();
    for subset in list(&object["subsets"]) {
        for address in list(&subset["addresses"]) {
            for port in list(&subset["ports"]) {
                all.push(format!("{}:{}", text(&address["ip"]), number(&port["port"])));
            }
        }
    }
    let more = if all.len() > 3 { format!(" + {} more...", all.len() - 3) } else { String::new() };
    if all.is_empty() { json!(NONE) } else { json!(format!("{}{more}", all[..all.len().min(3)].join(","))) }
}

pub(super) fn node_status(node: &Value, _: Timestamp) -> Value {
    let ready = list(&node["status"]["conditions"]).iter().find(|c| c["type"] == "Ready");
    let mut status = match ready.map(|c| text(&c["status"])) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if node["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    json!(status)
}

pub(super) fn node_roles(node: &Value, _: Timestamp) -> Value {
    let labels = node["metadata"]["labels"].as_object().into_iter().flatten();
    joined(labels.filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/")))
}

pub(super) fn node_address(node: &Value, kind: &str) -> Value {
    let address = list(&node["status"]["addresses"]).iter().find(|a| a["type"] == kind);
    address.map_or(json!(NONE), |a| or_none(&a["address"]))
}

/// The time an event was last seen.
pub(super) fn last_seen(event: &Value, now: Timestamp) -> Value {
    let times = [
        &event["series"]["lastObservedTime"],
        &event["lastTimestamp"],
        &event["deprecatedLastTimestamp"],
        &event["eventTime"],
        &event["firstTimestamp"],
        &event["metadata"]["creationTimestamp"],
    ];
    let time = times.into_iter().find(|t| t.is_string()).unwrap_or(&Value::Null);
    json!(age::since(time, now))
}

pub(super) fn event_object(event: &Value, _: Timestamp) -> Value {
    let object =
        if event["involvedObject"].is_object() { &event["involvedObject"] } else { &event["regarding"] };
    json!(format!("{}/{}", text(&object["kind"]).to_lowercase(), text(&object["name"])))
}

/// Who tells an event, and from where.
pub(super) fn event_source(event: &Value, _: Timestamp) -> Value {
    let first = |values: [&Value; 3]| {
        let mut texts = values.into_iter().map(|v| text(v).to_owned());
        texts.find(|t| !t.is_empty()).unwrap_or_default()
    };
    let who =
        first([&event["source"]["component"], &event["reportingComponent"], &event["reportingController"]]);
    let place = first([&event["source"]["host"], &event["reportingInstance"], &Value::Null]);
    json!(if place.is_empty() { who } else { format!("{who}, {place}") })
}

pub(super) fn event_message(event: &Value, _: Timestamp) -> Value {
    let message = if event["message"].is_string() { &event["message"] } else { &event["note"] };
    json!(text(message).trim())
}

pub(super) fn job_status(job: &Value, _: Timestamp) -> Value {
    let holds = |kind: &str| {
        list(&job["status"]["conditions"]).iter().any(|c| c["type"] == kind && c["status"] == "True")
    };
    json!(if holds("Complete") {
        "Complete"
    } else if holds("Failed") {
        "Failed"
    } else if !job["metadata"]["deletionTimestamp"].is_null() {
        "Terminating"
    } else if holds("Suspended") {
        "Suspended"
    } else {
        "Running"
    })
}

pub(super) fn job_completions(job: &Value, _: Timestamp) -> Value {
    let done = number(&job["status"]["succeeded"]);
    json!(format!("{done}/{}", job["spec"]["completions"].as_i64().unwrap_or(1)))
}

pub(super) fn job_duration(job: &Value, now: Timestamp) -> Value {
    let time = |value: &Value| value.as_str().and_then(|t| t.parse::<Timestamp>().ok());
    let Some(start) = time(&job["status"]["startTime"]) else { return json!("") };
    let end = time(&job["status"]["completionTime"]).unwrap_or(now);
    json!(age::human(end.as_second() - start.as_second()))
}

pub(super) fn role_ref(binding: &Value, _: Timestamp) -> Value {
    json!(format!("{}/{}", text(&binding["roleRef"]["kind"]), text(&binding["roleRef"]["name"])))
}

/// Subjects of one kind; service accounts with their namespace.
pub(super) fn subjects(binding: &Value, kind: &str) -> Value {
    let of_kind = list(&binding["subjects"]).iter().filter(|s| s["kind"] == kind);
    let shown: Vec<String> = of_kind
        .map(|s| match s["namespace"].as_str() {
            Some(namespace) => format!("{namespace}/{}", text(&s["name"])),
            None => text(&s["name"]).to_owned(),
        })
        .collect();
    json!(shown.join(", "))
}

pub(super) fn ready_of_wanted(ready: &Value, wanted: &Value) -> Value {
    json!(format!("{}/{}", number(ready), number(wanted)))
}
