//! Defaults of the built-in kinds, as the API server sets them.

mod pods;

use crate::crd;
use base64::Engine as _;
use serde_json::{Map, Value, json};

/// Fills in what the API server fills in for a kind. Kinds without defaults are left alone.
pub(crate) fn default(api_version: &str, kind: &str, object: &mut Value) {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let Some(map) = object.as_object_mut() else { return };
    match (group, kind) {
        ("", "Pod") => pods::pod(map),
        ("", "PodTemplate") => pods::template(map),
        ("", "Service") => service(map),
        ("", "Secret") => secret(map),
        ("", "Namespace") => namespace(map),
        ("", "Endpoints") => endpoints(map),
        ("", "PersistentVolumeClaim") => within(map, "spec", |s| set(s, "volumeMode", json!("Filesystem"))),
        ("" | "apps", "ReplicationController" | "ReplicaSet") => within(map, "spec", |s| {
            set(s, "replicas", json!(1));
            pods::template(s);
        }),
        ("apps", "Deployment") => within(map, "spec", deployment),
        ("apps", "StatefulSet") => within(map, "spec", stateful_set),
        ("apps", "DaemonSet") => within(map, "spec", daemon_set),
        ("batch", "Job") => within(map, "spec", job),
        ("batch", "CronJob") => within(map, "spec", cron_job),
        ("autoscaling", "HorizontalPodAutoscaler") => {
            within(map, "spec", |s| set(s, "minReplicas", json!(1)))
        }
        ("discovery.k8s.io", "EndpointSlice") => {
            each(map, "ports", |port| {
                set(port, "name", json!(""));
                set(port, "protocol", json!("TCP"));
            });
            each(map, "endpoints", |endpoint| ensure(endpoint, "conditions"));
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => binding(map),
        (
            "admissionregistration.k8s.io",
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration",
        ) => {
            each(map, "webhooks", |w| webhook(w, kind));
        }
        ("networking.k8s.io", "NetworkPolicy") => within(map, "spec", network_policy),
        ("storage.k8s.io", "StorageClass") => {
            set(map, "reclaimPolicy", json!("Delete"));
            set(map, "volumeBindingMode", json!("Immediate"));
        }
        ("scheduling.k8s.io", "PriorityClass") => set(map, "preemptionPolicy", json!("PreemptLowerPriority")),
        ("authentication.k8s.io", "TokenRequest") => {
            ensure(map, "spec");
            within(map, "spec", |s| set(s, "expirationSeconds", json!(3600)));
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => crd::default(object),
        _ => {}
    }
}

type Object = Map<String, Value>;

/// Sets a field that is absent.
fn set(map: &mut Object, key: &str, value: Value) {
    map.entry(key).or_insert(value);
}

fn ensure(map: &mut Object, key: &str) {
    set(map, key, json!({}));
}

fn within(map: &mut Object, key: &str, f: impl FnOnce(&mut Object)) {
    if let Some(inner) = map.get_mut(key).and_then(Value::as_object_mut) {
        f(inner);
    }
}

fn each(map: &mut Object, key: &str, mut f: impl FnMut(&mut Object)) {
    let items = map.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten();
    items.filter_map(Value::as_object_mut).for_each(&mut f);
}

fn is(map: &Object, key: &str, value: &str) -> bool {
    map.get(key).and_then(Value::as_str) == Some(value)
}

fn service(map: &mut Object) {
    ensure(map, "spec");
    within(map, "spec", |spec| {
        set(spec, "type", json!("ClusterIP"));
        set(spec, "sessionAffinity", json!("None"));
        if is(spec, "sessionAffinity", "ClientIP") {
            ensure(spec, "sessionAffinityConfig");
            within(spec, "sessionAffinityConfig", |c| {
                ensure(c, "clientIP");
                within(c, "clientIP", |c| set(c, "timeoutSeconds", json!(10800)));
            });
        } else {
            spec.remove("sessionAffinityConfig");
        }
        each(spec, "ports", |port| {
            set(port, "protocol", json!("TCP"));
            let number = port.get("port").cloned().unwrap_or_default();
            let target = port.get("targetPort");
            if target.is_none_or(|t| t.as_i64() == Some(0) || t.as_str() == Some("")) {
                port.insert("targetPort".into(), number);
            }
        });
        if is(spec, "type", "ExternalName") {
            return;
        }
        set(spec, "internalTrafficPolicy", json!("Cluster"));
        if is(spec, "type", "NodePort") || is(spec, "type", "LoadBalancer") {
            set(spec, "externalTrafficPolicy", json!("Cluster"));
        }
        if is(spec, "type", "LoadBalancer") {
            set(spec, "allocateLoadBalancerNodePorts", json!(true));
        }
        set(spec, "ipFamilyPolicy", json!("SingleStack"));
        set(spec, "ipFamilies", json!(["IPv4"]));
    });
    ensure(map, "status");
    within(map, "status", |s| {
        ensure(s, "loadBalancer");
        within(s, "loadBalancer", |b| {
            each(b, "ingress", |ingress| {
                if ingress.contains_key("ip") {
                    set(ingress, "ipMode", json!("VIP"));
                }
            });
        });
    });
}

fn secret(map: &mut Object) {
    set(map, "type", json!("Opaque"));
    if let Some(Value::Object(plain)) = map.remove("stringData") {
        ensure(map, "data");
        within(map, "data", |data| {
            for (key, value) in plain {
                let text = value.as_str().unwrap_or_default();
                data.insert(key, json!(base64::engine::general_purpose::STANDARD.encode(text)));
            }
        });
    }
}

fn namespace(map: &mut Object) {
    let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let name = metadata.get("name").cloned().unwrap_or_default();
    if name.as_str().is_some_and(|n| !n.is_empty()) {
        ensure(metadata, "labels");
        within(metadata, "labels", |labels| {
            labels.insert("kubernetes.io/metadata.name".into(), name);
        });
    }
}

fn endpoints(map: &mut Object) {
    each(map, "subsets", |subset| each(subset, "ports", |port| set(port, "protocol", json!("TCP"))));
}

fn deployment(spec: &mut Object) {
    set(spec, "replicas", json!(1));
    set(spec, "revisionHistoryLimit", json!(10));
    set(spec, "progressDeadlineSeconds", json!(600));
    ensure(spec, "strategy");
    within(spec, "strategy", |strategy| {
        set(strategy, "type", json!("RollingUpdate"));
        if is(strategy, "type", "RollingUpdate") {
            ensure(strategy, "rollingUpdate");
            within(strategy, "rollingUpdate", |r| {
                set(r, "maxUnavailable", json!("25%"));
                set(r, "maxSurge", json!("25%"));
            });
        }
    });
    pods::template(spec);
}

fn stateful_set(spec: &mut Object) {
    set(spec, "replicas", json!(1));
    set(spec, "revisionHistoryLimit", json!(10));
    set(spec, "podManagementPolicy", json!("OrderedReady"));
    each(spec, "volumeClaimTemplates", |claim| {
        set(claim, "apiVersion", json!("v1"));
        set(claim, "kind", json!("PersistentVolumeClaim"));
        within(claim, "spec", |s| set(s, "volumeMode", json!("Filesystem")));
        set(claim, "status", json!({"phase": "Pending"}));
    });
    ensure(spec, "persistentVolumeClaimRetentionPolicy");
    within(spec, "persistentVolumeClaimRetentionPolicy", |p| {
        set(p, "whenDeleted", json!("Retain"));
        set(p, "whenScaled", json!("Retain"));
    });
    ensure(spec, "updateStrategy");
    within(spec, "updateStrategy", |strategy| {
        set(strategy, "type", json!("RollingUpdate"));
        if is(strategy, "type", "RollingUpdate") {
            ensure(strategy, "rollingUpdate");
            within(strategy, "rollingUpdate", |r| set(r, "partition", json!(0)));
        }
    });
    pods::template(spec);
}

fn daemon_set(spec: &mut Object) {
    set(spec, "revisionHistoryLimit", json!(10));
    ensure(spec, "updateStrategy");
    within(spec, "updateStrategy", |strategy| {
        set(strategy, "type", json!("RollingUpdate"));
        if is(strategy, "type", "RollingUpdate") {
            ensure(strategy, "rollingUpdate");
            within(strategy, "rollingUpdate", |r| {
                set(r, "maxUnavailable", json!(1));
                set(r, "maxSurge", json!(0));
            });
        }
    });
    pods::template(spec);
}

fn job(spec: &mut Object) {
    if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
        set(spec, "completions", json!(1));
    }
    set(spec, "parallelism", json!(1));
    set(spec, "backoffLimit", json!(6));
    set(spec, "completionMode", json!("NonIndexed"));
    set(spec, "suspend", json!(false));
    set(spec, "podReplacementPolicy", json!("TerminatingOrFailed"));
    set(spec, "manualSelector", json!(false));
    pods::template(spec);
}

fn cron_job(spec: &mut Object) {
    set(spec, "concurrencyPolicy", json!("Allow"));
    set(spec, "suspend", json!(false));
    set(spec, "successfulJobsHistoryLimit", json!(3));
    set(spec, "failedJobsHistoryLimit", json!(1));
    within(spec, "jobTemplate", |t| within(t, "spec", pods::template));
}

fn binding(map: &mut Object) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    within(map, "roleRef", |role| {
        if role.get("apiGroup").is_none_or(|g| g == "") {
            role.insert("apiGroup".into(), json!(GROUP));
        }
    });
    each(map, "subjects", |subject| {
        if is(subject, "kind", "User") || is(subject, "kind", "Group") {
            set(subject, "apiGroup", json!(GROUP));
        }
    });
}

fn webhook(webhook: &mut Object, kind: &str) {
    set(webhook, "failurePolicy", json!("Fail"));
    set(webhook, "matchPolicy", json!("Equivalent"));
    ensure(webhook, "namespaceSelector");
    ensure(webhook, "objectSelector");
    set(webhook, "timeoutSeconds", json!(10));
    if kind == "MutatingWebhookConfiguration" {
        set(webhook, "reinvocationPolicy", json!("Never"));
    }
    each(webhook, "rules", |rule| set(rule, "scope", json!("*")));
    within(webhook, "clientConfig", |c| within(c, "service", |s| set(s, "port", json!(443))));
}

fn network_policy(spec: &mut Object) {
    ensure(spec, "podSelector");
    let mut types = vec![json!("Ingress")];
    if spec.get("egress").and_then(Value::as_array).is_some_and(|e| !e.is_empty()) {
        types.push(json!("Egress"));
    }
    set(spec, "policyTypes", json!(types));
    for rules in ["ingress", "egress"] {
        each(spec, rules, |rule| each(rule, "ports", |port| set(port, "protocol", json!("TCP"))));
    }
}
