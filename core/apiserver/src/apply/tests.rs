use super::{Owner, apply, settle, track};
use crate::error::ApiError;
use crate::resource::{Registry, ResourceDef};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

const NOW: &str = "2025-01-01T00:00:00Z";

fn by<'a>(manager: &'a str) -> Owner<'a> {
    Owner { manager, subresource: "", now: NOW }
}

fn deployments() -> Arc<ResourceDef> {
    Registry::new().by_plural("apps", "deployments").unwrap()
}

fn applied(live: Option<&Value>, config: &Value, manager: &str, force: bool) -> Result<Value, ApiError> {
    apply(&deployments(), "v1", live, config, &by(manager), force)
}

fn config(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"app": "web"}}, "spec": spec})
}

fn containers(names: &[&str]) -> Value {
    let containers: Vec<_> = names.iter().map(|n| json!({"name": n, "image": format!("{n}:1")})).collect();
    config(json!({"replicas": 2, "template": {"spec": {"containers": containers}}}))
}

#[test]
fn applying_creates_and_records_every_field() {
    let web = applied(None, &containers(&["a"]), "kubectl", false).unwrap();
    let entry = &web["metadata"]["managedFields"][0];
    assert_eq!((entry["manager"].as_str(), entry["operation"].as_str()), (Some("kubectl"), Some("Apply")));
    assert_eq!(
        entry["fieldsV1"],
        json!({"f:metadata": {"f:labels": {"f:app": {}}}, "f:spec": {"f:replicas": {},
            "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}, "f:name": {}}}}}}})
    );
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let first = applied(None, &containers(&["a"]), "kubectl", false).unwrap();
    let later = Owner { now: "2026-01-01T00:00:00Z", ..by("kubectl") };
    assert_eq!(apply(&deployments(), "v1", Some(&first), &containers(&["a"]), &later, false).unwrap(), first);
}

#[test]
fn new_times_alone_are_no_change() {
    let old = applied(None, &containers(&["a"]), "kubectl", false).unwrap();
    let mut new = old.clone();
    new["metadata"]["managedFields"][0]["time"] = json!("2026-01-01T00:00:00Z");
    let mut changed = new.clone();
    settle(&old, &mut new);
    assert_eq!(new, old);
    changed["spec"]["replicas"] = json!(9);
    let kept = changed.clone();
    settle(&old, &mut changed);
    assert_eq!(changed, kept);
}

#[test]
fn what_is_no_longer_applied_goes_unless_others_own_it() {
    let mut live = applied(None, &containers(&["a", "b"]), "kubectl", false).unwrap();
    // Defaults that nobody owns go with their item.
    live["spec"]["template"]["spec"]["containers"][1]["imagePullPolicy"] = json!("IfNotPresent");
    let next = applied(Some(&live), &containers(&["a"]), "kubectl", false).unwrap();
    assert_eq!(next["spec"]["template"]["spec"]["containers"], json!([{"name": "a", "image": "a:1"}]));
    let shared = applied(Some(&next), &config(json!({"replicas": 2})), "scaler", false).unwrap();
    let without = applied(Some(&shared), &config(json!({})), "kubectl", false).unwrap();
    assert_eq!(without["spec"]["replicas"], 2);
    let nobody = applied(Some(&without), &config(json!({})), "scaler", false).unwrap();
    assert!(nobody.get("spec").is_none_or(|s| s.get("replicas").is_none()));
}

#[test]
fn a_field_of_another_manager_conflicts_unless_forced() {
    let live = applied(None, &containers(&["a"]), "one", false).unwrap();
    let change = config(json!({"replicas": 5}));
    let Err(ApiError::ApplyConflict(causes)) = applied(Some(&live), &change, "two", false) else {
        panic!("no conflict")
    };
    assert_eq!(causes[0].field, ".spec.replicas");
    assert_eq!(causes[0].message, "conflict with \"one\" using apps/v1");
    let mut both = containers(&["a"]);
    both["spec"]["replicas"] = json!(5);
    both["metadata"]["labels"]["app"] = json!("other");
    assert_eq!(
        applied(Some(&live), &both, "two", false).unwrap_err().to_string(),
        "Apply failed with 2 conflicts: conflicts with \"one\" using apps/v1:\n- .metadata.labels.app\n- .spec.replicas"
    );
    let forced = applied(Some(&live), &change, "two", true).unwrap();
    assert_eq!(forced["spec"]["replicas"], 5);
    let one = forced["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .find(|e| e["manager"] == "one")
        .unwrap();
    assert!(one["fieldsV1"]["f:spec"].get("f:replicas").is_none());
}

#[test]
fn an_update_takes_over_what_it_changes() {
    let live = applied(None, &containers(&["a"]), "kubectl", false).unwrap();
    let mut scaled = live.clone();
    scaled["spec"]["replicas"] = json!(7);
    track(&deployments(), "v1", Some(&live), &mut scaled, &Owner { subresource: "scale", ..by("hpa") });
    let entries = scaled["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1]["operation"], "Update");
    assert_eq!(entries[1]["subresource"], "scale");
    assert_eq!(entries[1]["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
    assert!(applied(Some(&scaled), &containers(&["a"]), "kubectl", false).is_err());
}

#[test]
fn a_change_that_changes_nothing_owns_nothing() {
    let live = applied(None, &containers(&["a"]), "kubectl", false).unwrap();
    let mut same = live.clone();
    track(&deployments(), "v1", Some(&live), &mut same, &by("editor"));
    assert_eq!(same, live);
}

#[test]
fn creating_owns_what_was_sent_and_an_empty_list_resets() {
    let mut new = containers(&["a"]);
    track(&deployments(), "v1", None, &mut new, &by("kubectl-create"));
    assert_eq!(new["metadata"]["managedFields"][0]["manager"], "kubectl-create");
    let mut reset = new.clone();
    reset["metadata"]["managedFields"] = json!([{}]);
    track(&deployments(), "v1", Some(&new), &mut reset, &by("kubectl-edit"));
    assert!(reset["metadata"].get("managedFields").is_none());
}

#[test]
fn ports_are_told_apart_by_number_and_protocol() {
    let services = Registry::new().by_plural("", "services").unwrap();
    let service = |ports: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": ports}});
    let apply = |live: Option<&Value>, ports: Value, who: &str| {
        apply(&services, "v1", live, &service(ports), &by(who), false).unwrap()
    };
    let live = apply(None, json!([{"port": 53, "protocol": "UDP"}]), "a");
    let both = apply(Some(&live), json!([{"port": 53, "name": "tcp"}]), "b");
    assert_eq!(both["spec"]["ports"].as_array().unwrap().len(), 2);
    let only = apply(Some(&both), json!([]), "a");
    assert_eq!(only["spec"]["ports"], json!([{"port": 53, "name": "tcp"}]));
}

#[test]
fn status_is_applied_through_its_subresource_only() {
    let mut with_status = containers(&["a"]);
    with_status["status"] = json!({"replicas": 3});
    let live = applied(None, &with_status, "kubectl", false).unwrap();
    assert!(live.get("status").is_none());
    let owner = Owner { subresource: "status", ..by("controller") };
    let next = apply(&deployments(), "v1", Some(&live), &with_status, &owner, false).unwrap();
    assert_eq!(next["status"]["replicas"], 3);
    assert_eq!(next["metadata"]["managedFields"].as_array().unwrap().len(), 2);
}

fn env() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::btree_map("[A-D]", "[0-9]", 0..4).prop_map(|m| m.into_iter().collect())
}

fn with_env(env: &[(String, String)]) -> Value {
    let env: Vec<_> = env.iter().map(|(n, v)| json!({"name": n, "value": v})).collect();
    config(json!({"template": {"spec": {"containers": [{"name": "a", "env": env}]}}}))
}

proptest! {
    #[test]
    fn one_manager_always_gets_exactly_what_it_applies_last(a in env(), b in env()) {
        let first = applied(None, &with_env(&a), "m", false).unwrap();
        let mut second = applied(Some(&first), &with_env(&b), "m", false).unwrap();
        let fresh = applied(None, &with_env(&b), "m", false).unwrap();
        // An emptied list may be left out.
        let list = |o: &Value| o["spec"]["template"]["spec"]["containers"][0]["env"].as_array().cloned().unwrap_or_default();
        prop_assert_eq!(list(&second), list(&fresh));
        prop_assert_eq!(&second["metadata"]["managedFields"], &fresh["metadata"]["managedFields"]);
        // Two managers that agree never conflict.
        second = applied(Some(&second), &with_env(&b), "n", false).unwrap();
        prop_assert!(applied(Some(&second), &with_env(&b), "m", false).is_ok());
    }
}
