use super::{document, index, v2};
use crate::crd::{self, Crd};
use crate::resource::{Registry, ResourceDef};
use serde_json::{Value, json};
use std::sync::Arc;

fn with_links(color: &str) -> Vec<Arc<ResourceDef>> {
    let mut definition = json!({"metadata": {"name": "links.x.io"}, "spec": {"group": "x.io", "scope": "Namespaced",
        "names": {"plural": "links", "kind": "Link"}, "versions": [{"name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object",
            "properties": {color: {"type": "string"}}}}}}}]}});
    crd::default(&mut definition);
    let registry = Registry::new();
    registry.insert(Arc::new(Crd::compile(&definition).unwrap()).definition());
    registry.all()
}

/// Every `$ref` in a document.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|v| references(v, found));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, found)),
        _ => {}
    }
}

#[test]
fn every_document_of_the_index_exists_and_its_references_resolve() {
    let all = with_links("color");
    let index = index(&all);
    assert!(index["paths"].as_object().unwrap().len() > 10);
    for path in index["paths"].as_object().unwrap().keys() {
        let document = document(&all, path).unwrap();
        let mut found = Vec::new();
        references(&document, &mut found);
        for reference in found {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{path}: {reference}");
        }
    }
    assert!(document(&all, "apis/nope/v1").is_none());
}

#[test]
fn patches_advertise_validation_and_only_built_in_kinds_merge_strategically() {
    let all = with_links("color");
    let apps = document(&all, "apis/apps/v1").unwrap();
    let patch = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    assert!(patch["parameters"].as_array().unwrap().iter().any(|p| p["name"] == "fieldValidation"));
    assert!(patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_some());
    let links = document(&all, "apis/x.io/v1").unwrap();
    let patch = &links["paths"]["/apis/x.io/v1/namespaces/{namespace}/links/{name}"]["patch"];
    assert!(patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_none());
    assert_eq!(
        links["components"]["schemas"]["io.x.v1.Link"]["properties"]["spec"]["properties"]["color"]["type"],
        "string"
    );
}

#[test]
fn schemas_carry_merge_keys() {
    let core = document(&Registry::new().all(), "api/v1").unwrap();
    let containers = &core["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    let volumes = &core["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["volumes"];
    assert_eq!(volumes["x-kubernetes-patch-strategy"], "merge,retainKeys");
}

#[test]
fn a_changed_schema_changes_its_address() {
    let address =
        |color: &str| index(&with_links(color))["paths"]["apis/x.io/v1"]["serverRelativeURL"].clone();
    assert_eq!(address("red"), address("red"));
    assert_ne!(address("red"), address("blue"));
}

#[test]
fn the_binary_form_names_every_resource_and_the_parameters_of_its_patch() {
    let document = super::binary::v2(&with_links("color"));
    let holds = |text: &str| document.windows(text.len()).any(|w| w == text.as_bytes());
    assert!(holds("/apis/x.io/v1/namespaces/{namespace}/links/{name}"));
    assert!(holds("group: \"x.io\"\nkind: Link\nversion: v1\n"));
    assert!(holds("fieldValidation"));
}

#[test]
fn version_two_holds_every_kind() {
    let document = v2(&with_links("color"));
    assert_eq!(document["swagger"], "2.0");
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.iter().all(|r| document.pointer(r.trim_start_matches('#')).is_some()));
}
