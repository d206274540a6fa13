//! Rules for Services and EndpointSlices.

use super::{immutable, list, meta, one_of, optional_one_of, port_name, port_number, port_reference, text};
use crate::error::FieldError;
use crate::selector::{is_dns_label, is_dns_subdomain};
use serde_json::{Value, json};
use std::net::IpAddr;

/// Endpoints and ports one slice may hold.
const MAX_ENDPOINTS: usize = 1000;
const MAX_PORTS: usize = 20_000;

type Errors = Vec<FieldError>;

pub(super) fn service(object: &Value, old: Option<&Value>, out: &mut Errors) {
    let spec = &object["spec"];
    let kinds = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    one_of(out, "spec.type", &spec["type"], &kinds);
    let external = spec["type"] == "ExternalName";
    let headless = spec["clusterIP"] == "None";
    if list(&spec["ports"]).is_empty() && !headless && !external {
        out.push(FieldError::required("spec.ports", ""));
    }
    service_ports(spec, out);
    meta::labels(&spec["selector"], "spec.selector", out);
    one_of(out, "spec.sessionAffinity", &spec["sessionAffinity"], &["ClientIP", "None"]);
    if external {
        let name = text(&spec["externalName"]).trim_end_matches('.');
        if name.is_empty() {
            out.push(FieldError::required("spec.externalName", ""));
        } else if !is_dns_subdomain(name) {
            out.push(FieldError::invalid("spec.externalName", &spec["externalName"], meta::SUBDOMAIN));
        }
        if !text(&spec["clusterIP"]).is_empty() {
            out.push(FieldError::forbidden("spec.clusterIPs", "may not be set for ExternalName services"));
        }
    } else {
        cluster_addresses(spec, headless, out);
        optional_one_of(
            out,
            "spec.internalTrafficPolicy",
            &spec["internalTrafficPolicy"],
            &["Cluster", "Local"],
        );
        let policies = ["SingleStack", "PreferDualStack", "RequireDualStack"];
        optional_one_of(out, "spec.ipFamilyPolicy", &spec["ipFamilyPolicy"], &policies);
    }
    let outside = spec["type"] == "LoadBalancer" || spec["type"] == "NodePort";
    if outside {
        let policies = ["Cluster", "Local"];
        optional_one_of(out, "spec.externalTrafficPolicy", &spec["externalTrafficPolicy"], &policies);
    } else if !text(&spec["externalTrafficPolicy"]).is_empty() && list(&spec["externalIPs"]).is_empty() {
        let why = "may only be set for externally-accessible services";
        out.push(FieldError::invalid("spec.externalTrafficPolicy", &spec["externalTrafficPolicy"], why));
    }
    let distributions = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    optional_one_of(out, "spec.trafficDistribution", &spec["trafficDistribution"], &distributions);
    if let Some(old) = old {
        let was = text(&old["spec"]["clusterIP"]);
        let stays = old["spec"]["type"] != "ExternalName" && !external;
        if stays && !was.is_empty() && text(&spec["clusterIP"]) != was {
            let why = "may not change once set";
            out.push(FieldError::invalid("spec.clusterIPs[0]", &json!([spec["clusterIP"]]), why));
        }
    }
}

fn cluster_addresses(spec: &Value, headless: bool, out: &mut Errors) {
    for (index, value) in list(&spec["clusterIPs"]).iter().enumerate() {
        if text(value) != "None" && text(value).parse::<IpAddr>().is_err() {
            let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            out.push(FieldError::invalid(format!("spec.clusterIPs[{index}]"), value, why));
        }
    }
    let address = text(&spec["clusterIP"]);
    let first = list(&spec["clusterIPs"]).first().map_or(address, text);
    if first != address {
        let why = "first value must match `clusterIP`";
        out.push(FieldError::invalid("spec.clusterIPs", &spec["clusterIPs"], why));
    } else if !address.is_empty() && !headless && address.parse::<IpAddr>().is_err() {
        let why = "must be empty, 'None', or a valid IP address";
        out.push(FieldError::invalid("spec.clusterIPs[0]", &spec["clusterIP"], why));
    }
    if headless && spec["type"] != "ClusterIP" {
        let why = "may not be set to 'None' for LoadBalancer or NodePort services";
        out.push(FieldError::invalid("spec.clusterIPs[0]", &spec["clusterIP"], why));
    }
}

fn service_ports(spec: &Value, out: &mut Errors) {
    let ports = list(&spec["ports"]);
    let (mut names, mut numbers): (Vec<&str>, Vec<(&Value, &Value)>) = (Vec::new(), Vec::new());
    for (index, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        let name = text(&port["name"]);
        if name.is_empty() {
            if ports.len() > 1 {
                out.push(FieldError::required(format!("{path}.name"), ""));
            }
        } else if !is_dns_label(name) {
            out.push(FieldError::invalid(format!("{path}.name"), &port["name"], meta::LABEL));
        } else if names.contains(&name) {
            out.push(FieldError::duplicate(format!("{path}.name"), &port["name"]));
        }
        names.push(name);
        port_number(out, &format!("{path}.port"), &port["port"]);
        one_of(out, &format!("{path}.protocol"), &port["protocol"], &["SCTP", "TCP", "UDP"]);
        port_reference(out, &format!("{path}.targetPort"), &port["targetPort"]);
        let node_port = port["nodePort"].as_i64().unwrap_or_default();
        if node_port != 0 && (spec["type"] == "ClusterIP" || spec["type"] == "ExternalName") {
            let why = "may not be used when `type` is 'ClusterIP'";
            out.push(FieldError::forbidden(format!("{path}.nodePort"), why));
        }
        let number = (&port["port"], &port["protocol"]);
        if numbers.contains(&number) {
            let value = json!({"port": port["port"], "protocol": port["protocol"]});
            out.push(FieldError::duplicate(&path, &value));
        }
        numbers.push(number);
    }
}

pub(super) fn endpoint_slice(object: &Value, old: Option<&Value>, out: &mut Errors) {
    let kind = &object["addressType"];
    one_of(out, "addressType", kind, &["FQDN", "IPv4", "IPv6"]);
    if let Some(old) = old {
        immutable(out, "addressType", kind, &old["addressType"]);
    }
    let (endpoints, ports) = (list(&object["endpoints"]), list(&object["ports"]));
    for (field, count, most) in
        [("endpoints", endpoints.len(), MAX_ENDPOINTS), ("ports", ports.len(), MAX_PORTS)]
    {
        if count > most {
            let message = format!("Too many: {count}: must have at most {most} items");
            out.push(FieldError { reason: "FieldValueTooMany", field: field.into(), message });
        }
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let path = format!("endpoints[{index}]");
        let addresses = list(&endpoint["addresses"]);
        if addresses.is_empty() {
            let why = "must contain at least 1 address";
            out.push(FieldError::required(format!("{path}.addresses"), why));
        }
        // Kubernetes refuses loopback addresses too. Here they pass: in the rooms' tests everything lives there.
        for (at, address) in addresses.iter().enumerate() {
            let parsed = text(address).parse::<IpAddr>();
            let right = match text(kind) {
                "IPv4" => parsed.is_ok_and(|a| a.is_ipv4()),
                "IPv6" => parsed.is_ok_and(|a| a.is_ipv6()),
                _ => is_dns_subdomain(text(address)),
            };
            if !right {
                let why = format!("must be a valid {} address", text(kind));
                out.push(FieldError::invalid(format!("{path}.addresses[{at}]"), address, why));
            }
        }
        let hostname = &endpoint["hostname"];
        if !hostname.is_null() && !is_dns_label(text(hostname)) {
            out.push(FieldError::invalid(format!("{path}.hostname"), hostname, meta::LABEL));
        }
    }
    let mut names: Vec<&str> = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let path = format!("ports[{index}]");
        let name = text(&port["name"]);
        if !name.is_empty() && !is_dns_label(name) {
            port_name(out, &format!("{path}.name"), &port["name"]);
        }
        if names.contains(&name) {
            out.push(FieldError::duplicate(format!("{path}.name"), &port["name"]));
        }
        names.push(name);
        one_of(out, &format!("{path}.protocol"), &port["protocol"], &["SCTP", "TCP", "UDP"]);
        if !port["port"].is_null() {
            port_number(out, &format!("{path}.port"), &port["port"]);
        }
    }
}
