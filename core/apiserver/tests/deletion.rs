//! How things end: finalizers, grace, owners, namespaces, definitions.
#![allow(clippy::expect_used)] // what fails in a helper fails the test

use mesh_testkit::{Cluster, Http, eventually};
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

async fn start() -> (Cluster, Http) {
    let cluster = Cluster::start().await.expect("a cluster");
    let http = cluster.http().expect("a client");
    (cluster, http)
}

async fn put_map(http: &Http, name: &str, metadata: Value) -> Value {
    let mut body = json!({"metadata": metadata});
    body["metadata"]["name"] = name.into();
    let reply = http.post(MAPS, &body).await.expect("answered");
    assert_eq!(reply.status, 201, "{}", reply.text);
    reply.json
}

fn owned_by(owner: &Value, blocking: bool) -> Value {
    json!({"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "blockOwnerDeletion": blocking}]})
}

async fn gone(http: &Http, path: &str) {
    eventually(path, || async move { (http.get(path).await.ok()?.status == 404).then_some(()) })
        .await
        .expect("gone in time");
}

#[tokio::test]
async fn a_finalizer_holds_an_object_until_it_is_taken_away() {
    let (_cluster, http) = start().await;
    put_map(&http, "a", json!({"finalizers": ["example.com/hold"]})).await;
    let path = format!("{MAPS}/a");
    let reply = http.delete(&path, &Value::Null).await.expect("answered").json;
    assert!(reply["metadata"]["deletionTimestamp"].is_string(), "{reply}");
    let more = json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}});
    assert_eq!(http.patch(&path, "merge-patch", &more).await.expect("answered").status, 422);
    let none = json!({"metadata": {"finalizers": null}});
    assert_eq!(http.patch(&path, "merge-patch", &none).await.expect("answered").status, 200);
    assert_eq!(http.get(&path).await.expect("answered").status, 404);
}

#[tokio::test]
async fn preconditions_protect_a_newer_object() {
    let (_cluster, http) = start().await;
    put_map(&http, "a", json!({})).await;
    let options = json!({"preconditions": {"uid": "another"}});
    let reply = http.delete(&format!("{MAPS}/a"), &options).await.expect("answered");
    assert_eq!(reply.status, 409, "{}", reply.text);
}

#[tokio::test]
async fn a_running_pod_gets_its_grace_and_a_pod_without_node_none() {
    let (_cluster, http) = start().await;
    let pod = |name: &str, node: Value| {
        json!({"metadata": {"name": name}, "spec": {"nodeName": node,
            "containers": [{"name": "web", "image": "isthmus/demo:0.1.0"}]}})
    };
    let created = http.post(PODS, &pod("a", json!("node-1"))).await.expect("answered");
    assert_eq!(created.status, 201, "{}", created.text);
    let reply = http.delete(&format!("{PODS}/a"), &Value::Null).await.expect("answered").json;
    assert_eq!(reply["metadata"]["deletionGracePeriodSeconds"], 30, "{reply}");
    let forced =
        http.delete(&format!("{PODS}/a?gracePeriodSeconds=0"), &Value::Null).await.expect("answered");
    assert_eq!(forced.json["metadata"]["deletionGracePeriodSeconds"], 0, "{}", forced.text);
    http.post(PODS, &pod("b", Value::Null)).await.expect("answered");
    http.delete(&format!("{PODS}/b"), &Value::Null).await.expect("answered");
    assert_eq!(http.get(&format!("{PODS}/b")).await.expect("answered").status, 404);
}

#[tokio::test]
async fn dependents_follow_their_owner() {
    let (_cluster, http) = start().await;
    let owner = put_map(&http, "owner", json!({})).await;
    let child = put_map(&http, "child", owned_by(&owner, false)).await;
    put_map(&http, "grandchild", owned_by(&child, false)).await;
    http.delete(&format!("{MAPS}/owner"), &Value::Null).await.expect("answered");
    gone(&http, &format!("{MAPS}/child")).await;
    gone(&http, &format!("{MAPS}/grandchild")).await;
    put_map(&http, "late", owned_by(&owner, false)).await;
    gone(&http, &format!("{MAPS}/late")).await;
}

#[tokio::test]
async fn in_the_foreground_the_owner_goes_last() {
    let (_cluster, http) = start().await;
    let owner = put_map(&http, "owner", json!({})).await;
    let mut held = owned_by(&owner, true);
    held["finalizers"] = json!(["example.com/hold"]);
    put_map(&http, "child", held).await;
    let options = json!({"propagationPolicy": "Foreground"});
    http.delete(&format!("{MAPS}/owner"), &options).await.expect("answered");
    let (client, child) = (&http, format!("{MAPS}/child"));
    eventually("the child's deletion to begin", || async {
        let live = client.get(&child).await.ok()?.json;
        live["metadata"]["deletionTimestamp"].is_string().then_some(())
    })
    .await
    .expect("begun");
    assert_eq!(http.get(&format!("{MAPS}/owner")).await.expect("answered").status, 200);
    let none = json!({"metadata": {"finalizers": null}});
    // The collector's own finalizer goes along: nothing depends on the child.
    http.patch(&child, "merge-patch", &none).await.expect("answered");
    gone(&http, &format!("{MAPS}/owner")).await;
}

#[tokio::test]
async fn orphans_stay_without_their_owner() {
    let (_cluster, http) = start().await;
    let owner = put_map(&http, "owner", json!({})).await;
    put_map(&http, "child", owned_by(&owner, false)).await;
    http.delete(&format!("{MAPS}/owner"), &json!({"propagationPolicy": "Orphan"})).await.expect("answered");
    gone(&http, &format!("{MAPS}/owner")).await;
    let child = http.get(&format!("{MAPS}/child")).await.expect("answered");
    assert_eq!(child.status, 200);
    assert!(child.json["metadata"]["ownerReferences"].is_null());
}

#[tokio::test]
async fn a_namespace_takes_along_what_it_holds_and_nothing_is_made_in_it_meanwhile() {
    let (cluster, http) = start().await;
    cluster.namespace("shop").await.expect("a namespace");
    let held = json!({"metadata": {"name": "held", "finalizers": ["example.com/hold"]}});
    let maps = "/api/v1/namespaces/shop/configmaps";
    http.post(maps, &held).await.expect("answered");
    let reply = http.delete("/api/v1/namespaces/shop", &Value::Null).await.expect("answered").json;
    assert_eq!(reply["status"]["phase"], "Terminating", "{reply}");
    let refused = http.post(maps, &json!({"metadata": {"name": "late"}})).await.expect("answered");
    assert_eq!(refused.status, 403);
    assert!(refused.text.contains("because it is being terminated"), "{}", refused.text);
    let none = json!({"metadata": {"finalizers": null}});
    http.patch(&format!("{maps}/held"), "merge-patch", &none).await.expect("answered");
    gone(&http, "/api/v1/namespaces/shop").await;
    assert!(http.get(maps).await.expect("answered").json["items"].as_array().is_some_and(Vec::is_empty));
}

#[tokio::test]
async fn a_namespace_is_furnished_and_stays_so() {
    let (cluster, http) = start().await;
    cluster.namespace("shop").await.expect("a namespace");
    let account = "/api/v1/namespaces/shop/serviceaccounts/default";
    assert_eq!(http.get(account).await.expect("answered").status, 200);
    http.delete(account, &Value::Null).await.expect("answered");
    assert_eq!(http.get(account).await.expect("answered").status, 200);
    let root = "/api/v1/namespaces/shop/configmaps/kube-root-ca.crt";
    let spoil = json!({"data": {"ca.crt": "x"}});
    http.patch(root, "merge-patch", &spoil).await.expect("answered");
    let data = http.get(root).await.expect("answered").json["data"]["ca.crt"].clone();
    assert_eq!(data, cluster.handle().ca_pem());
}

#[tokio::test]
async fn deletecollection_deletes_what_the_selector_selects() {
    let (_cluster, http) = start().await;
    put_map(&http, "a", json!({"labels": {"app": "web"}})).await;
    put_map(&http, "b", json!({"labels": {"app": "db"}})).await;
    let reply =
        http.delete(&format!("{MAPS}?labelSelector=app%3Dweb"), &Value::Null).await.expect("answered");
    assert_eq!(reply.status, 200);
    assert_eq!(http.get(&format!("{MAPS}/a")).await.expect("answered").status, 404);
    assert_eq!(http.get(&format!("{MAPS}/b")).await.expect("answered").status, 200);
}

fn definition() -> Value {
    let schema = |default: &str| {
        json!({"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "required": ["size"], "properties": {
                "size": {"type": "integer", "minimum": 1},
                "colour": {"type": "string", "default": default}}},
            "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}}}}})
    };
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
        "versions": [
            {"name": "v1", "served": true, "storage": true, "schema": schema("green"), "subresources": {"status": {}}},
            {"name": "v1beta1", "served": true, "storage": false, "schema": schema("red"), "subresources": {"status": {}}},
        ]}})
}

#[tokio::test]
async fn a_custom_kind_is_served_as_soon_as_it_is_defined_and_goes_with_its_definition() {
    let (cluster, http) = start().await;
    let created = cluster.create(definition()).await.expect("defined");
    assert_eq!(created["status"]["conditions"][1]["type"], "Established");
    let widgets = "/apis/example.com/v1/namespaces/default/widgets";
    let body = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"},
        "spec": {"size": 3, "unknown": true}, "status": {"ready": true}});
    let widget = http.post(widgets, &body).await.expect("answered");
    assert_eq!(widget.status, 201, "{}", widget.text);
    assert_eq!(widget.json["spec"], json!({"size": 3, "colour": "green"}));
    assert!(widget.json["status"].is_null());
    let other = http.get("/apis/example.com/v1beta1/namespaces/default/widgets/w").await.expect("answered");
    assert_eq!(other.json["apiVersion"], "example.com/v1beta1", "{}", other.text);
    let mut wrong = body.clone();
    wrong["metadata"]["name"] = "x".into();
    wrong["spec"]["size"] = json!(0);
    assert_eq!(http.post(widgets, &wrong).await.expect("answered").status, 422);
    let groups = http.get("/apis/example.com/v1").await.expect("answered").json;
    assert_eq!(groups["resources"][0]["name"], "widgets", "{groups}");
    let crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com";
    http.delete(crd, &Value::Null).await.expect("answered");
    gone(&http, crd).await;
    assert_eq!(http.get(widgets).await.expect("answered").status, 404);
}
