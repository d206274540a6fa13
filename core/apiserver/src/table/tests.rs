use super::{Include, age, jsonpath, partial_metadata, table};
use crate::crd::{self, Crd};
use crate::resource::Registry;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

fn now() -> Timestamp {
    "2025-01-01T01:00:00Z".parse().unwrap()
}

fn rows(group: &str, plural: &str, object: Value) -> Vec<(String, Value)> {
    let def = Registry::new().by_plural(group, plural).unwrap();
    let version = def.versions[0].clone();
    let table = table(&def, &version, &[Arc::new(object)], json!({}), Include::Metadata, true, now());
    let names =
        table["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_owned());
    names.zip(table["rows"][0]["cells"].as_array().unwrap().clone()).collect()
}

fn cell(rows: &[(String, Value)], name: &str) -> Value {
    rows.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("{name}")).1.clone()
}

fn meta(name: &str) -> Value {
    json!({"name": name, "creationTimestamp": "2025-01-01T00:55:00Z"})
}

#[test]
fn a_running_pod_with_a_sidecar_counts_both() {
    let pod = json!({"metadata": meta("web"), "spec": {"nodeName": "n",
        "initContainers": [{"name": "init"}, {"name": "proxy", "restartPolicy": "Always"}], "containers": [{"name": "app"}]},
        "status": {"phase": "Running", "podIP": "10.42.0.7",
            "initContainerStatuses": [{"name": "init", "state": {"terminated": {"exitCode": 0}}, "ready": true},
                {"name": "proxy", "started": true, "ready": true, "state": {"running": {}}}],
            "containerStatuses": [{"name": "app", "ready": false, "restartCount": 2, "state": {"running": {}},
                "lastState": {"terminated": {"finishedAt": "2025-01-01T00:59:00Z"}}}]}});
    let rows = rows("", "pods", pod);
    assert_eq!(cell(&rows, "Ready"), "1/2");
    assert_eq!(cell(&rows, "Status"), "Running");
    assert_eq!(cell(&rows, "Restarts"), "2 (60s ago)");
    assert_eq!(cell(&rows, "Age"), "5m");
    assert_eq!(cell(&rows, "IP"), "10.42.0.7");
    assert_eq!(cell(&rows, "Nominated Node"), "<none>");
}

#[test]
fn the_status_of_a_pod_is_the_most_telling_reason() {
    let status = |spec: Value, status: Value, deleted: bool| {
        let mut pod = json!({"metadata": meta("p"), "spec": spec, "status": status});
        if deleted {
            pod["metadata"]["deletionTimestamp"] = json!("2025-01-01T00:59:00Z");
        }
        cell(&rows("", "pods", pod), "Status")
    };
    let one = json!({"containers": [{"name": "a"}]});
    let waiting = json!({"phase": "Pending", "containerStatuses": [{"name": "a", "state": {"waiting": {"reason": "ErrImagePull"}}}]});
    assert_eq!(status(one.clone(), waiting.clone(), false), "ErrImagePull");
    assert_eq!(status(one.clone(), waiting, true), "Terminating");
    let ended = json!({"phase": "Failed", "containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 3}}}]});
    assert_eq!(status(one.clone(), ended, false), "ExitCode:3");
    let init = json!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}]});
    let first =
        json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"running": {}}}]});
    assert_eq!(status(init.clone(), first, false), "Init:0/2");
    let crash = json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]});
    assert_eq!(status(init, crash, false), "Init:CrashLoopBackOff");
    assert_eq!(status(one, json!({"phase": "Pending"}), false), "Pending");
}

#[test]
fn services_show_addresses_and_ports() {
    let service = json!({"metadata": meta("gw"), "spec": {"type": "LoadBalancer", "clusterIP": "10.43.0.9",
        "selector": {"app": "gw"}, "ports": [{"port": 4143, "nodePort": 30001, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "198.18.1.10"}]}}});
    let shown = rows("", "services", service.clone());
    assert_eq!(cell(&shown, "External-IP"), "198.18.1.10");
    assert_eq!(cell(&shown, "Port(s)"), "4143:30001/TCP,53/UDP");
    assert_eq!(cell(&shown, "Selector"), "app=gw");
    let mut pending = service;
    pending["status"] = json!({});
    assert_eq!(cell(&rows("", "services", pending), "External-IP"), "<pending>");
}

#[test]
fn workloads_events_and_slices_have_their_columns() {
    let deployment = json!({"metadata": meta("web"), "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}},
        "template": {"spec": {"containers": [{"name": "a", "image": "a:1"}]}}}, "status": {"readyReplicas": 2, "updatedReplicas": 3}});
    let shown = rows("apps", "deployments", deployment);
    assert_eq!(cell(&shown, "Ready"), "2/3");
    assert_eq!(cell(&shown, "Up-to-date"), 3);
    assert_eq!(cell(&shown, "Images"), "a:1");
    let event = json!({"metadata": meta("e"), "type": "Warning", "reason": "Failed", "message": "no",
        "involvedObject": {"kind": "Pod", "name": "p"}, "source": {"component": "kubelet", "host": "n1"}, "lastTimestamp": "2025-01-01T00:59:30Z"});
    let shown = rows("", "events", event);
    assert_eq!((cell(&shown, "Last Seen"), cell(&shown, "Object")), (json!("30s"), json!("pod/p")));
    assert_eq!(cell(&shown, "Source"), "kubelet, n1");
    let slice = json!({"metadata": meta("s"), "addressType": "IPv4", "ports": [{"port": 80}],
        "endpoints": [{"addresses": ["1"]}, {"addresses": ["2"]}, {"addresses": ["3"]}, {"addresses": ["4"]}]});
    assert_eq!(cell(&rows("discovery.k8s.io", "endpointslices", slice), "Endpoints"), "1,2,3 + 1 more...");
}

#[test]
fn custom_columns_follow_their_paths() {
    let mut definition = json!({"metadata": {"name": "links.x.io"}, "spec": {"group": "x.io", "scope": "Namespaced",
        "names": {"plural": "links", "kind": "Link"}, "versions": [{"name": "v1", "served": true, "storage": true,
        "additionalPrinterColumns": [
            {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
            {"name": "N", "type": "integer", "jsonPath": ".spec.n", "priority": 1},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
            {"name": "Gone", "type": "string", "jsonPath": ".spec.gone"}],
        "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    crd::default(&mut definition);
    let def = Arc::new(Crd::compile(&definition).unwrap()).definition();
    let link = json!({"metadata": meta("a"), "spec": {"n": 3}, "status": {"conditions": [{"type": "A", "status": "x"}, {"type": "Ready", "status": "True"}]}});
    let table = table(&def, "v1", &[Arc::new(link)], json!({}), Include::None, true, now());
    assert_eq!(table["rows"][0]["cells"], json!(["a", "True", 3, "5m", null]));
    assert_eq!(table["columnDefinitions"][2]["priority"], 1);
}

#[test]
fn rows_carry_what_was_asked_for() {
    let def = Registry::new().by_plural("", "configmaps").unwrap();
    let object = Arc::new(json!({"metadata": {"name": "a"}, "data": {"k": "v"}}));
    let with = |include, headings| {
        table(&def, "v1", std::slice::from_ref(&object), json!({}), include, headings, now())
    };
    assert_eq!(with(Include::Object, true)["rows"][0]["object"]["data"]["k"], "v");
    assert_eq!(with(Include::Metadata, true)["rows"][0]["object"], partial_metadata(&object));
    assert!(with(Include::None, false)["columnDefinitions"].is_null());
}

#[test]
fn ages_shorten_as_they_grow() {
    for (seconds, shown) in [
        (5, "5s"),
        (119, "119s"),
        (120, "2m"),
        (150, "2m30s"),
        (3600, "60m"),
        (4 * 3600 + 60, "4h1m"),
        (30 * 3600, "30h"),
        (3 * 86_400 + 3600, "3d1h"),
        (100 * 86_400, "100d"),
        (3 * 365 * 86_400, "3y"),
        (-5, "<invalid>"),
    ] {
        assert_eq!(age::human(seconds), shown);
    }
}

#[test]
fn paths_read_quoted_names_and_indices() {
    let value = json!({"a": {"x.y/z": "quoted"}, "l": [1, 2, 3]});
    assert_eq!(jsonpath::find(".a['x.y/z']", &value), [&json!("quoted")]);
    assert_eq!(jsonpath::find(".a.x\\.y/z", &value), [&json!("quoted")]);
    assert_eq!(jsonpath::find("{.l[-1]}", &value), [&json!(3)]);
    assert_eq!(jsonpath::find(".l[*]", &value).len(), 3);
    assert!(jsonpath::find(".l[", &value).is_empty());
}

proptest! {
    #[test]
    fn no_path_panics_or_hangs(path in "[.\\[\\]a*'?()@=0-9-]{0,16}") {
        let _ = jsonpath::find(&path, &json!({"a": [{"a": 1}]}));
    }
}
