//! Rules for admission webhook configurations.

use super::{list, one_of, optional_one_of, text};
use crate::error::FieldError;
use crate::selector::is_dns_subdomain;
use base64::Engine as _;
use serde_json::Value;

pub(super) fn check(object: &Value, out: &mut Vec<FieldError>) {
    let mut seen: Vec<&str> = Vec::new();
    for (index, webhook) in list(&object["webhooks"]).iter().enumerate() {
        let path = format!("webhooks[{index}]");
        let name = text(&webhook["name"]);
        if name.is_empty() {
            out.push(FieldError::required(format!("{path}.name"), ""));
        } else if !is_dns_subdomain(name) || name.split('.').count() < 3 {
            let why = "should be a domain with at least three segments separated by dots";
            out.push(FieldError::invalid(format!("{path}.name"), &webhook["name"], why));
        }
        if seen.contains(&name) {
            out.push(FieldError::duplicate(format!("{path}.name"), &webhook["name"]));
        }
        seen.push(name);
        one_of(out, &format!("{path}.sideEffects"), &webhook["sideEffects"], &["None", "NoneOnDryRun"]);
        optional_one_of(
            out,
            &format!("{path}.failurePolicy"),
            &webhook["failurePolicy"],
            &["Fail", "Ignore"],
        );
        optional_one_of(
            out,
            &format!("{path}.matchPolicy"),
            &webhook["matchPolicy"],
            &["Equivalent", "Exact"],
        );
        if list(&webhook["admissionReviewVersions"]).is_empty() {
            let why = "must specify one of v1, v1beta1";
            out.push(FieldError::required(format!("{path}.admissionReviewVersions"), why));
        }
        let timeout = &webhook["timeoutSeconds"];
        if timeout.as_i64().is_some_and(|n| !(1..=30).contains(&n)) {
            let why = "the timeout value must be between 1 and 30 seconds";
            out.push(FieldError::invalid(format!("{path}.timeoutSeconds"), timeout, why));
        }
        client_config(&webhook["clientConfig"], &format!("{path}.clientConfig"), out);
        for (at, rule) in list(&webhook["rules"]).iter().enumerate() {
            for key in ["operations", "apiGroups", "apiVersions", "resources"] {
                if list(&rule[key]).is_empty() {
                    out.push(FieldError::required(format!("{path}.rules[{at}].{key}"), ""));
                }
            }
        }
    }
}

fn client_config(config: &Value, path: &str, out: &mut Vec<FieldError>) {
    let (url, service) = (text(&config["url"]), &config["service"]);
    match (!url.is_empty(), service.is_object()) {
        (true, true) | (false, false) => {
            out.push(FieldError::required(path, "exactly one of url or service is required"));
        }
        (true, false) => {
            if !url.starts_with("https://") {
                let why = "'https' is the only allowed URL scheme; desired format: https://host[/path]";
                out.push(FieldError::invalid(format!("{path}.url"), &config["url"], why));
            }
        }
        (false, true) => {
            for key in ["name", "namespace"] {
                if text(&service[key]).is_empty() {
                    out.push(FieldError::required(format!("{path}.service.{key}"), ""));
                }
            }
        }
    }
    let bundle = text(&config["caBundle"]);
    if !bundle.is_empty() {
        let pem = base64::engine::general_purpose::STANDARD.decode(bundle).unwrap_or_default();
        if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
            let why = "unable to load root certificates: unable to parse bytes as PEM block";
            out.push(FieldError::invalid(format!("{path}.caBundle"), &config["caBundle"], why));
        }
    }
}
