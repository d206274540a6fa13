use super::*;
use serde_json::{Value, json};

fn pod(status: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "linkerd"}, "status": status}))
        .unwrap()
}

fn container(name: &str, state: Value, last: Value) -> Value {
    json!({"name": name, "image": "isthmus/init:1", "imageID": "", "ready": false, "restartCount": 3,
        "state": state, "lastState": last})
}

#[test]
fn a_pod_that_runs_has_no_trouble() {
    assert_eq!(of_pod(&pod(json!({}))), None);
    let running = container(
        "app",
        json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}),
        json!({"terminated": {"exitCode": 1}}),
    );
    assert_eq!(of_pod(&pod(json!({"containerStatuses": [running]}))), None);
}

#[test]
fn an_image_that_cannot_be_pulled_is_named() {
    let waiting = json!({"waiting": {"reason": "ImagePullBackOff", "message": "not found"}});
    let trouble = of_pod(&pod(json!({"containerStatuses": [container("app", waiting, json!({}))]}))).unwrap();
    assert_eq!(trouble.why, "container app of p: image isthmus/init:1 cannot be pulled: not found");
    assert!(trouble.fix.contains("--registry"), "{}", trouble.fix);
}

#[test]
fn an_init_container_without_net_admin_is_told_from_one_without_nftables() {
    let waiting = || json!({"waiting": {"reason": "CrashLoopBackOff"}});
    for (words, fix) in [
        ("applying rules\nnetlink: Operation not permitted\n", "lacks NET_ADMIN"),
        ("netlink: Protocol not supported", "must support nftables"),
    ] {
        let last = json!({"terminated": {"exitCode": 1, "message": words}});
        let status = json!({"initContainerStatuses": [container(INIT, waiting(), last)]});
        let trouble = of_pod(&pod(status)).unwrap();
        assert!(
            trouble.why.starts_with("container linkerd-init of p ends with exit code 1: netlink"),
            "{}",
            trouble.why
        );
        assert!(trouble.fix.contains(fix), "{}", trouble.fix);
    }
}

#[test]
fn pods_without_a_node_and_proxies_that_are_not_ready_are_named() {
    let condition = json!({"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"});
    let waits = pod(json!({"conditions": [condition]}));
    assert_eq!(unschedulable(&waits).unwrap(), "p has no node: 0/1 nodes are available");
    let of_phase = |phase: &str| {
        pod(
            json!({"phase": phase, "initContainerStatuses": [container(PROXY_CONTAINER, json!({}), json!({}))]}),
        )
    };
    let proxy = of_phase("Running");
    assert_eq!(of_proxy(&of_phase("Pending")), None);
    assert_eq!(of_proxy(&proxy).unwrap(), "p: the proxy is not ready, after 3 restarts");
    assert_eq!(of_proxy(&waits), None);
}

#[test]
fn deployments_tell_what_keeps_their_pods() {
    let of = |status: Value| {
        let object = json!({"metadata": {"name": "d", "namespace": "linkerd"},
            "spec": {"replicas": 2, "selector": {}, "template": {}}, "status": status});
        of_deployment(&serde_json::from_value(object).unwrap())
    };
    assert_eq!(of(json!({})), None);
    assert_eq!(of(json!({"observedGeneration": 2, "updatedReplicas": 2})), None);
    assert_eq!(
        of(json!({"observedGeneration": 2, "updatedReplicas": 1})).unwrap().why,
        "d: 1 of 2 pods are up to date"
    );
    let refused =
        json!({"type": "ReplicaFailure", "status": "True", "message": "violates PodSecurity \"restricted\""});
    let trouble = of(json!({"conditions": [refused]})).unwrap();
    assert!(
        trouble.why.contains("cannot create pods: violates") && trouble.fix.contains("enforce=privileged")
    );
    let late = json!({"type": "Progressing", "status": "False", "message": "deadline exceeded"});
    assert_eq!(of(json!({"conditions": [late]})).unwrap().why, "d: deadline exceeded");
}
