//! Reading and writing objects over HTTPS: codes, conflicts, patches, options, subresources.
#![allow(clippy::expect_used)] // what fails in a helper fails the test

use mesh_testkit::{Cluster, Http};
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

async fn start() -> (Cluster, Http) {
    let cluster = Cluster::start().await.expect("a cluster");
    let http = cluster.http().expect("a client");
    (cluster, http)
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"a": "1"}})
}

fn deployment(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "replicas": 2, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "web", "image": "isthmus/demo:0.1.0"}]}}}})
}

#[tokio::test]
async fn a_created_object_is_stamped_and_can_be_read() {
    let (_cluster, http) = start().await;
    let created = http.post(MAPS, &map("settings")).await.expect("answered");
    assert_eq!(created.status, 201, "{}", created.text);
    let metadata = &created.json["metadata"];
    for field in ["uid", "creationTimestamp", "resourceVersion", "namespace"] {
        assert!(metadata[field].is_string(), "{field} is missing: {metadata}");
    }
    let read = http.get(&format!("{MAPS}/settings")).await.expect("answered");
    assert_eq!(read.json["data"]["a"], "1");
    let again = http.post(MAPS, &map("settings")).await.expect("answered");
    assert_eq!((again.status.as_u16(), again.json["reason"].as_str()), (409, Some("AlreadyExists")));
    let missing = http.get(&format!("{MAPS}/other")).await.expect("answered");
    assert_eq!(missing.status, 404);
    assert_eq!(missing.json["message"], "configmaps \"other\" not found");
}

#[tokio::test]
async fn a_generated_name_is_unique() {
    let (_cluster, http) = start().await;
    let body = json!({"metadata": {"generateName": "job-"}});
    let first = http.post(MAPS, &body).await.expect("answered").json["metadata"]["name"].clone();
    let second = http.post(MAPS, &body).await.expect("answered").json["metadata"]["name"].clone();
    assert!(first.as_str().is_some_and(|n| n.starts_with("job-") && n.len() == 9), "{first}");
    assert_ne!(first, second);
}

#[tokio::test]
async fn an_update_of_an_old_revision_conflicts() {
    let (_cluster, http) = start().await;
    let created = http.post(MAPS, &map("settings")).await.expect("answered").json;
    let path = format!("{MAPS}/settings");
    let mut newer = created.clone();
    newer["data"]["a"] = "2".into();
    assert_eq!(http.put(&path, &newer).await.expect("answered").status, 200);
    let stale = http.put(&path, &created).await.expect("answered");
    assert_eq!((stale.status.as_u16(), stale.json["reason"].as_str()), (409, Some("Conflict")));
    let mut unconditional = created;
    unconditional["metadata"]["resourceVersion"] = "".into();
    assert_eq!(http.put(&path, &unconditional).await.expect("answered").status, 200);
}

#[tokio::test]
async fn every_kind_of_patch_is_applied() {
    let (_cluster, http) = start().await;
    http.post(DEPLOYMENTS, &deployment("web")).await.expect("answered");
    let path = format!("{DEPLOYMENTS}/web");
    let json_patch = json!([{"op": "replace", "path": "/spec/replicas", "value": 3}]);
    let reply = http.patch(&path, "json-patch", &json_patch).await.expect("answered");
    assert_eq!(reply.json["spec"]["replicas"], 3, "{}", reply.text);
    let merge = json!({"metadata": {"annotations": {"note": "x"}}});
    let reply = http.patch(&path, "merge-patch", &merge).await.expect("answered");
    assert_eq!(reply.json["metadata"]["annotations"]["note"], "x");
    let strategic =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "log", "image": "isthmus/log:1"}]}}}});
    let reply = http.patch(&path, "strategic-merge-patch", &strategic).await.expect("answered");
    let containers = reply.json["spec"]["template"]["spec"]["containers"].as_array().map(Vec::len);
    assert_eq!(containers, Some(2), "{}", reply.text);
    let apply = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 5}});
    let reply =
        http.patch(&format!("{path}?fieldManager=me"), "apply-patch", &apply).await.expect("answered");
    assert_eq!(reply.status, 409, "{}", reply.text);
    let reply = http
        .patch(&format!("{path}?fieldManager=me&force=true"), "apply-patch", &apply)
        .await
        .expect("answered");
    assert_eq!(reply.json["spec"]["replicas"], 5, "{}", reply.text);
}

#[tokio::test]
async fn a_failed_test_operation_changes_nothing() {
    let (_cluster, http) = start().await;
    http.post(MAPS, &map("settings")).await.expect("answered");
    let patch = json!([{"op": "replace", "path": "/data/a", "value": "9"}, {"op": "test", "path": "/data/a", "value": "1"}]);
    let path = format!("{MAPS}/settings");
    assert_eq!(http.patch(&path, "json-patch", &patch).await.expect("answered").status, 422);
    assert_eq!(http.get(&path).await.expect("answered").json["data"]["a"], "1");
}

#[tokio::test]
async fn spec_and_status_are_written_apart_and_intent_is_counted() {
    let (_cluster, http) = start().await;
    let mut body = deployment("web");
    body["status"] = json!({"replicas": 7});
    let created = http.post(DEPLOYMENTS, &body).await.expect("answered").json;
    assert!(created["status"]["replicas"].is_null(), "{created}");
    assert_eq!(created["metadata"]["generation"], 1);
    let path = format!("{DEPLOYMENTS}/web");
    let status = json!({"spec": {"replicas": 9}, "status": {"replicas": 2}});
    let reply = http.patch(&format!("{path}/status"), "merge-patch", &status).await.expect("answered").json;
    assert_eq!(reply["status"]["replicas"], 2);
    assert_eq!((&reply["spec"]["replicas"], &reply["metadata"]["generation"]), (&json!(2), &json!(1)));
    let spec = json!({"spec": {"replicas": 9}, "status": {"replicas": 0}});
    let reply = http.patch(&path, "merge-patch", &spec).await.expect("answered").json;
    assert_eq!((&reply["status"]["replicas"], &reply["metadata"]["generation"]), (&json!(2), &json!(2)));
}

#[tokio::test]
async fn scale_shows_and_sets_replicas() {
    let (_cluster, http) = start().await;
    http.post(DEPLOYMENTS, &deployment("web")).await.expect("answered");
    let path = format!("{DEPLOYMENTS}/web/scale");
    let scale = http.get(&path).await.expect("answered").json;
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(2)));
    assert_eq!(scale["status"]["selector"], "app=web");
    let reply = http.patch(&path, "merge-patch", &json!({"spec": {"replicas": 4}})).await.expect("answered");
    assert_eq!(reply.json["spec"]["replicas"], 4, "{}", reply.text);
    let live = http.get(&format!("{DEPLOYMENTS}/web")).await.expect("answered").json;
    assert_eq!((&live["spec"]["replicas"], &live["metadata"]["generation"]), (&json!(4), &json!(2)));
}

#[tokio::test]
async fn a_dry_run_checks_everything_and_keeps_nothing() {
    let (_cluster, http) = start().await;
    let reply = http.post(&format!("{MAPS}?dryRun=All"), &map("settings")).await.expect("answered");
    assert_eq!(reply.status, 201);
    assert_eq!(http.get(&format!("{MAPS}/settings")).await.expect("answered").status, 404);
    http.post(MAPS, &map("settings")).await.expect("answered");
    let reply = http.delete(&format!("{MAPS}/settings?dryRun=All"), &Value::Null).await.expect("answered");
    assert_eq!(reply.status, 200);
    assert_eq!(http.get(&format!("{MAPS}/settings")).await.expect("answered").status, 200);
}

#[tokio::test]
async fn unknown_fields_are_refused_warned_of_or_dropped_as_asked() {
    let (_cluster, http) = start().await;
    let mut body = deployment("web");
    body["spec"]["replicaz"] = json!(3);
    let strict = http.post(&format!("{DEPLOYMENTS}?fieldValidation=Strict"), &body).await.expect("answered");
    assert_eq!(strict.status, 400);
    assert!(strict.text.contains("spec.replicaz"), "{}", strict.text);
    let warned = http.post(&format!("{DEPLOYMENTS}?fieldValidation=Warn"), &body).await.expect("answered");
    assert_eq!(warned.status, 201);
    let warning = warned.headers.get("warning").and_then(|w| w.to_str().ok()).unwrap_or_default();
    assert!(warning.contains("spec.replicaz"), "{warning}");
    assert!(warned.json["spec"]["replicaz"].is_null());
}

#[tokio::test]
async fn wrong_fields_are_named() {
    let (_cluster, http) = start().await;
    let mut body = deployment("web");
    body["spec"]["selector"] = json!({"matchLabels": {"app": "other"}});
    let reply = http.post(DEPLOYMENTS, &body).await.expect("answered");
    assert_eq!((reply.status.as_u16(), reply.json["reason"].as_str()), (422, Some("Invalid")));
    assert!(reply.text.contains("spec.template.metadata.labels"), "{}", reply.text);
    let text = http.call(http::Method::POST, MAPS, "text/plain", &map("x")).await.expect("answered");
    assert_eq!(text.status, 415);
    let broken = http.post(MAPS, &json!("x")).await.expect("answered");
    assert_eq!(broken.status, 400);
}

#[tokio::test]
async fn services_get_addresses_and_node_ports_and_keep_them() {
    let (_cluster, http) = start().await;
    let path = "/api/v1/namespaces/default/services";
    let body = |name: &str, kind: &str| {
        json!({"metadata": {"name": name}, "spec": {"type": kind, "selector": {"app": name},
            "ports": [{"name": "http", "port": 80}]}})
    };
    let first = http.post(path, &body("a", "ClusterIP")).await.expect("answered").json;
    let second = http.post(path, &body("b", "LoadBalancer")).await.expect("answered").json;
    let address = first["spec"]["clusterIP"].as_str().expect("an address");
    assert!(address.starts_with("10.43."), "{address}");
    assert_ne!(first["spec"]["clusterIP"], second["spec"]["clusterIP"]);
    let node_port = second["spec"]["ports"][0]["nodePort"].as_u64().expect("a node port");
    assert!((30000..=32767).contains(&node_port));
    let mut update = body("b", "LoadBalancer");
    update["spec"]["ports"][0]["targetPort"] = json!(8080);
    let updated = http.put(&format!("{path}/b"), &update).await.expect("answered").json;
    assert_eq!(updated["spec"]["clusterIP"], second["spec"]["clusterIP"], "{updated}");
    assert_eq!(updated["spec"]["ports"][0]["nodePort"], node_port);
    let mut local = updated.clone();
    local["spec"]["externalTrafficPolicy"] = "Local".into();
    let local = http.put(&format!("{path}/b"), &local).await.expect("answered").json;
    assert!(local["spec"]["healthCheckNodePort"].is_u64(), "{local}");
    let mut moved = local.clone();
    moved["spec"]["clusterIP"] = "10.43.9.9".into();
    moved["spec"]["clusterIPs"] = json!(["10.43.9.9"]);
    assert_eq!(http.put(&format!("{path}/b"), &moved).await.expect("answered").status, 422);
    let mut taken = body("c", "ClusterIP");
    taken["spec"]["clusterIP"] = first["spec"]["clusterIP"].clone();
    assert_eq!(http.post(path, &taken).await.expect("answered").status, 422);
    let mut headless = body("d", "ClusterIP");
    headless["spec"]["clusterIP"] = "None".into();
    assert_eq!(
        http.post(path, &headless).await.expect("answered").json["spec"]["clusterIPs"],
        json!(["None"])
    );
}

#[tokio::test]
async fn events_are_one_set_under_two_groups() {
    let (_cluster, http) = start().await;
    let event = json!({"metadata": {"name": "e1"}, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal",
        "reason": "Pulled", "action": "Pull", "note": "pulled it", "reportingController": "kubelet",
        "reportingInstance": "node", "regarding": {"kind": "Pod", "name": "web", "namespace": "default"}});
    let created =
        http.post("/apis/events.k8s.io/v1/namespaces/default/events", &event).await.expect("answered");
    assert_eq!(created.status, 201, "{}", created.text);
    let selector = "?fieldSelector=involvedObject.name%3Dweb";
    let core =
        http.get(&format!("/api/v1/namespaces/default/events{selector}")).await.expect("answered").json;
    assert_eq!(core["items"][0]["message"], "pulled it", "{core}");
}

#[tokio::test]
async fn empty_maps_and_lists_are_as_good_as_none_but_empty_objects_stay() {
    let (_cluster, http) = start().await;
    let mut body = deployment("web");
    body["metadata"]["annotations"] = json!({});
    body["metadata"]["finalizers"] = json!([]);
    body["spec"]["template"]["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    let created = http.post(DEPLOYMENTS, &body).await.expect("answered").json;
    assert!(
        created["metadata"]["annotations"].is_null() && created["metadata"]["finalizers"].is_null(),
        "{created}"
    );
    assert_eq!(created["spec"]["template"]["spec"]["volumes"][0]["emptyDir"], json!({}));
}
