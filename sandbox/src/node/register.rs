//! The Node object and the lease that shows it is alive.

use std::time::Duration;

use jiff::Timestamp;
use mesh_apiserver::{LocalClient, PatchKind};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::controllers::object;
use crate::pod::{NodeContext, capacity};

/// Namespace of node leases.
const LEASES: &str = "kube-node-lease";
/// How often the lease is renewed, and for how long it holds, as the kubelet does.
const RENEW: Duration = Duration::from_secs(10);
const LEASE_SECONDS: i64 = 40;
/// How many pods a node may run.
const PODS: &str = "250";
/// How soon a registration that failed is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// Registers the node, then keeps its lease.
pub(super) async fn keep(context: &NodeContext) {
    while let Err(error) = register(context).await {
        tracing::warn!(error, "node not registered");
        sleep(TRY_AGAIN).await;
    }
    loop {
        if let Err(error) = renew(&context.client, &context.name).await {
            tracing::warn!(error, "node lease not renewed");
        }
        sleep(RENEW).await;
    }
}

async fn register(context: &NodeContext) -> Result<(), String> {
    let text = |error: mesh_apiserver::ApiError| error.to_string();
    let (client, name) = (&context.client, context.name.as_str());
    if client.get("nodes", "", name).is_err() {
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": name, "labels": {
                "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": architecture(),
                "node-role.kubernetes.io/control-plane": "",
            } },
            "spec": {
                "podCIDR": context.network.net().pod_cidr, "podCIDRs": [context.network.net().pod_cidr],
                "providerID": format!("sandbox://{name}"),
            },
        });
        client.create("nodes", node).await.map_err(text)?;
    }
    let status = json!({ "status": status(context, Timestamp::now()) });
    client.patch("nodes", "", name, "status", PatchKind::Merge, status).await.map(drop).map_err(text)
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn status(context: &NodeContext, now: Timestamp) -> Value {
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": object::stamp(now), "lastTransitionTime": object::stamp(now),
        })
    };
    let thousandths = |resource| capacity(resource).unwrap_or_default();
    let resources = json!({
        "cpu": (thousandths("cpu") / 1000).to_string(),
        "memory": format!("{}Ki", thousandths("memory") / 1000 / 1024),
        "pods": PODS,
    });
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let version = format!("v1.34.0+isthmus-sandbox-{}", env!("CARGO_PKG_VERSION"));
    json!({
        "addresses": [
            { "type": "InternalIP", "address": context.ip() }, { "type": "Hostname", "address": context.name },
        ],
        "capacity": resources, "allocatable": resources,
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            condition("Ready", "True", "KubeletReady", "the sandbox's node is ready"),
        ],
        "nodeInfo": {
            "architecture": architecture(), "operatingSystem": "linux", "osImage": "the host's",
            "kernelVersion": kernel.trim(), "kubeletVersion": version, "kubeProxyVersion": version,
            "containerRuntimeVersion": concat!("isthmus-sandbox://", env!("CARGO_PKG_VERSION")),
            "bootID": "", "machineID": "", "systemUUID": "",
        },
        "daemonEndpoints": { "kubeletEndpoint": { "Port": 0 } },
    })
}

async fn renew(client: &LocalClient, name: &str) -> Result<(), String> {
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
    let spec = json!({ "holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now });
    let lease = "leases.coordination.k8s.io";
    if client.get(lease, LEASES, name).is_ok() {
        let patch = json!({ "spec": spec });
        let patched = client.patch(lease, LEASES, name, "", PatchKind::Merge, patch).await;
        return patched.map(drop).map_err(|error| error.to_string());
    }
    let object = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "namespace": LEASES, "name": name }, "spec": spec,
    });
    client.create(lease, object).await.map(drop).map_err(|error| error.to_string())
}
