use super::*;
use serde_json::json;

fn pod() -> Value {
    json!({
        "metadata": { "namespace": "shop", "name": "web-1", "labels": { "app": "web" } },
        "spec": { "nodeName": "east-node", "serviceAccountName": "web" }, "status": { "podIP": "10.42.0.5" },
    })
}

fn lookup(kind: &str, name: &str) -> Option<Arc<Value>> {
    match (kind, name) {
        ("ConfigMap", "settings") => Some(Arc::new(json!({ "data": { "MODE": "fast" } }))),
        ("Secret", "key") => Some(Arc::new(json!({ "data": { "password": STANDARD.encode("s3cret") } }))),
        _ => None,
    }
}

fn of(container: Value) -> Result<Vec<(String, String)>, String> {
    environment(&container, &pod(), std::iter::empty(), &lookup)
}

fn pairs(all: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
    Ok(all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

#[test]
fn values_refer_to_earlier_ones_and_to_the_pod() {
    let container = json!({ "env": [
        { "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
        { "name": "APP", "valueFrom": { "fieldRef": { "fieldPath": "metadata.labels['app']" } } },
        { "name": "URL", "value": "http://$(IP):80/$(APP)?$(LATER)&$$(IP)$" },
        { "name": "LATER", "value": "x" },
    ] });
    let url = "http://10.42.0.5:80/web?$(LATER)&$(IP)$";
    assert_eq!(of(container), pairs(&[("IP", "10.42.0.5"), ("APP", "web"), ("URL", url), ("LATER", "x")]));
}

#[test]
fn config_maps_and_secrets_come_whole_or_by_key() {
    let container = json!({
        "envFrom": [{ "prefix": "P_", "configMapRef": { "name": "settings" } }, { "secretRef": { "name": "nope", "optional": true } }],
        "env": [
            { "name": "PASSWORD", "valueFrom": { "secretKeyRef": { "name": "key", "key": "password" } } },
            { "name": "GONE", "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "x", "optional": true } } },
        ],
    });
    assert_eq!(of(container), pairs(&[("P_MODE", "fast"), ("PASSWORD", "s3cret")]));
}

#[test]
fn what_is_missing_is_named() {
    let by_key =
        |reference: Value| of(json!({ "env": [{ "name": "A", "valueFrom": reference }] })).unwrap_err();
    assert_eq!(
        by_key(json!({ "secretKeyRef": { "name": "nope", "key": "k" } })),
        "secret \"nope\" not found"
    );
    assert!(
        by_key(json!({ "configMapKeyRef": { "name": "settings", "key": "k" } }))
            .contains("key k in ConfigMap shop/settings")
    );
    assert!(by_key(json!({ "fieldRef": { "fieldPath": "spec.x" } })).contains("spec.x"));
}

#[test]
fn the_api_server_is_always_told_and_other_services_of_the_namespace() {
    let service = |namespace: &str, name: &str| {
        json!({ "metadata": { "namespace": namespace, "name": name },
            "spec": { "clusterIP": "10.43.0.1", "ports": [{ "name": "https", "port": 443 }] } })
    };
    let services = [service("default", "kubernetes"), service("shop", "the-db"), service("other", "x")];
    let told = environment(&json!({}), &pod(), services.iter(), &lookup).unwrap();
    let names: Vec<_> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "KUBERNETES_SERVICE_HOST",
            "KUBERNETES_SERVICE_PORT",
            "KUBERNETES_SERVICE_PORT_HTTPS",
            "THE_DB_SERVICE_HOST",
            "THE_DB_SERVICE_PORT",
            "THE_DB_SERVICE_PORT_HTTPS",
        ]
    );
}

#[test]
fn resources_are_divided_and_rounded_up() {
    let container = json!({
        "resources": { "limits": { "cpu": "1500m", "memory": "64Mi" } },
        "env": [
            { "name": "CPU", "valueFrom": { "resourceFieldRef": { "resource": "limits.cpu" } } },
            { "name": "MIB", "valueFrom": { "resourceFieldRef": { "resource": "limits.memory", "divisor": "1Mi" } } },
        ],
    });
    assert_eq!(of(container), pairs(&[("CPU", "2"), ("MIB", "64")]));
}
