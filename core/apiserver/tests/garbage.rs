//! Whatever is sent, the answer is a client's error or a success: nothing panics, nothing is the server's fault.
#![allow(clippy::expect_used)] // what fails in a helper fails the test

use mesh_apiserver::ApiError;
use mesh_testkit::{Cluster, PatchKind};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

/// Well-formed objects to spoil, by resource.
fn samples() -> Vec<(&'static str, Value)> {
    let meta = |name: &str| json!({"namespace": "default", "name": name, "labels": {"app": "web"}});
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {
        "containers": [{"name": "web", "image": "isthmus/demo:0.1.0", "ports": [{"containerPort": 80, "name": "http"}],
            "env": [{"name": "A", "value": "b"}, {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            "readinessProbe": {"httpGet": {"port": "http", "path": "/"}},
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            "securityContext": {"runAsUser": 2102, "capabilities": {"drop": ["ALL"]}}}],
        "volumes": [{"name": "data", "emptyDir": {}}, {"name": "token", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token", "audience": "identity.l5d.io"}}]}}]}});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "size": {"type": "integer", "default": 1, "x-kubernetes-validations": [{"rule": "self > 0"}]}}}}}});
    vec![
        ("pods", json!({"metadata": meta("p"), "spec": template["spec"]})),
        (
            "services",
            json!({"metadata": meta("s"), "spec": {"type": "LoadBalancer", "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "appProtocol": "kubernetes.io/h2c"}]}}),
        ),
        (
            "deployments.apps",
            json!({"metadata": meta("d"), "spec": {"replicas": 2, "template": template,
            "selector": {"matchLabels": {"app": "web"}}, "strategy": {"rollingUpdate": {"maxSurge": "25%"}}}}),
        ),
        ("configmaps", json!({"metadata": meta("c"), "data": {"a": "b"}, "binaryData": {"c": "ZA=="}})),
        (
            "secrets",
            json!({"metadata": meta("s"), "type": "kubernetes.io/tls", "stringData": {"tls.crt": "", "tls.key": ""}}),
        ),
        (
            "endpointslices.discovery.k8s.io",
            json!({"metadata": meta("e"), "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}], "ports": [{"port": 80, "name": "x"}]}),
        ),
        (
            "leases.coordination.k8s.io",
            json!({"metadata": meta("l"), "spec": {"holderIdentity": "me",
            "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z"}}),
        ),
        (
            "events",
            json!({"metadata": meta("e"), "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
            "reason": "x", "message": "y", "type": "Normal"}),
        ),
        (
            "roles.rbac.authorization.k8s.io",
            json!({"metadata": meta("r"),
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
        ),
        (
            "rolebindings.rbac.authorization.k8s.io",
            json!({"metadata": meta("r"),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}]}),
        ),
        (
            "customresourcedefinitions.apiextensions.k8s.io",
            json!({"metadata": {"name": "widgets.example.com"},
            "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema,
                    "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}},
                    "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]}]}}),
        ),
        (
            "mutatingwebhookconfigurations.admissionregistration.k8s.io",
            json!({"metadata": {"name": "w"}, "webhooks": [{
            "name": "w.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Ignore",
            "clientConfig": {"service": {"namespace": "default", "name": "none"}}, "timeoutSeconds": 1,
            "rules": [{"apiGroups": ["none"], "apiVersions": ["v1"], "resources": ["none"], "operations": ["CREATE"]}]}]}),
        ),
    ]
}

fn junk(rng: &mut StdRng) -> Value {
    let all = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(70000),
        json!(1.5),
        json!(u64::MAX),
        json!(""),
        json!("x"),
        json!("ÄÖ\u{0}\n"),
        json!("a".repeat(300)),
        json!([]),
        json!([null]),
        json!({}),
        json!({"a": {"b": []}}),
        json!("2026-99-99T00:00:00Z"),
        json!("10%"),
        json!("1Gi"),
        json!("../.."),
        json!([[1], {"name": 3}]),
    ];
    all[rng.random_range(0..all.len())].clone()
}

/// Replaces, removes or adds something somewhere.
fn spoil(value: &mut Value, rng: &mut StdRng) {
    let deeper = rng.random_bool(0.8);
    match value {
        Value::Object(map) if !map.is_empty() => {
            let key = map.keys().nth(rng.random_range(0..map.len())).cloned().expect("a key");
            match (deeper, rng.random_range(0..10)) {
                (true, _) => spoil(&mut map[&key], rng),
                (false, 0) => drop(map.remove(&key)),
                (false, 1) => drop(map.insert("unheardOf".into(), junk(rng))),
                (false, _) => drop(map.insert(key, junk(rng))),
            }
        }
        Value::Array(list) if !list.is_empty() && deeper => {
            let index = rng.random_range(0..list.len());
            spoil(&mut list[index], rng);
        }
        other => *other = junk(rng),
    }
}

fn fair(what: &str, sent: &Value, outcome: Result<(), ApiError>) {
    if let Err(error) = outcome {
        assert!(error.code().as_u16() < 500, "{what}: {error} for {sent}");
    }
}

#[tokio::test]
async fn spoilt_objects_and_patches_are_answered() {
    let cluster = Cluster::start().await.expect("a cluster");
    let client = cluster.client();
    let mut rng = StdRng::seed_from_u64(7);
    for (resource, sample) in samples() {
        client.create(resource, sample.clone()).await.expect("the sample itself is right");
        let (namespace, name) = match sample["metadata"]["namespace"].as_str() {
            Some(namespace) => (namespace.to_owned(), sample["metadata"]["name"].as_str().expect("a name")),
            None => (String::new(), sample["metadata"]["name"].as_str().expect("a name")),
        };
        for round in 0..120 {
            let mut sent = sample.clone();
            for _ in 0..rng.random_range(1..4) {
                spoil(&mut sent, &mut rng);
            }
            if round % 2 == 0 && sent["metadata"].is_object() {
                sent["metadata"]["name"] = format!("x{round}").into();
            }
            let created = client.create(resource, sent.clone()).await.map(drop);
            fair(resource, &sent, created);
            for kind in
                [PatchKind::Merge, PatchKind::Strategic, PatchKind::Apply { force: true }, PatchKind::Json]
            {
                let patch = client.patch(resource, &namespace, name, "", kind, sent.clone()).await.map(drop);
                fair(&format!("{kind:?} of {resource}"), &sent, patch);
            }
            let status =
                client.patch(resource, &namespace, name, "status", PatchKind::Merge, sent.clone()).await;
            fair(&format!("status of {resource}"), &sent, status.map(drop));
        }
    }
}
