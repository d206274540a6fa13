//! Rules for pods and the pod templates of workloads.

use super::{
    list, meta, not_negative, one_of, optional_one_of, port_name, port_number, port_reference, quantity,
    text, volumes,
};
use crate::error::FieldError;
use crate::selector::is_dns_label;
use serde_json::{Value, json};

const UPDATE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
    `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
    `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

type Errors = Vec<FieldError>;

pub(super) fn check(pod: &Value, old: Option<&Value>, out: &mut Errors) {
    spec(&pod["spec"], "spec", out);
    if let Some(old) = old {
        if comparable(&pod["spec"], &old["spec"]) != comparable(&old["spec"], &old["spec"]) {
            out.push(FieldError::forbidden("spec", UPDATE));
        }
        let (was, is) = (list(&old["spec"]["tolerations"]), list(&pod["spec"]["tolerations"]));
        if !was.iter().all(|t| is.contains(t)) {
            out.push(FieldError::forbidden(
                "spec.tolerations",
                "existing toleration can not be modified except its tolerationSeconds",
            ));
        }
    }
}

/// A spec with what an update may change taken out. A pod is assigned to its node once.
fn comparable(spec: &Value, old: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(map) = spec.as_object_mut() {
        for key in [
            "activeDeadlineSeconds",
            "tolerations",
            "terminationGracePeriodSeconds",
            "ephemeralContainers",
            "schedulingGates",
        ] {
            map.remove(key);
        }
        if text(&old["nodeName"]).is_empty() {
            map.remove("nodeName");
        }
        for key in ["containers", "initContainers"] {
            let containers = map.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten();
            containers.filter_map(Value::as_object_mut).for_each(|c| {
                c.remove("image");
            });
        }
    }
    spec
}

/// The template of a workload, which must restart its containers as `restart` says.
pub(super) fn template(template: &Value, path: &str, restart: &[&str], out: &mut Errors) {
    out.extend(meta::labels_and_annotations(&template["metadata"], &format!("{path}.metadata")));
    spec(&template["spec"], &format!("{path}.spec"), out);
    let policy = &template["spec"]["restartPolicy"];
    if !restart.contains(&text(policy)) {
        out.push(FieldError::unsupported(format!("{path}.spec.restartPolicy"), policy, restart));
    }
}

pub(super) fn spec(spec: &Value, path: &str, out: &mut Errors) {
    let volume_names = volumes::check(&spec["volumes"], &format!("{path}.volumes"), out);
    let mut names: Vec<&str> = Vec::new();
    if list(&spec["containers"]).is_empty() {
        out.push(FieldError::required(format!("{path}.containers"), ""));
    }
    for (key, init) in [("initContainers", true), ("containers", false)] {
        for (index, one) in list(&spec[key]).iter().enumerate() {
            let at = format!("{path}.{key}[{index}]");
            container(one, &at, &volume_names, out);
            let name = text(&one["name"]);
            if !name.is_empty() && names.contains(&name) {
                out.push(FieldError::duplicate(format!("{at}.name"), &one["name"]));
            }
            names.push(name);
            let sidecar = one["restartPolicy"] == "Always";
            for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
                if init && !sidecar && one[probe].is_object() {
                    let why = "may not be set for init containers without restartPolicy=Always";
                    out.push(FieldError::forbidden(format!("{at}.{probe}"), why));
                }
            }
        }
    }
    one_of(out, &format!("{path}.restartPolicy"), &spec["restartPolicy"], &["Always", "OnFailure", "Never"]);
    let dns = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    one_of(out, &format!("{path}.dnsPolicy"), &spec["dnsPolicy"], &dns);
    not_negative(
        out,
        &format!("{path}.terminationGracePeriodSeconds"),
        &spec["terminationGracePeriodSeconds"],
    );
    if spec["activeDeadlineSeconds"].as_i64().is_some_and(|n| n < 1) {
        let why = "must be between 1 and 2147483647, inclusive";
        out.push(FieldError::invalid(
            format!("{path}.activeDeadlineSeconds"),
            &spec["activeDeadlineSeconds"],
            why,
        ));
    }
    for key in ["hostname", "subdomain"] {
        if !text(&spec[key]).is_empty() && !is_dns_label(text(&spec[key])) {
            out.push(FieldError::invalid(format!("{path}.{key}"), &spec[key], meta::LABEL));
        }
    }
    for key in ["serviceAccountName", "nodeName"] {
        if !text(&spec[key]).is_empty() && !crate::selector::is_dns_subdomain(text(&spec[key])) {
            out.push(FieldError::invalid(format!("{path}.{key}"), &spec[key], meta::SUBDOMAIN));
        }
    }
    meta::labels(&spec["nodeSelector"], &format!("{path}.nodeSelector"), out);
}

fn container(container: &Value, path: &str, volume_names: &[&str], out: &mut Errors) {
    let name = text(&container["name"]);
    if name.is_empty() {
        out.push(FieldError::required(format!("{path}.name"), ""));
    } else if !is_dns_label(name) {
        out.push(FieldError::invalid(format!("{path}.name"), &container["name"], meta::LABEL));
    }
    let image = text(&container["image"]);
    if image.is_empty() {
        out.push(FieldError::required(format!("{path}.image"), ""));
    } else if image.trim() != image {
        let why = "must not have leading or trailing whitespace";
        out.push(FieldError::invalid(format!("{path}.image"), &container["image"], why));
    }
    let policies = ["Always", "IfNotPresent", "Never"];
    optional_one_of(out, &format!("{path}.imagePullPolicy"), &container["imagePullPolicy"], &policies);
    let policies = ["FallbackToLogsOnError", "File"];
    let field = format!("{path}.terminationMessagePolicy");
    optional_one_of(out, &field, &container["terminationMessagePolicy"], &policies);
    ports(container, path, out);
    environment(container, path, out);
    mounts(container, path, volume_names, out);
    for probe_name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container[probe_name].is_object() {
            probe(
                &container[probe_name],
                &format!("{path}.{probe_name}"),
                probe_name != "readinessProbe",
                out,
            );
        }
    }
    for hook in ["postStart", "preStop"] {
        let value = &container["lifecycle"][hook];
        if value.is_object() {
            handler(
                value,
                &format!("{path}.lifecycle.{hook}"),
                &["exec", "httpGet", "tcpSocket", "sleep"],
                out,
            );
        }
    }
    resources(&container["resources"], &format!("{path}.resources"), out);
}

fn ports(container: &Value, path: &str, out: &mut Errors) {
    let mut names: Vec<&str> = Vec::new();
    for (index, port) in list(&container["ports"]).iter().enumerate() {
        let at = format!("{path}.ports[{index}]");
        if port["containerPort"].is_null() {
            out.push(FieldError::required(format!("{at}.containerPort"), ""));
        } else {
            port_number(out, &format!("{at}.containerPort"), &port["containerPort"]);
        }
        if !port["hostPort"].is_null() && port["hostPort"] != 0 {
            port_number(out, &format!("{at}.hostPort"), &port["hostPort"]);
        }
        one_of(out, &format!("{at}.protocol"), &port["protocol"], &["SCTP", "TCP", "UDP"]);
        let name = text(&port["name"]);
        if name.is_empty() {
            continue;
        }
        port_name(out, &format!("{at}.name"), &port["name"]);
        if names.contains(&name) {
            out.push(FieldError::duplicate(format!("{at}.name"), &port["name"]));
        }
        names.push(name);
    }
}

/// Fields of the pod that an environment variable may hold; labels and annotations by key too.
const FIELD_PATHS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

fn environment(container: &Value, path: &str, out: &mut Errors) {
    for (index, variable) in list(&container["env"]).iter().enumerate() {
        let at = format!("{path}.env[{index}]");
        let name = text(&variable["name"]);
        if name.is_empty() {
            out.push(FieldError::required(format!("{at}.name"), ""));
        } else if name.contains('=') || !name.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            let why = "a valid environment variable name must consist only of printable ASCII characters other than '='";
            out.push(FieldError::invalid(format!("{at}.name"), &variable["name"], why));
        }
        let from = &variable["valueFrom"];
        if !from.is_object() {
            continue;
        }
        let at = format!("{at}.valueFrom");
        if !text(&variable["value"]).is_empty() {
            out.push(FieldError::invalid(&at, &json!(""), "may not be specified when `value` is not empty"));
        }
        let sources = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
        match sources.iter().filter(|s| from[**s].is_object()).count() {
            1 => {}
            0 => out.push(FieldError::invalid(
                &at,
                &json!(""),
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
            )),
            _ => out.push(FieldError::invalid(
                &at,
                &json!(""),
                "may not have more than one field specified at a time",
            )),
        }
        if from["fieldRef"].is_object() {
            let field = &from["fieldRef"]["fieldPath"];
            let keyed =
                ["metadata.labels['", "metadata.annotations['"].iter().any(|p| text(field).starts_with(p));
            if text(field).is_empty() {
                out.push(FieldError::required(format!("{at}.fieldRef.fieldPath"), ""));
            } else if !keyed && !FIELD_PATHS.contains(&text(field)) {
                out.push(FieldError::unsupported(format!("{at}.fieldRef.fieldPath"), field, FIELD_PATHS));
            }
        }
        for key in ["configMapKeyRef", "secretKeyRef"] {
            if from[key].is_object() && text(&from[key]["key"]).is_empty() {
                out.push(FieldError::required(format!("{at}.{key}.key"), ""));
            }
        }
    }
}

fn mounts(container: &Value, path: &str, volume_names: &[&str], out: &mut Errors) {
    let mut paths: Vec<&str> = Vec::new();
    for (index, mount) in list(&container["volumeMounts"]).iter().enumerate() {
        let at = format!("{path}.volumeMounts[{index}]");
        let name = text(&mount["name"]);
        if name.is_empty() {
            out.push(FieldError::required(format!("{at}.name"), ""));
        } else if !volume_names.contains(&name) {
            let message = format!("Not found: {}", mount["name"]);
            out.push(FieldError { reason: "FieldValueNotFound", field: format!("{at}.name"), message });
        }
        let place = text(&mount["mountPath"]);
        if place.is_empty() {
            out.push(FieldError::required(format!("{at}.mountPath"), ""));
        } else if paths.contains(&place) {
            out.push(FieldError::invalid(format!("{at}.mountPath"), &mount["mountPath"], "must be unique"));
        }
        paths.push(place);
        volumes::relative(&mount["subPath"], &format!("{at}.subPath"), out);
    }
}

fn probe(probe: &Value, path: &str, one_success: bool, out: &mut Errors) {
    handler(probe, path, &["exec", "httpGet", "tcpSocket", "grpc"], out);
    for key in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        not_negative(out, &format!("{path}.{key}"), &probe[key]);
    }
    if one_success && probe["successThreshold"].as_i64().is_some_and(|n| n > 1) {
        out.push(FieldError::invalid(
            format!("{path}.successThreshold"),
            &probe["successThreshold"],
            "must be 1",
        ));
    }
}

fn handler(handler: &Value, path: &str, kinds: &[&str], out: &mut Errors) {
    let mut given = kinds.iter().filter(|k| handler[**k].is_object());
    let Some(kind) = given.next() else {
        out.push(FieldError::required(path, "must specify a handler type"));
        return;
    };
    for other in given {
        out.push(FieldError::forbidden(
            format!("{path}.{other}"),
            "may not specify more than 1 handler type",
        ));
    }
    let one = &handler[*kind];
    match *kind {
        "exec" if list(&one["command"]).is_empty() => {
            out.push(FieldError::required(format!("{path}.exec.command"), ""));
        }
        "httpGet" => {
            port_reference(out, &format!("{path}.httpGet.port"), &one["port"]);
            optional_one_of(out, &format!("{path}.httpGet.scheme"), &one["scheme"], &["HTTP", "HTTPS"]);
        }
        "tcpSocket" => port_reference(out, &format!("{path}.tcpSocket.port"), &one["port"]),
        "grpc" => port_number(out, &format!("{path}.grpc.port"), &one["port"]),
        _ => {}
    }
}

fn resources(resources: &Value, path: &str, out: &mut Errors) {
    let amount = |value: &Value| match value {
        Value::String(text) => quantity::parse(text),
        Value::Number(number) => quantity::parse(&number.to_string()),
        _ => None,
    };
    for key in ["limits", "requests"] {
        for (name, value) in resources[key].as_object().into_iter().flatten() {
            let field = format!("{path}.{key}[{name}]");
            match amount(value) {
                None => out.push(FieldError::invalid(field, value, quantity::FORMAT)),
                Some(n) if n < 0 => {
                    out.push(FieldError::invalid(field, value, "must be greater than or equal to 0"));
                }
                Some(_) => {}
            }
        }
    }
    for (name, request) in resources["requests"].as_object().into_iter().flatten() {
        if let (Some(wanted), Some(limit)) = (amount(request), amount(&resources["limits"][name]))
            && wanted > limit
        {
            let limit = &resources["limits"][name];
            let limit = limit.as_str().map_or_else(|| limit.to_string(), str::to_owned);
            let why = format!("must be less than or equal to {name} limit of {limit}");
            out.push(FieldError::invalid(format!("{path}.requests"), request, why));
        }
    }
}
