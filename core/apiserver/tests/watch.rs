//! Lists and watches: pages, selectors, revisions, bookmarks, and what happens when history is gone.
#![allow(clippy::expect_used)] // what fails in a helper fails the test

use mesh_testkit::{Cluster, Http};
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/shop/configmaps";

async fn start() -> (Cluster, Http) {
    let cluster = Cluster::start().await.expect("a cluster");
    cluster.namespace("shop").await.expect("a namespace");
    let http = cluster.http().expect("a client");
    http.delete(&format!("{MAPS}?fieldSelector=metadata.name%21%3Dx"), &Value::Null).await.expect("answered");
    (cluster, http)
}

async fn put_map(http: &Http, name: &str, app: &str) -> Value {
    let body = json!({"metadata": {"name": name, "labels": {"app": app}}});
    let reply = http.post(MAPS, &body).await.expect("answered");
    assert_eq!(reply.status, 201, "{}", reply.text);
    reply.json
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().into_iter().flatten().filter_map(|o| o["metadata"]["name"].as_str()).collect()
}

#[tokio::test]
async fn pages_of_a_list_are_one_state_whatever_is_written_between() {
    let (_cluster, http) = start().await;
    for name in ["a", "b", "c"] {
        put_map(&http, name, "web").await;
    }
    let first = http.get(&format!("{MAPS}?limit=2&labelSelector=app")).await.expect("answered").json;
    assert_eq!(names(&first), ["a", "b"]);
    put_map(&http, "bb", "web").await;
    http.delete(&format!("{MAPS}/c"), &Value::Null).await.expect("answered");
    let token = first["metadata"]["continue"].as_str().expect("a continue token");
    let path = format!("{MAPS}?limit=2&labelSelector=app&continue={token}");
    let second = http.get(&path).await.expect("answered").json;
    assert_eq!(names(&second), ["c"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert!(second["metadata"]["continue"].is_null());
}

#[tokio::test]
async fn a_continue_token_from_before_compaction_is_gone() {
    let (cluster, http) = start().await;
    put_map(&http, "a", "web").await;
    put_map(&http, "b", "web").await;
    let first = http.get(&format!("{MAPS}?limit=1")).await.expect("answered").json;
    put_map(&http, "c", "web").await;
    cluster.handle().compact();
    let token = first["metadata"]["continue"].as_str().expect("a continue token");
    let reply = http.get(&format!("{MAPS}?limit=1&continue={token}")).await.expect("answered");
    assert_eq!((reply.status.as_u16(), reply.json["reason"].as_str()), (410, Some("Expired")));
}

#[tokio::test]
async fn selectors_narrow_lists() {
    let (_cluster, http) = start().await;
    put_map(&http, "a", "web").await;
    put_map(&http, "b", "db").await;
    let by = |query: &'static str| {
        let http = &http;
        async move { http.get(&format!("{MAPS}?{query}")).await.expect("answered").json }
    };
    assert_eq!(names(&by("labelSelector=app%3Dweb").await), ["a"]);
    assert_eq!(names(&by("labelSelector=app+in+(web,db),app!%3Dweb").await), ["b"]);
    assert_eq!(names(&by("fieldSelector=metadata.name%3Db").await), ["b"]);
    let bad = http.get(&format!("{MAPS}?fieldSelector=data.x%3D1")).await.expect("answered");
    assert_eq!(bad.status, 400);
}

#[tokio::test]
async fn a_list_waits_for_no_future_and_reads_an_exact_past() {
    let (_cluster, http) = start().await;
    let a = put_map(&http, "a", "web").await;
    put_map(&http, "b", "web").await;
    let revision = a["metadata"]["resourceVersion"].as_str().expect("a revision");
    let path = format!("{MAPS}?labelSelector=app&resourceVersionMatch=Exact&resourceVersion={revision}");
    assert_eq!(names(&http.get(&path).await.expect("answered").json), ["a"]);
    let future = http.get(&format!("{MAPS}?resourceVersion=999999999")).await.expect("answered");
    assert_eq!(future.status, 504);
    assert!(future.text.contains("Too large resource version"), "{}", future.text);
}

#[tokio::test]
async fn a_watch_resumes_after_the_revision_it_is_given() {
    let (_cluster, http) = start().await;
    let a = put_map(&http, "a", "web").await;
    let revision = a["metadata"]["resourceVersion"].as_str().expect("a revision");
    put_map(&http, "b", "web").await;
    let mut watch =
        http.watch(&format!("{MAPS}?watch=true&resourceVersion={revision}")).await.expect("a watch");
    assert_eq!(watch.next_named().await.expect("an event"), "ADDED b");
    http.patch(&format!("{MAPS}/a"), "merge-patch", &json!({"data": {"x": "1"}})).await.expect("answered");
    assert_eq!(watch.next_named().await.expect("an event"), "MODIFIED a");
    http.delete(&format!("{MAPS}/b"), &Value::Null).await.expect("answered");
    assert_eq!(watch.next_named().await.expect("an event"), "DELETED b");
}

#[tokio::test]
async fn an_object_that_leaves_the_selection_is_deleted_to_its_watchers() {
    let (_cluster, http) = start().await;
    put_map(&http, "a", "web").await;
    let mut watch = http.watch(&format!("{MAPS}?watch=true&labelSelector=app%3Dweb")).await.expect("a watch");
    assert_eq!(watch.next_named().await.expect("an event"), "ADDED a");
    let relabel = json!({"metadata": {"labels": {"app": "db"}}});
    http.patch(&format!("{MAPS}/a"), "merge-patch", &relabel).await.expect("answered");
    assert_eq!(watch.next_named().await.expect("an event"), "DELETED a");
}

#[tokio::test]
async fn a_streaming_list_ends_with_an_annotated_bookmark() {
    let (_cluster, http) = start().await;
    put_map(&http, "a", "web").await;
    let query =
        "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let mut watch = http.watch(&format!("{MAPS}?labelSelector=app&{query}")).await.expect("a watch");
    assert_eq!(watch.next_named().await.expect("an event"), "ADDED a");
    let bookmark = watch.next().await.expect("an event").expect("a bookmark");
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

#[tokio::test]
async fn a_watch_ends_in_time_with_a_last_bookmark() {
    let (_cluster, http) = start().await;
    let query = "watch=true&allowWatchBookmarks=true&timeoutSeconds=1&resourceVersion=1";
    let mut watch = http.watch(&format!("/api/v1/nodes?{query}")).await.expect("a watch");
    assert_eq!(watch.next_named().await.expect("an event"), "BOOKMARK");
    assert!(watch.next().await.expect("an end").is_none());
}

#[tokio::test]
async fn a_watch_from_before_compaction_is_told_that_it_is_gone() {
    let (cluster, http) = start().await;
    put_map(&http, "a", "web").await;
    cluster.handle().compact();
    for revision in ["1", "999999999"] {
        let path = format!("{MAPS}?watch=true&resourceVersion={revision}");
        let mut watch = http.watch(&path).await.expect("a watch");
        let event = watch.next().await.expect("an event").expect("an error");
        assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
        assert!(watch.next().await.expect("an end").is_none());
    }
}

#[tokio::test]
async fn tables_and_metadata_are_sent_where_they_are_asked_for() {
    let (_cluster, http) = start().await;
    put_map(&http, "a", "web").await;
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let table = http.get_as(&format!("{MAPS}?labelSelector=app"), accept).await.expect("answered").json;
    assert_eq!((&table["kind"], &table["rows"][0]["cells"][0]), (&json!("Table"), &json!("a")));
    let accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let list = http.get_as(&format!("{MAPS}?labelSelector=app"), accept).await.expect("answered").json;
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert!(list["items"][0]["data"].is_null());
    let refused = http.get_as(MAPS, "application/vnd.kubernetes.protobuf").await.expect("answered");
    assert_eq!(refused.status, 406);
}
