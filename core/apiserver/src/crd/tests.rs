use super::{Crd, check, default, with_status};
use serde_json::{Value, json};
use std::sync::Arc;

fn links() -> Value {
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage,
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}},
            "selectableFields": [{"jsonPath": ".spec.color"}],
            "additionalPrinterColumns": [{"name": "Color", "type": "string", "jsonPath": ".spec.color"}],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": {"color": {"type": "string", "default": "red"}, "n": {"type": "integer"}}},
                "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}})
    };
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "links.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "links", "kind": "Link"},
            "versions": [version("v1alpha1", false), version("v1alpha3", true), version("v1beta1", false)]}})
}

fn defaulted() -> Value {
    let mut crd = links();
    default(&mut crd);
    crd
}

#[test]
fn names_are_defaulted_from_the_kind() {
    let crd = defaulted();
    assert_eq!(crd["spec"]["names"]["singular"], "link");
    assert_eq!(crd["spec"]["names"]["listKind"], "LinkList");
    assert_eq!(crd["spec"]["conversion"]["strategy"], "None");
    assert!(check(&crd, None).is_empty());
}

#[test]
fn versions_are_served_most_stable_first() {
    let crd = Arc::new(Crd::compile(&defaulted()).unwrap());
    let def = crd.definition();
    assert_eq!(def.versions, ["v1beta1", "v1alpha3", "v1alpha1"]);
    assert_eq!(def.storage_version, "v1alpha3");
    assert!(def.has_subresource("status") && def.has_subresource("scale"));
    assert_eq!(crd.selectable_fields("v1alpha3"), ["spec.color"]);
    assert_eq!(crd.scale("v1alpha3").unwrap().spec_replicas, ".spec.n");
}

#[test]
fn objects_are_pruned_defaulted_and_validated() {
    let crd = Crd::compile(&defaulted()).unwrap();
    let mut link = json!({"apiVersion": "example.com/v1alpha3", "kind": "Link", "metadata": {"name": "a"},
        "spec": {"n": 1, "typo": true}});
    assert_eq!(crd.prepare("v1alpha3", &mut link), ["spec.typo"]);
    assert_eq!(link["spec"], json!({"n": 1, "color": "red"}));
    assert!(crd.validate("v1alpha3", &link, None).is_empty());
    link["spec"]["n"] = json!("many");
    assert_eq!(crd.validate("v1alpha3", &link, None)[0].field, "spec.n");
}

#[test]
fn a_wrong_definition_names_every_field() {
    let mut crd = defaulted();
    crd["metadata"]["name"] = json!("wrong");
    crd["spec"]["scope"] = json!("Global");
    crd["spec"]["versions"][0]["storage"] = json!(true);
    crd["spec"]["versions"][1]["schema"]["openAPIV3Schema"]["properties"]["spec"] =
        json!({"x-kubernetes-validations": [{"rule": "self."}]});
    crd["spec"]["versions"][2]["schema"] = json!({});
    let fields: Vec<String> = check(&crd, None).into_iter().map(|e| e.field).collect();
    for expected in [
        "metadata.name",
        "spec.scope",
        "spec.versions",
        "spec.versions[1].schema.openAPIV3Schema.properties[spec].type",
        "spec.versions[1].schema.openAPIV3Schema[spec].x-kubernetes-validations[0].rule",
        "spec.versions[2].schema.openAPIV3Schema",
    ] {
        assert!(fields.iter().any(|f| f == expected), "{expected} not in {fields:?}");
    }
}

#[test]
fn group_kind_and_scope_cannot_change() {
    let old = defaulted();
    let mut new = old.clone();
    new["spec"]["scope"] = json!("Cluster");
    assert_eq!(check(&new, Some(&old))[0].field, "spec.scope");
}

#[test]
fn accepted_names_establish_the_definition_and_keep_their_times() {
    let first = with_status(&defaulted(), &|_, _, _| false, "2024-01-01T00:00:00Z");
    let conditions = first["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().all(|c| c["status"] == "True"));
    assert_eq!(first["status"]["storedVersions"], json!(["v1alpha3"]));
    let again = with_status(&first, &|_, _, _| false, "2025-01-01T00:00:00Z");
    assert_eq!(again, first);
    let refused = with_status(&defaulted(), &|_, _, _| true, "2024-01-01T00:00:00Z");
    assert_eq!(refused["status"]["conditions"][1]["status"], "False");
}
