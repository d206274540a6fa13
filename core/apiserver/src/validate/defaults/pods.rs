//! Defaults of pods and pod templates.

use super::{Object, each, ensure, set, within};
use serde_json::{Value, json};

/// File mode 0644, in decimal.
const FILE_MODE: i64 = 420;

pub(super) fn pod(pod: &mut Object) {
    within(pod, "spec", |spec| {
        set(spec, "enableServiceLinks", json!(true));
        // Only of pods themselves: limits stand in for missing requests.
        for list in ["initContainers", "containers"] {
            each(spec, list, |c| within(c, "resources", requests_from_limits));
        }
        pod_spec(spec);
    });
}

fn requests_from_limits(resources: &mut Object) {
    if let Some(Value::Object(limits)) = resources.get("limits").cloned() {
        ensure(resources, "requests");
        within(resources, "requests", |requests| {
            for (name, limit) in limits {
                set(requests, &name, limit);
            }
        });
    }
}

/// The template within a workload's spec.
pub(super) fn template(spec: &mut Object) {
    within(spec, "template", |template| within(template, "spec", pod_spec));
}

fn pod_spec(spec: &mut Object) {
    set(spec, "restartPolicy", json!("Always"));
    set(spec, "dnsPolicy", json!("ClusterFirst"));
    set(spec, "terminationGracePeriodSeconds", json!(30));
    set(spec, "schedulerName", json!("default-scheduler"));
    ensure(spec, "securityContext");
    // The deprecated name mirrors the current one.
    if let Some(account) = spec.get("serviceAccountName").or_else(|| spec.get("serviceAccount")).cloned() {
        spec.insert("serviceAccountName".into(), account.clone());
        spec.insert("serviceAccount".into(), account);
    }
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        each(spec, list, |c| container(c, host_network));
    }
    each(spec, "volumes", volume);
}

fn container(container: &mut Object, host_network: bool) {
    set(container, "terminationMessagePath", json!("/dev/termination-log"));
    set(container, "terminationMessagePolicy", json!("File"));
    ensure(container, "resources");
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let policy = if is_latest(image) { "Always" } else { "IfNotPresent" };
    set(container, "imagePullPolicy", json!(policy));
    each(container, "ports", |port| {
        set(port, "protocol", json!("TCP"));
        if host_network && let Some(number) = port.get("containerPort").cloned() {
            set(port, "hostPort", number);
        }
    });
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        within(container, name, probe);
    }
    within(container, "lifecycle", |lifecycle| {
        within(lifecycle, "postStart", handler);
        within(lifecycle, "preStop", handler);
    });
    each(container, "env", |env| within(env, "valueFrom", |from| within(from, "fieldRef", field_ref)));
}

fn is_latest(image: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or_default();
    !last.contains('@') && last.rsplit_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn field_ref(field: &mut Object) {
    set(field, "apiVersion", json!("v1"));
}

fn probe(probe: &mut Object) {
    for (key, value) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        // Zero means unset to the API.
        if probe.get(key).is_none_or(|v| v.as_i64() == Some(0)) {
            probe.insert(key.into(), json!(value));
        }
    }
    handler(probe);
    within(probe, "grpc", |grpc| set(grpc, "service", json!("")));
}

fn handler(handler: &mut Object) {
    within(handler, "httpGet", |get| {
        set(get, "path", json!("/"));
        set(get, "scheme", json!("HTTP"));
    });
}

fn volume(volume: &mut Object) {
    if volume.keys().all(|k| k == "name") {
        ensure(volume, "emptyDir");
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        within(volume, source, |s| set(s, "defaultMode", json!(FILE_MODE)));
    }
    within(volume, "hostPath", |h| set(h, "type", json!("")));
    within(volume, "downwardAPI", downward_api);
    within(volume, "projected", |projected| {
        each(projected, "sources", |source| {
            within(source, "downwardAPI", downward_api);
            within(source, "serviceAccountToken", |t| set(t, "expirationSeconds", json!(3600)));
        });
    });
}

fn downward_api(source: &mut Object) {
    each(source, "items", |item| within(item, "fieldRef", field_ref));
}
