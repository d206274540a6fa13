//! Rules for Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs and CronJobs.

use super::{immutable, list, not_negative, one_of, pods, text};
use crate::error::FieldError;
use crate::selector::LabelSelector;
use serde_json::Value;

type Errors = Vec<FieldError>;

pub(super) fn deployment(object: &Value, old: Option<&Value>, out: &mut Errors) {
    let spec = &object["spec"];
    selected_template(spec, "deployment", out);
    let strategy = &spec["strategy"];
    one_of(out, "spec.strategy.type", &strategy["type"], &["Recreate", "RollingUpdate"]);
    let rolling = &strategy["rollingUpdate"];
    if strategy["type"] == "Recreate" && rolling.is_object() {
        let why = "may not be specified when strategy `type` is 'Recreate'";
        out.push(FieldError::forbidden("spec.strategy.rollingUpdate", why));
    }
    if strategy["type"] == "RollingUpdate" && rolling.is_object() {
        let amounts = ["maxUnavailable", "maxSurge"]
            .map(|k| amount(&rolling[k], &format!("spec.strategy.rollingUpdate.{k}"), out).unwrap_or(1));
        if amounts == [0, 0] {
            let why = "may not be 0 when `maxSurge` is 0";
            let field = "spec.strategy.rollingUpdate.maxUnavailable";
            out.push(FieldError::invalid(field, &rolling["maxUnavailable"], why));
        }
    }
    for key in ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        not_negative(out, &format!("spec.{key}"), &spec[key]);
    }
    let deadline = &spec["progressDeadlineSeconds"];
    if deadline.as_i64().is_some_and(|d| d <= spec["minReadySeconds"].as_i64().unwrap_or_default()) {
        out.push(FieldError::invalid(
            "spec.progressDeadlineSeconds",
            deadline,
            "must be greater than minReadySeconds",
        ));
    }
    if let Some(old) = old {
        immutable(out, "spec.selector", &spec["selector"], &old["spec"]["selector"]);
    }
}

/// A number or percentage that is not negative: its number.
fn amount(value: &Value, field: &str, out: &mut Errors) -> Option<i64> {
    let number = match value {
        Value::String(text) => text.strip_suffix('%').and_then(|n| n.parse::<i64>().ok()),
        other => other.as_i64(),
    };
    if number.is_none_or(|n| n < 0) {
        let why = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex \
            used for validation is '[0-9]+%'), or a number not below 0";
        out.push(FieldError::invalid(field, value, why));
    }
    number
}

fn selected_template(spec: &Value, what: &str, out: &mut Errors) {
    let (selector, template) = (&spec["selector"], &spec["template"]);
    not_negative(out, "spec.replicas", &spec["replicas"]);
    let labels = &template["metadata"]["labels"];
    if selector.is_null() {
        out.push(FieldError::required("spec.selector", ""));
    } else if selector.as_object().is_some_and(|s| s.values().all(|v| v.is_null() || is_empty(v))) {
        let why = format!("empty selector is invalid for {what}");
        out.push(FieldError::invalid("spec.selector", selector, why));
    } else {
        match LabelSelector::from_object(selector) {
            Err(error) => out.push(FieldError::invalid("spec.selector", selector, error)),
            Ok(parsed) if !parsed.matches_labels(labels.as_object()) => {
                let why = "`selector` does not match template `labels`";
                out.push(FieldError::invalid("spec.template.metadata.labels", labels, why));
            }
            Ok(_) => {}
        }
    }
    if template.is_null() {
        out.push(FieldError::required("spec.template", ""));
    } else {
        pods::template(template, "spec.template", &["Always"], out);
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

pub(super) fn set(kind: &str, object: &Value, old: Option<&Value>, out: &mut Errors) {
    let (what, strategies): (_, &[&str]) = match kind {
        "StatefulSet" => ("statefulset", &["RollingUpdate", "OnDelete"]),
        "DaemonSet" => ("daemonset", &["RollingUpdate", "OnDelete"]),
        _ => ("deployment", &[]),
    };
    selected_template(&object["spec"], what, out);
    if !strategies.is_empty() {
        let strategy = &object["spec"]["updateStrategy"]["type"];
        one_of(out, "spec.updateStrategy.type", strategy, strategies);
    }
    let Some(old) = old else { return };
    if kind == "StatefulSet" {
        stateful_set_update(&object["spec"], &old["spec"], out);
    } else {
        immutable(out, "spec.selector", &object["spec"]["selector"], &old["spec"]["selector"]);
    }
}

fn stateful_set_update(new: &Value, old: &Value, out: &mut Errors) {
    const CHANGEABLE: &[&str] = &[
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let fixed = |spec: &Value| {
        let mut spec = spec.clone();
        if let Some(map) = spec.as_object_mut() {
            map.retain(|key, _| !CHANGEABLE.contains(&key.as_str()));
        }
        spec
    };
    if fixed(new) != fixed(old) {
        let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
            'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        out.push(FieldError::forbidden("spec", why));
    }
}

pub(super) fn job(object: &Value, old: Option<&Value>, out: &mut Errors) {
    let spec = &object["spec"];
    for key in
        ["parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"]
    {
        not_negative(out, &format!("spec.{key}"), &spec[key]);
    }
    if spec["template"].is_null() {
        out.push(FieldError::required("spec.template", ""));
        return;
    }
    pods::template(&spec["template"], "spec.template", &["OnFailure", "Never"], out);
    if let Some(old) = old {
        immutable(out, "spec.completions", &spec["completions"], &old["spec"]["completions"]);
        if old["spec"]["suspend"] != true {
            immutable(out, "spec.template", &spec["template"], &old["spec"]["template"]);
        }
    }
}

pub(super) fn cron_job(object: &Value, out: &mut Errors) {
    let spec = &object["spec"];
    let schedule = text(&spec["schedule"]);
    if schedule.is_empty() {
        out.push(FieldError::required("spec.schedule", ""));
    } else if !schedule.starts_with('@') && schedule.split_whitespace().count() != 5 {
        let why = format!("expected exactly 5 fields, found {}", schedule.split_whitespace().count());
        out.push(FieldError::invalid("spec.schedule", &spec["schedule"], why));
    }
    one_of(out, "spec.concurrencyPolicy", &spec["concurrencyPolicy"], &["Allow", "Forbid", "Replace"]);
    let template = &spec["jobTemplate"]["spec"]["template"];
    if list(&template["spec"]["containers"]).is_empty() {
        out.push(FieldError::required("spec.jobTemplate.spec.template.spec.containers", ""));
    } else {
        pods::template(template, "spec.jobTemplate.spec.template", &["OnFailure", "Never"], out);
    }
}
