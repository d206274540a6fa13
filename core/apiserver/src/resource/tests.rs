use super::Registry;

#[test]
fn built_in_kinds_are_found_by_url_and_by_kind() {
    let registry = Registry::new();
    let pods = registry.find("", "v1", "pods").expect("pods");
    assert_eq!(pods.kind, "Pod");
    assert!(pods.has_subresource("log"));
    assert_eq!(registry.by_kind("apps", "Deployment").expect("deployments").plural, "deployments");
    assert!(registry.find("apps", "v1beta1", "deployments").is_none());
}

#[test]
fn removing_a_built_in_kind_is_refused() {
    let registry = Registry::new();
    registry.remove("", "pods");
    assert!(registry.find("", "v1", "pods").is_some());
}
