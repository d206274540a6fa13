//! kube-rs works against this server as against the real one: typed clients, both kinds of watcher, server-side apply.
#![allow(clippy::expect_used)] // what fails in a helper fails the test

use futures::{Stream, StreamExt, TryStreamExt};
use mesh_kube::k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, ServiceAccount};
use mesh_kube::kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent};
use mesh_kube::kube::runtime::watcher::{self, Event, watcher};
use mesh_kube::kube::{self, Client, ResourceExt};
use mesh_testkit::{Cluster, PATIENCE};
use serde_json::json;
use std::pin::pin;

async fn start() -> (Cluster, Client) {
    let cluster = Cluster::start().await.expect("a cluster");
    let text = cluster.kubeconfig().expect("a kubeconfig");
    let client = mesh_kube::connect_kubeconfig(&text).await.expect("a client");
    (cluster, client)
}

fn map(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"app": "x"}}, "data": {"a": value}}))
        .expect("a map")
}

async fn next<S>(stream: &mut S) -> Event<ConfigMap>
where
    S: Stream<Item = Result<Event<ConfigMap>, watcher::Error>> + Unpin,
{
    let event = tokio::time::timeout(PATIENCE, stream.next()).await;
    event.expect("an event in time").expect("no end").expect("no error")
}

fn told(event: &Event<ConfigMap>) -> String {
    match event {
        Event::Apply(map) => format!("apply {}", map.name_any()),
        Event::Delete(map) => format!("delete {}", map.name_any()),
        Event::Init => "init".into(),
        Event::InitApply(map) => format!("init {}", map.name_any()),
        Event::InitDone => "ready".into(),
    }
}

#[tokio::test]
async fn objects_are_created_replaced_patched_listed_and_deleted() {
    let (_cluster, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let mut created = maps.create(&PostParams::default(), &map("a", "1")).await.expect("created");
    created.data = Some([("a".to_owned(), "2".to_owned())].into());
    let stale = created.clone();
    maps.replace("a", &PostParams::default(), &created).await.expect("replaced");
    let mut stale = stale;
    stale.data = None;
    let error = maps.replace("a", &PostParams::default(), &stale).await.expect_err("a conflict");
    assert!(matches!(error, kube::Error::Api(status) if status.code == 409));
    let apply =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}, "data": {"x": "y"}});
    let params = PatchParams::apply("me");
    let applied = maps.patch("b", &params, &Patch::Apply(&apply)).await.expect("applied");
    let manager = applied.managed_fields().first().and_then(|m| m.manager.clone());
    assert_eq!(manager.as_deref(), Some("me"));
    let merge = json!({"data": {"x": null, "z": "1"}});
    let merged = maps.patch("b", &PatchParams::default(), &Patch::Merge(&merge)).await.expect("merged");
    assert_eq!(merged.data, Some([("z".to_owned(), "1".to_owned())].into()));
    let list = maps.list(&ListParams::default().labels("app=x")).await.expect("listed");
    assert_eq!(list.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["a"]);
    let outcome = maps.delete("a", &DeleteParams::default()).await.expect("deleted");
    assert!(outcome.is_right(), "gone at once");
    assert!(maps.get_opt("a").await.expect("answered").is_none());
    let metadata = maps.get_metadata("b").await.expect("metadata");
    assert_eq!(metadata.name_any(), "b");
}

#[tokio::test]
async fn both_kinds_of_watcher_start_with_what_there_is_and_follow() {
    let (_cluster, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    maps.create(&PostParams::default(), &map("a", "1")).await.expect("created");
    for config in [watcher::Config::default().page_size(1), watcher::Config::default().streaming_lists()] {
        maps.create(&PostParams::default(), &map("b", "1")).await.expect("created");
        let mut events = pin!(watcher(maps.clone(), config.labels("app=x")));
        let mut seen = Vec::new();
        while seen.last().is_none_or(|last| last != "ready") {
            seen.push(told(&next(&mut events).await));
        }
        // A streaming list does without the announcement.
        seen.retain(|event| event != "init");
        assert_eq!(seen, ["init a", "init b", "ready"]);
        maps.delete("b", &DeleteParams::default()).await.expect("deleted");
        assert_eq!(told(&next(&mut events).await), "delete b");
    }
}

#[tokio::test]
async fn a_watcher_lists_again_after_compaction() {
    let (cluster, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    maps.create(&PostParams::default(), &map("a", "1")).await.expect("created");
    let config = watcher::Config::default().labels("app=x").timeout(1);
    let mut events = pin!(watcher(maps.clone(), config));
    for expected in ["init", "init a", "ready"] {
        assert_eq!(told(&next(&mut events).await), expected);
    }
    // The watch is not polled meanwhile; when it is, what it would resume from is gone.
    for value in ["2", "3"] {
        let patch = json!({"data": {"a": value}});
        maps.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await.expect("patched");
    }
    cluster.handle().compact();
    let patch = json!({"data": {"a": "4"}});
    maps.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await.expect("patched");
    let last = async {
        while let Some(event) = events.next().await {
            if let Ok(Event::Apply(map) | Event::InitApply(map)) = event
                && map.data.as_ref().and_then(|d| d.get("a")).map(String::as_str) == Some("4")
            {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, last).await.expect("the last state in time");
}

#[tokio::test]
async fn typed_kinds_read_back_and_tokens_are_requested() {
    let (_cluster, client) = start().await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let all: Vec<Namespace> = namespaces.list(&ListParams::default()).await.expect("listed").items;
    assert!(all.len() >= 4);
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let pod: Pod = serde_json::from_value(json!({"metadata": {"generateName": "web-"},
        "spec": {"containers": [{"name": "web", "image": "isthmus/demo:0.1.0"}]}}))
    .expect("a pod");
    let created = pods.create(&PostParams::default(), &pod).await.expect("created");
    assert_eq!(created.spec.and_then(|s| s.service_account_name).as_deref(), Some("default"));
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    let request =
        serde_json::from_value(json!({"spec": {"audiences": ["identity.l5d.io"]}})).expect("a request");
    let answer =
        accounts.create_token_request("default", &PostParams::default(), &request).await.expect("a token");
    assert!(!answer.status.expect("a status").token.is_empty());
    let version = client.apiserver_version().await.expect("a version");
    assert_eq!(version.major, "1");
    let groups = client.list_api_groups().await.expect("groups");
    assert!(groups.groups.iter().any(|g| g.name == "apps"));
    let watch = pods.watch(&kube::api::WatchParams::default().timeout(1), "0").await.expect("a watch");
    let seen: Vec<WatchEvent<Pod>> = watch.try_collect().await.expect("events");
    assert!(matches!(seen.as_slice(), [WatchEvent::Added(_), WatchEvent::Bookmark(_)]), "{seen:?}");
}
