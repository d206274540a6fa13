use super::{FieldSelector, LabelSelector};
use crate::resource::Registry;
use proptest::prelude::*;
use serde_json::json;

fn object(labels: serde_json::Value) -> serde_json::Value {
    json!({"metadata": {"name": "web", "namespace": "shop", "labels": labels}, "spec": {"nodeName": "n1"}})
}

#[test]
fn the_query_form_knows_every_operator() {
    let web = object(json!({"app": "web", "tier": "front", "weight": "7"}));
    for yes in [
        "",
        "app=web",
        "app==web,tier=front",
        "app!=db",
        "missing!=x",
        "app in (web, db)",
        "app notin (db)",
        "missing notin (db)",
        "app",
        "!missing",
        "weight>5",
        "weight<8",
        " app = web ",
    ] {
        assert!(LabelSelector::parse(yes).unwrap().matches(&web), "{yes}");
    }
    for no in ["app=db", "app in (db)", "missing", "!app", "weight>7", "app notin (web)", "missing=x", "app="]
    {
        assert!(!LabelSelector::parse(no).unwrap().matches(&web), "{no}");
    }
}

#[test]
fn a_malformed_selector_is_refused() {
    for bad in ["app=web,", "a b c", "app in web)", "=web", "app=sp ace", "weight>x", "app in (a", "-x=1"] {
        assert!(LabelSelector::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn selector_objects_select_as_kubernetes_does() {
    let web = object(json!({"app": "web"}));
    assert!(LabelSelector::from_object(&json!({})).unwrap().matches(&web));
    assert!(!LabelSelector::from_object(&json!(null)).unwrap().matches(&web));
    let by = |s| LabelSelector::from_object(&s).unwrap().matches(&web);
    assert!(by(json!({"matchLabels": {"app": "web"}})));
    assert!(by(json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]})));
    assert!(by(json!({"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]})));
    assert!(!by(json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]})));
    assert!(
        LabelSelector::from_object(&json!({"matchExpressions": [{"key": "a", "operator": "Near"}]})).is_err()
    );
}

#[test]
fn field_selectors_compare_dotted_paths() {
    let web = object(json!({}));
    let by = |s: &str| FieldSelector::parse(s).unwrap().matches(&web);
    assert!(by("metadata.name=web,spec.nodeName==n1"));
    assert!(by("spec.nodeName!=n2,status.phase!=Running"));
    assert!(!by("metadata.name!=web"));
    assert!(by("status.phase="));
    assert_eq!(FieldSelector::parse("metadata.name=a\\,b").unwrap().name(), Some("a,b"));
    assert!(FieldSelector::parse("nonsense").is_err());
}

#[test]
fn a_field_the_resource_does_not_index_is_refused() {
    let registry = Registry::new();
    let pods = registry.by_plural("", "pods").unwrap();
    assert!(FieldSelector::parse("spec.nodeName=n1").unwrap().check(&pods, "v1").is_ok());
    let error = FieldSelector::parse("spec.dnsPolicy=x").unwrap().check(&pods, "v1").unwrap_err();
    assert!(error.to_string().contains("field label not supported: spec.dnsPolicy"), "{error}");
}

proptest! {
    #[test]
    fn parsing_never_panics(text in "\\PC{0,40}") {
        let _ = LabelSelector::parse(&text);
        let _ = FieldSelector::parse(&text);
    }

    #[test]
    fn equality_and_its_negation_partition_objects(key in "[a-z]{1,3}", value in "[a-z]{0,3}", label in "[a-z]{0,3}") {
        let it = object(json!({"a": label}));
        let eq = LabelSelector::parse(&format!("{key}={value}")).unwrap().matches(&it);
        let ne = LabelSelector::parse(&format!("{key}!={value}")).unwrap().matches(&it);
        prop_assert_ne!(eq, ne);
    }
}
