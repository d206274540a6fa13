use crate::{Cluster, Selection, WatchEvent};
use futures::StreamExt;
use serde_json::json;

#[tokio::test]
async fn a_cluster_takes_objects_and_tells_watchers() {
    let cluster = Cluster::start().await.expect("a cluster");
    cluster.namespace("shop").await.expect("a namespace");
    let mut watch = cluster.client().watch("configmaps", &Selection::namespace("shop")).expect("a watch");
    let Some(WatchEvent::Added(first)) = watch.next().await else { panic!("no first object") };
    assert_eq!(first["metadata"]["name"], "kube-root-ca.crt");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": "shop", "name": "settings"}, "data": {"colour": "green"}});
    cluster.create(map).await.expect("created");
    let Some(WatchEvent::Added(second)) = watch.next().await else { panic!("no second object") };
    assert_eq!(second["data"]["colour"], "green");
}
