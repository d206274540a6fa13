//! Rules for a pod's volumes.

use super::{list, meta, text};
use crate::error::FieldError;
use crate::selector::is_dns_label;
use serde_json::Value;

type Errors = Vec<FieldError>;

/// Checks the volumes and returns their names.
pub(super) fn check<'a>(volumes: &'a Value, path: &str, out: &mut Errors) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for (index, volume) in list(volumes).iter().enumerate() {
        let at = format!("{path}[{index}]");
        let name = text(&volume["name"]);
        if name.is_empty() {
            out.push(FieldError::required(format!("{at}.name"), ""));
        } else if !is_dns_label(name) {
            out.push(FieldError::invalid(format!("{at}.name"), &volume["name"], meta::LABEL));
        } else if names.contains(&name) {
            out.push(FieldError::duplicate(format!("{at}.name"), &volume["name"]));
        }
        names.push(name);
        let sources = volume.as_object().into_iter().flatten().filter(|(key, _)| *key != "name");
        for (extra, _) in sources.skip(1) {
            out.push(FieldError::forbidden(
                format!("{at}.{extra}"),
                "may not specify more than 1 volume type",
            ));
        }
        source(volume, &at, out);
    }
    names
}

fn source(volume: &Value, path: &str, out: &mut Errors) {
    let required = |out: &mut Errors, value: &Value, field: String| {
        if text(value).is_empty() {
            out.push(FieldError::required(field, ""));
        }
    };
    if volume["secret"].is_object() {
        required(out, &volume["secret"]["secretName"], format!("{path}.secret.secretName"));
        items(&volume["secret"]["items"], &format!("{path}.secret.items"), out);
    }
    if volume["configMap"].is_object() {
        required(out, &volume["configMap"]["name"], format!("{path}.configMap.name"));
        items(&volume["configMap"]["items"], &format!("{path}.configMap.items"), out);
    }
    if volume["hostPath"].is_object() {
        required(out, &volume["hostPath"]["path"], format!("{path}.hostPath.path"));
    }
    if volume["downwardAPI"].is_object() {
        downward(&volume["downwardAPI"]["items"], &format!("{path}.downwardAPI.items"), out);
    }
    for (index, source) in list(&volume["projected"]["sources"]).iter().enumerate() {
        let at = format!("{path}.projected.sources[{index}]");
        let kinds = [
            "secret",
            "configMap",
            "downwardAPI",
            "serviceAccountToken",
            "clusterTrustBundle",
            "podCertificate",
        ];
        if kinds.iter().filter(|k| source[**k].is_object()).count() > 1 {
            out.push(FieldError::forbidden(&at, "may not specify more than 1 volume type per source"));
        }
        for kind in ["secret", "configMap"] {
            if source[kind].is_object() {
                required(out, &source[kind]["name"], format!("{at}.{kind}.name"));
                items(&source[kind]["items"], &format!("{at}.{kind}.items"), out);
            }
        }
        if source["downwardAPI"].is_object() {
            downward(&source["downwardAPI"]["items"], &format!("{at}.downwardAPI.items"), out);
        }
        let token = &source["serviceAccountToken"];
        if token.is_object() {
            required(out, &token["path"], format!("{at}.serviceAccountToken.path"));
            relative(&token["path"], &format!("{at}.serviceAccountToken.path"), out);
            if token["expirationSeconds"].as_i64().is_some_and(|n| n < 600) {
                let why = "may not specify a duration less than 10 minutes";
                let field = format!("{at}.serviceAccountToken.expirationSeconds");
                out.push(FieldError::invalid(field, &token["expirationSeconds"], why));
            }
        }
    }
}

fn items(items: &Value, path: &str, out: &mut Errors) {
    for (index, item) in list(items).iter().enumerate() {
        for key in ["key", "path"] {
            if text(&item[key]).is_empty() {
                out.push(FieldError::required(format!("{path}[{index}].{key}"), ""));
            }
        }
        relative(&item["path"], &format!("{path}[{index}].path"), out);
    }
}

fn downward(items: &Value, path: &str, out: &mut Errors) {
    for (index, item) in list(items).iter().enumerate() {
        if text(&item["path"]).is_empty() {
            out.push(FieldError::required(format!("{path}[{index}].path"), ""));
        }
        relative(&item["path"], &format!("{path}[{index}].path"), out);
        let sources = [&item["fieldRef"], &item["resourceFieldRef"]];
        if sources.iter().filter(|s| s.is_object()).count() != 1 {
            let why = "one of fieldRef and resourceFieldRef is required";
            out.push(FieldError::required(format!("{path}[{index}]"), why));
        }
    }
}

/// A path that stays within its volume.
pub(super) fn relative(value: &Value, path: &str, out: &mut Errors) {
    let place = text(value);
    if place.starts_with('/') {
        out.push(FieldError::invalid(path, value, "must be a relative path"));
    }
    if place.split('/').any(|part| part == "..") {
        out.push(FieldError::invalid(path, value, "must not contain '..'"));
    }
}
