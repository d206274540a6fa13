use serde_json::json;

use super::*;

fn of(pod: Value, container: Value) -> Result<Rights, String> {
    let image = Image { binary: "/x".into(), entrypoint: "/x".into(), is_ours: true };
    let pod = json!({ "spec": { "securityContext": pod } });
    rights(&pod, &json!({ "securityContext": container }), &image)
}

#[test]
fn a_container_that_asks_for_nothing_is_a_default_root() {
    let rights = of(json!({}), json!({})).unwrap();
    assert_eq!((rights.uid, rights.gid, rights.groups), (0, 0, vec![0]));
    assert_eq!(rights.capabilities, 0xa804_25fb, "the set of containerd");
    assert!(!rights.no_new_privileges);
}

#[test]
fn the_container_wins_over_the_pod_and_groups_add_up() {
    let pod = json!({ "runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4] });
    let rights = of(pod, json!({ "runAsUser": 9, "allowPrivilegeEscalation": false })).unwrap();
    assert_eq!((rights.uid, rights.gid, rights.groups), (9, 2, vec![2, 3, 4]));
    assert!(rights.no_new_privileges);
}

#[test]
fn capabilities_are_dropped_before_they_are_added() {
    let container = json!({
        "runAsUser": 65534, "capabilities": { "drop": ["ALL"], "add": ["NET_ADMIN", "CAP_NET_RAW"] },
    });
    let rights = of(json!({}), container).unwrap();
    assert_eq!(rights.capabilities, 1 << 12 | 1 << 13);
    assert_eq!(rights.ambient, rights.capabilities);
    let error = of(json!({}), json!({ "capabilities": { "add": ["FLY"] } })).unwrap_err();
    assert_eq!(error, "securityContext.capabilities.add: unknown capability \"FLY\"");
}

#[test]
fn run_as_non_root_refuses_root_and_gives_our_images_a_user() {
    assert_eq!(of(json!({ "runAsNonRoot": true }), json!({})).unwrap().uid, 65532);
    assert!(of(json!({ "runAsNonRoot": true }), json!({ "runAsUser": 0 })).is_err());
}
