use super::{json_patch, merge_patch, strategic_merge};
use proptest::prelude::*;
use serde_json::{Value, json};

fn pod(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
}

fn strategic(target: &Value, patch: Value) -> Value {
    strategic_merge("v1", "Pod", target, &patch).unwrap()
}

#[test]
fn containers_merge_by_name_and_keep_their_order() {
    let target = pod(json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}));
    let patched = strategic(&target, json!({"spec": {"containers": [{"name": "b", "image": "2"}]}}));
    assert_eq!(
        patched["spec"]["containers"],
        json!([{"name": "a", "image": "1"}, {"name": "b", "image": "2"}])
    );
}

#[test]
fn a_new_element_goes_before_those_only_the_server_has() {
    let target = pod(json!({"containers": [{"name": "a"}]}));
    let patched = strategic(&target, json!({"spec": {"containers": [{"name": "b"}]}}));
    assert_eq!(patched["spec"]["containers"], json!([{"name": "b"}, {"name": "a"}]));
}

#[test]
fn nested_lists_use_their_own_keys() {
    let target = pod(json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}],
        "ports": [{"containerPort": 80, "name": "http"}]}]}));
    let patch = json!({"spec": {"containers": [{"name": "a", "env": [{"name": "Y", "value": "2"}],
        "ports": [{"containerPort": 80, "name": "web"}]}]}});
    let patched = strategic(&target, patch);
    assert_eq!(patched["spec"]["containers"][0]["ports"], json!([{"containerPort": 80, "name": "web"}]));
    assert_eq!(patched["spec"]["containers"][0]["env"].as_array().unwrap().len(), 2);
}

#[test]
fn directives_delete_and_replace() {
    let target =
        pod(json!({"containers": [{"name": "a"}, {"name": "b"}], "nodeSelector": {"x": "1", "y": "2"}}));
    let patched = strategic(&target, json!({"spec": {"containers": [{"name": "a", "$patch": "delete"}]}}));
    assert_eq!(patched["spec"]["containers"], json!([{"name": "b"}]));
    let patched = strategic(&target, json!({"spec": {"containers": [{"name": "c"}, {"$patch": "replace"}]}}));
    assert_eq!(patched["spec"]["containers"], json!([{"name": "c"}]));
    let patched = strategic(&target, json!({"spec": {"nodeSelector": {"$patch": "replace", "z": "3"}}}));
    assert_eq!(patched["spec"]["nodeSelector"], json!({"z": "3"}));
    assert!(strategic_merge("v1", "Pod", &target, &json!({"spec": {"$patch": "explode"}})).is_err());
}

#[test]
fn set_element_order_orders_and_keeps_what_only_the_server_has() {
    let target = pod(json!({"containers": [{"name": "a"}, {"name": "sidecar"}, {"name": "b"}]}));
    let patch = json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
        "containers": [{"name": "b", "image": "2"}]}});
    let names: Vec<_> = strategic(&target, patch)["spec"]["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["sidecar", "b", "a"]);
}

#[test]
fn finalizers_merge_and_delete_as_a_set() {
    let target = json!({"metadata": {"finalizers": ["a", "b"]}});
    let patched = strategic(&target, json!({"metadata": {"finalizers": ["c"]}}));
    assert_eq!(patched["metadata"]["finalizers"], json!(["c", "a", "b"]));
    let patched = strategic(&target, json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}));
    assert_eq!(patched["metadata"]["finalizers"], json!(["b"]));
}

#[test]
fn retain_keys_clears_the_other_members_of_a_union() {
    let target = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    let patched = strategic_merge("apps/v1", "Deployment", &target, &patch).unwrap();
    assert_eq!(patched["spec"]["strategy"], json!({"type": "Recreate"}));
}

#[test]
fn service_ports_merge_by_port_and_atomic_lists_are_replaced() {
    let target = json!({"spec": {"ports": [{"port": 80, "targetPort": 8080}]}});
    let patch = json!({"spec": {"ports": [{"port": 80, "targetPort": 9090}, {"port": 443}]}});
    let patched = strategic_merge("v1", "Service", &target, &patch).unwrap();
    assert_eq!(patched["spec"]["ports"], json!([{"port": 80, "targetPort": 9090}, {"port": 443}]));
    let target = pod(json!({"tolerations": [{"key": "a"}]}));
    let patched = strategic(&target, json!({"spec": {"tolerations": [{"key": "b"}]}}));
    assert_eq!(patched["spec"]["tolerations"], json!([{"key": "b"}]));
}

#[test]
fn custom_kinds_refuse_a_strategic_patch() {
    let error = strategic_merge("example.com/v1", "Widget", &json!({}), &json!({})).unwrap_err();
    assert_eq!(error.code().as_u16(), 415);
}

#[test]
fn json_patches_tell_malformed_from_unfitting() {
    let target = json!({"a": {"b": 1}});
    let good =
        json!([{"op": "test", "path": "/a/b", "value": 1}, {"op": "replace", "path": "/a/b", "value": 2}]);
    assert_eq!(json_patch(&target, &good).unwrap(), json!({"a": {"b": 2}}));
    assert_eq!(json_patch(&target, &json!([{"op": "fly"}])).unwrap_err().code().as_u16(), 400);
    let unfit = json!([{"op": "test", "path": "/a/b", "value": 9}]);
    assert_eq!(json_patch(&target, &unfit).unwrap_err().code().as_u16(), 422);
}

#[test]
fn copies_may_not_double_without_end() {
    let copy = |n: usize| json!({"op": "copy", "from": "", "path": format!("/x{n}")});
    let patch = Value::Array((0..64).map(copy).collect());
    assert_eq!(json_patch(&json!({"a": "b"}), &patch).unwrap_err().code().as_u16(), 422);
}

#[test]
fn merge_patches_remove_by_null() {
    let merged = merge_patch(&json!({"a": 1, "b": {"c": 2}}), &json!({"a": null, "b": {"d": 3}}));
    assert_eq!(merged, json!({"b": {"c": 2, "d": 3}}));
}

fn env() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::btree_map("[A-D]", "[0-9]", 0..4).prop_map(|m| m.into_iter().collect())
}

fn with_env(env: &[(String, String)]) -> Value {
    let env: Vec<_> = env.iter().map(|(n, v)| json!({"name": n, "value": v})).collect();
    pod(json!({"containers": [{"name": "a", "env": env}]}))
}

proptest! {
    #[test]
    fn patching_twice_is_patching_once(a in env(), b in env()) {
        let (target, patch) = (with_env(&a), with_env(&b));
        let once = strategic(&target, patch.clone());
        prop_assert_eq!(&strategic(&once, patch.clone()), &once);
        let names = once["spec"]["containers"][0]["env"].as_array().unwrap();
        for (name, value) in &b {
            prop_assert!(names.iter().any(|e| e["name"] == json!(name) && e["value"] == json!(value)));
        }
        for (name, _) in &a {
            prop_assert_eq!(names.iter().filter(|e| e["name"] == json!(name)).count(), 1);
        }
    }
}
