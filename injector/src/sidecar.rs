//! The container `linkerd-proxy` and its volumes.

use crate::env::proxy_env;
use crate::inject::Workload;
use crate::values::{Probe, Resource, Values};
use crate::{IDENTITY_VOLUME, PROXY_CONTAINER, TOKEN_VOLUME};
use mesh_types::{IDENTITY_AUDIENCE, ports};
use serde_json::{Map, Value, json};

/// Where the proxy keeps its key, certificate and last trust bundle.
pub(crate) const IDENTITY_DIR: &str = "/var/run/linkerd/identity/end-entity";
/// Where the identity token is mounted.
pub(crate) const TOKEN_DIR: &str = "/var/run/secrets/tokens";
/// Lifetime of the identity token in seconds; the kubelet renews it at 80 %.
const TOKEN_SECONDS: u32 = 86_400;
/// The proxy's program inside its image.
const PROXY_BINARY: &str = "/isthmus/isthmus-proxy";

/// The sidecar for `pod`.
pub(crate) fn proxy_container(pod: &Value, workload: &Workload<'_>, values: &Values) -> Value {
    let proxy = &values.proxy;
    let admin = proxy.ports.admin;
    let mut container = json!({
        "name": PROXY_CONTAINER,
        "image": values.image(&proxy.image),
        "imagePullPolicy": values.pull_policy(&proxy.image),
        "env": proxy_env(pod, workload, values),
        "ports": [
            {"containerPort": proxy.ports.inbound, "name": "linkerd-proxy"},
            {"containerPort": admin, "name": "linkerd-admin"},
        ],
        "livenessProbe": probe("/live", admin, &proxy.liveness_probe),
        "readinessProbe": probe("/ready", admin, &proxy.readiness_probe),
        "securityContext": security_context(values),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"mountPath": IDENTITY_DIR, "name": IDENTITY_VOLUME},
            {"mountPath": TOKEN_DIR, "name": TOKEN_VOLUME},
        ],
    });
    if proxy.gateway {
        push(
            &mut container["ports"],
            json!({"containerPort": ports::GATEWAY_PROBE, "name": "linkerd-probe"}),
        );
    }
    if let Some(resources) = resources(values) {
        container["resources"] = resources;
    }
    if proxy.native_sidecar {
        container["restartPolicy"] = json!("Always");
        if proxy.await_ready {
            container["startupProbe"] = probe("/ready", admin, &proxy.startup_probe);
        }
    }
    if let Some(lifecycle) = lifecycle(values) {
        container["lifecycle"] = lifecycle;
    }
    container
}

fn probe(path: &str, port: u16, timing: &Probe) -> Value {
    // The values have the names that Kubernetes gives them.
    let mut probe = json!(timing);
    probe["httpGet"] = json!({"path": path, "port": port});
    probe
}

fn security_context(values: &Values) -> Value {
    let mut context = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
        "runAsUser": values.proxy.uid,
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    if values.proxy.gid >= 0 {
        context["runAsGroup"] = json!(values.proxy.gid);
    }
    context
}

/// Requests and limits of the proxy. The containers that run before it get the same: they never run together, so
/// the pod needs no more, and namespaces whose quota wants limits everywhere admit it.
pub(crate) fn resources(values: &Values) -> Option<Value> {
    let r = &values.proxy.resources;
    let side = |pick: fn(&Resource) -> &str| -> Map<String, Value> {
        [("cpu", &r.cpu), ("memory", &r.memory), ("ephemeral-storage", &r.ephemeral_storage)]
            .into_iter()
            .filter(|(_, resource)| !pick(resource).is_empty())
            .map(|(name, resource)| (name.to_owned(), json!(pick(resource))))
            .collect()
    };
    let mut out = Map::new();
    for (name, side) in [("limits", side(|r| &r.limit)), ("requests", side(|r| &r.request))] {
        if !side.is_empty() {
            out.insert(name.to_owned(), Value::Object(side));
        }
    }
    (!out.is_empty()).then_some(Value::Object(out))
}

fn lifecycle(values: &Values) -> Option<Value> {
    let proxy = &values.proxy;
    let mut out = Map::new();
    if proxy.await_ready && !proxy.native_sidecar {
        // Containers start in order, each after the postStart of the one before: this holds the application back.
        let command = json!([PROXY_BINARY, "await", "--timeout=2m", format!("--port={}", proxy.ports.admin)]);
        out.insert("postStart".into(), json!({"exec": {"command": command}}));
    }
    if proxy.wait_before_exit_seconds > 0 {
        out.insert("preStop".into(), json!({"sleep": {"seconds": proxy.wait_before_exit_seconds}}));
    }
    (!out.is_empty()).then_some(Value::Object(out))
}

/// The volumes the sidecar mounts.
pub(crate) fn volumes() -> [Value; 2] {
    [
        json!({"name": IDENTITY_VOLUME, "emptyDir": {"medium": "Memory"}}),
        json!({
            "name": TOKEN_VOLUME,
            "projected": {"sources": [{"serviceAccountToken": {
                "audience": IDENTITY_AUDIENCE,
                "expirationSeconds": TOKEN_SECONDS,
                "path": "linkerd-identity-token",
            }}]},
        }),
    ]
}

/// Appends to a JSON list, making it if it is not there.
pub(crate) fn push(list: &mut Value, item: Value) {
    match list {
        Value::Array(items) => items.push(item),
        other => *other = Value::Array(vec![item]),
    }
}
