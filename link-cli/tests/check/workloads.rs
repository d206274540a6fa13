//! The proxies of workloads, and the Services before them.

use crate::each;
use crate::objects::Objects;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn proxies_of_workloads() {
    each(&[
        ("×", "l5d-data-plane-exists", &["--proxy", "-n", "default"], |_| {}),
        ("×", "l5d-data-plane-ready", &["--proxy"], |o| {
            o.get("Pod", "web")["status"]["conditions"][0]["status"] = json!("False");
        }),
        ("‼", "l5d-data-plane-cli-version", &["--proxy"], |o| {
            o.get("Pod", "web")["metadata"]["annotations"]["linkerd.io/proxy-version"] = json!("0.0.1");
        }),
        ("‼", "l5d-data-plane-pod-labels", &["--proxy"], |o| {
            o.get("Pod", "web")["metadata"]["labels"]["linkerd.io/inject"] = json!("enabled");
        }),
        ("‼", "l5d-identity-data-plane-proxies-certs-match-ca", &["--proxy"], |o| {
            o.get("Pod", "web")["metadata"]["annotations"]["linkerd.io/trust-root-sha256"] = json!("00");
        }),
    ])
    .await;
}

fn service(o: &mut Objects, labels: Value, annotations: Value) {
    o.0.push(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop", "labels": labels, "annotations": annotations},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }));
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_services() {
    each(&[
        ("‼", "l5d-data-plane-services-labels", &["--proxy"], |o| {
            service(o, json!({"config.linkerd.io/opaque-ports": "80"}), json!({}));
        }),
        ("‼", "l5d-data-plane-services-annotations", &["--proxy"], |o| {
            service(o, json!({}), json!({"mirror.linkerd.io/exported": "true"}));
        }),
        ("‼", "linkerd-opaque-ports-definition", &["--proxy"], |o| {
            service(o, json!({}), json!({"config.linkerd.io/opaque-ports": "80"}));
            let meta = &mut o.get("Pod", "web")["metadata"];
            meta["labels"]["app"] = json!("web");
            meta["annotations"]["config.linkerd.io/opaque-ports"] = json!("25");
        }),
    ])
    .await;
}
