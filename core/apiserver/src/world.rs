//! What a fresh cluster holds: its namespaces, roles, priorities and the Service of the API server itself.

use crate::api::{Api, Target};
use crate::object;
use crate::store::Key;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;

/// Namespaces every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Fills an empty store.
pub(crate) fn found(api: &Api, advertised: &[SocketAddr]) {
    for name in NAMESPACES {
        let body = json!({
            "metadata": {"labels": {"kubernetes.io/metadata.name": name}},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
        });
        api.put_own("namespaces", "v1", "Namespace", "", name, body);
        api.furnish(name);
    }
    for role in crate::rbac::bootstrap() {
        put(api, &role);
    }
    api.aggregate_roles();
    for (name, value) in [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)]
    {
        let body = json!({"value": value, "preemptionPolicy": "PreemptLowerPriority"});
        api.put_own(
            "priorityclasses.scheduling.k8s.io",
            "scheduling.k8s.io/v1",
            "PriorityClass",
            "",
            name,
            body,
        );
    }
    put_service(api, advertised);
}

fn put(api: &Api, body: &Value) {
    let (group, _) = object::field(body, "apiVersion").split_once('/').unwrap_or_default();
    let Some(def) = api.registry.by_kind(group, object::field(body, "kind")) else { return };
    let (api_version, kind) = (object::field(body, "apiVersion"), object::field(body, "kind"));
    let (namespace, name) = (object::namespace(body), object::name(body));
    api.put_own(&def.qualified(), api_version, kind, namespace, name, body.clone());
}

/// The `kubernetes` Service, and where the server listens.
fn put_service(api: &Api, advertised: &[SocketAddr]) {
    let address = api.allocator.nth(1).to_string();
    let port = advertised.first().map_or(6443, SocketAddr::port);
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let service = json!({
        "metadata": {"labels": labels},
        "spec": {
            "type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster", "sessionAffinity": "None",
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}],
        },
        "status": {"loadBalancer": {}},
    });
    api.put_own("services", "v1", "Service", "default", "kubernetes", service);
    let ips: Vec<String> = advertised.iter().map(|a| a.ip().to_string()).collect();
    let endpoints: Vec<Value> =
        ips.iter().map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}})).collect();
    let slice = json!({
        "metadata": {"labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": "https", "protocol": "TCP", "port": port}],
    });
    let api_version = "discovery.k8s.io/v1";
    api.put_own(
        "endpointslices.discovery.k8s.io",
        api_version,
        "EndpointSlice",
        "default",
        "kubernetes",
        slice,
    );
    let addresses: Vec<Value> = ips.iter().map(|ip| json!({"ip": ip})).collect();
    let ports = json!([{"name": "https", "protocol": "TCP", "port": port}]);
    let old = json!({"subsets": [{"addresses": addresses, "ports": ports}]});
    api.put_own("endpoints", "v1", "Endpoints", "default", "kubernetes", old);
}

/// Where a port of a Service can be reached, from its EndpointSlices alone: what serves where no node is.
pub(crate) fn resolve(api: &Api, namespace: &str, name: &str, port: u16) -> Option<SocketAddr> {
    let target: Target = api.target("services", namespace, name).ok()?;
    let service = api.stored(&target).ok()?;
    let port_name = object::items(&service, "/spec/ports")
        .iter()
        .find(|p| p["port"].as_u64() == Some(u64::from(port)))
        .map(|p| object::field(p, "name").to_owned())?;
    let slices = api.store.list("endpointslices.discovery.k8s.io", Some(namespace)).objects;
    slices.iter().filter(|s| belongs(s, name)).find_map(|slice| {
        let number = object::items(slice, "/ports").iter().find(|p| object::field(p, "name") == port_name)?;
        let number = u16::try_from(number["port"].as_u64()?).ok()?;
        let ready = |e: &&Value| e["conditions"]["ready"] != false;
        let endpoint = object::items(slice, "/endpoints").iter().find(ready)?;
        let address = object::strings(endpoint, "addresses").next()?;
        Some(SocketAddr::new(address.parse().ok()?, number))
    })
}

fn belongs(slice: &Arc<Value>, service: &str) -> bool {
    object::labels(slice).get("kubernetes.io/service-name").and_then(Value::as_str) == Some(service)
}

/// Publishes how to join from outside, as kubeadm does: `kube-public/cluster-info`, readable by everybody.
pub(crate) fn publish_cluster_info(api: &Api, kubeconfig: &str) {
    let data = json!({"data": {"kubeconfig": kubeconfig}});
    let key = Key::new("kube-public", "cluster-info");
    if let Some(old) = api.store.get("configmaps", &key) {
        let mut new = (*old).clone();
        new["data"] = data["data"].clone();
        // Nobody else writes it; if somebody does, theirs stays.
        let _ = api.store.replace("configmaps", &key, &old, new);
        return;
    }
    api.put_own("configmaps", "v1", "ConfigMap", "kube-public", "cluster-info", data);
    let name = "kubeadm:bootstrap-signer-clusterinfo";
    let api_version = "rbac.authorization.k8s.io/v1";
    put(
        api,
        &json!({"apiVersion": api_version, "kind": "Role", "metadata": {"namespace": "kube-public", "name": name},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["cluster-info"],
                "verbs": ["get"]}]}),
    );
    put(
        api,
        &json!({"apiVersion": api_version, "kind": "RoleBinding",
            "metadata": {"namespace": "kube-public", "name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:anonymous"}]}),
    );
}
