//! Pods: their service account and its token volume, their first status, their grace period.

use crate::api::{Api, Target};
use crate::error::ApiError;
use crate::object;
use serde_json::{Value, json};

/// Where every container finds its token.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Prefix of the name of the volume that holds it.
const VOLUME_PREFIX: &str = "kube-api-access-";
/// Life asked for the token: one hour and the skew Kubernetes adds.
const TOKEN_SECONDS: u64 = 3607;
/// Grace period of a pod that names none.
const DEFAULT_GRACE: i64 = 30;

/// The ServiceAccount admission plugin. Running it twice changes nothing more, but gives containers that a webhook
/// added their mount.
pub(super) fn attach_account(api: &Api, target: &Target, pod: &mut Value) -> Result<(), ApiError> {
    if !pod["spec"].is_object() {
        return Ok(());
    }
    let name = match object::text(pod, "/spec/serviceAccountName") {
        "" => "default".to_owned(),
        name => name.to_owned(),
    };
    pod["spec"]["serviceAccountName"] = name.clone().into();
    pod["spec"]["serviceAccount"] = name.clone().into();
    let Some(account) = api.peek("serviceaccounts", &target.namespace, &name) else {
        return Err(target.forbidden(format!(
            "error looking up service account {}/{name}: serviceaccount \"{name}\" not found",
            target.namespace
        )));
    };
    let wanted = pod["spec"]["automountServiceAccountToken"]
        .as_bool()
        .or(account["automountServiceAccountToken"].as_bool())
        .unwrap_or(true);
    if wanted {
        mount_token(pod);
    }
    if object::items(pod, "/spec/imagePullSecrets").is_empty() && !account["imagePullSecrets"].is_null() {
        pod["spec"]["imagePullSecrets"] = account["imagePullSecrets"].clone();
    }
    Ok(())
}

fn mount_token(pod: &mut Value) {
    let existing = object::items(pod, "/spec/volumes")
        .iter()
        .map(|v| object::field(v, "name"))
        .find(|n| n.starts_with(VOLUME_PREFIX))
        .map(str::to_owned);
    let volume = existing.clone().unwrap_or_else(|| format!("{VOLUME_PREFIX}{}", object::random_suffix(5)));
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        // Not by index: that would write a null for a list that is not there.
        let containers =
            pod.get_mut("spec").and_then(|spec| spec.get_mut(list)).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let has = object::items(container, "/volumeMounts")
                .iter()
                .any(|m| object::field(m, "mountPath") == MOUNT_PATH);
            if has || !container.is_object() {
                continue;
            }
            let mount = json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH});
            push(&mut container["volumeMounts"], mount);
            mounted = true;
        }
    }
    if mounted && existing.is_none() {
        push(&mut pod["spec"]["volumes"], token_volume(&volume));
    }
}

fn push(list: &mut Value, item: Value) {
    match list.as_array_mut() {
        Some(list) => list.push(item),
        None => *list = json!([item]),
    }
}

fn token_volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
        ]}},
    ]}})
}

/// The DefaultTolerationSeconds admission plugin: a pod stays for five minutes on a node that is in trouble.
pub(super) fn tolerate_node_trouble(pod: &mut Value) {
    if !pod["spec"].is_object() {
        return;
    }
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerates = |toleration: &Value| {
            let own = object::field(toleration, "key");
            (own.is_empty() || own == key) && matches!(object::field(toleration, "effect"), "" | "NoExecute")
        };
        if !object::items(pod, "/spec/tolerations").iter().any(tolerates) {
            let toleration =
                json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
            push(&mut pod["spec"]["tolerations"], toleration);
        }
    }
}

/// The Priority admission plugin: the number of the pod's class.
pub(super) fn resolve_priority(api: &Api, target: &Target, pod: &mut Value) -> Result<(), ApiError> {
    if !pod["spec"].is_object() {
        return Ok(());
    }
    let name = object::text(pod, "/spec/priorityClassName").to_owned();
    let class = api.peek("priorityclasses.scheduling.k8s.io", "", &name);
    let priority = match (name.as_str(), &class) {
        ("", _) => 0,
        (_, Some(class)) => class["value"].as_i64().unwrap_or_default(),
        ("system-cluster-critical", None) => 2_000_000_000,
        ("system-node-critical", None) => 2_000_001_000,
        (name, None) => {
            return Err(target.forbidden(format!("no PriorityClass with name {name} was found")));
        }
    };
    let policy = class.as_ref().map_or("", |class| object::field(class, "preemptionPolicy"));
    let policy = if policy.is_empty() { "PreemptLowerPriority" } else { policy };
    pod["spec"]["priority"] = json!(priority);
    pod["spec"]["preemptionPolicy"] = policy.into();
    Ok(())
}

pub(super) fn begin(pod: &mut Value) {
    pod["status"] = json!({"phase": "Pending", "qosClass": quality(pod)});
}

/// The QoS class by Kubernetes' rule over cpu and memory of all containers.
fn quality(pod: &Value) -> &'static str {
    let containers: Vec<&Value> = ["/spec/containers", "/spec/initContainers"]
        .iter()
        .flat_map(|list| object::items(pod, list))
        .collect();
    let resource =
        |c: &Value, which: &str, name: &str| c.pointer(&format!("/resources/{which}/{name}")).cloned();
    let names = ["cpu", "memory"];
    let guaranteed = containers.iter().all(|c| {
        names.iter().all(|n| {
            let limit = resource(c, "limits", n);
            limit.is_some() && (resource(c, "requests", n).is_none() || resource(c, "requests", n) == limit)
        })
    });
    let any = containers.iter().any(|c| {
        names.iter().any(|n| resource(c, "limits", n).is_some() || resource(c, "requests", n).is_some())
    });
    match (guaranteed, any) {
        (true, true) => "Guaranteed",
        (_, true) => "Burstable",
        _ => "BestEffort",
    }
}

/// A pod that no node runs ends at once.
pub(super) fn grace_period(pod: &Value, asked: Option<i64>) -> i64 {
    let ended = matches!(object::text(pod, "/status/phase"), "Succeeded" | "Failed");
    if object::text(pod, "/spec/nodeName").is_empty() || ended {
        return 0;
    }
    let own = pod.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64);
    asked.or(own).unwrap_or(DEFAULT_GRACE).max(0)
}
