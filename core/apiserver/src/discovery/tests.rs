use super::{aggregated, core_versions, group, groups, resources, wants_aggregated};
use crate::resource::Registry;

#[test]
fn groups_prefer_their_first_version_and_leave_out_the_core_group() {
    let all = Registry::new().all();
    let groups = groups(&all);
    let names: Vec<_> =
        groups["groups"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
    assert_eq!(names[0], "apps");
    assert!(!names.contains(&""));
    assert_eq!(group(&all, "apps").unwrap()["preferredVersion"]["groupVersion"], "apps/v1");
    assert!(group(&all, "nope.example.com").is_none());
    assert_eq!(core_versions("1.2.3.4:6443")["versions"][0], "v1");
}

#[test]
fn resource_lists_hold_subresources_with_their_foreign_kinds() {
    let all = Registry::new().all();
    let apps = resources(&all, "apps", "v1").unwrap();
    let list = apps["resources"].as_array().unwrap();
    let scale = list.iter().find(|r| r["name"] == "deployments/scale").unwrap();
    assert_eq!((scale["kind"].as_str(), scale["group"].as_str()), (Some("Scale"), Some("autoscaling")));
    let deployments = list.iter().find(|r| r["name"] == "deployments").unwrap();
    assert_eq!(deployments["shortNames"][0], "deploy");
    assert!(resources(&all, "apps", "v2").is_none());
}

#[test]
fn aggregated_discovery_splits_core_from_the_rest() {
    let all = Registry::new().all();
    let core = aggregated(&all, true, "v2");
    assert_eq!(core["apiVersion"], "apidiscovery.k8s.io/v2");
    assert_eq!(core["items"].as_array().unwrap().len(), 1);
    let entries = core["items"][0]["versions"][0]["resources"].as_array().unwrap();
    let pods = entries.iter().find(|r| r["resource"] == "pods").unwrap();
    assert_eq!(pods["scope"], "Namespaced");
    assert!(pods["subresources"].as_array().unwrap().iter().any(|s| s["subresource"] == "log"));
    assert!(aggregated(&all, false, "v2")["items"].as_array().unwrap().len() > 5);
}

#[test]
fn only_an_explicit_accept_asks_for_aggregation() {
    let kubectl = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;\
        g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
    assert_eq!(wants_aggregated(kubectl), Some("v2"));
    assert_eq!(
        wants_aggregated("application/json;as=APIGroupDiscoveryList;v=v2beta1;g=apidiscovery.k8s.io"),
        Some("v2beta1")
    );
    assert_eq!(wants_aggregated("application/json"), None);
    assert_eq!(wants_aggregated("*/*"), None);
}
