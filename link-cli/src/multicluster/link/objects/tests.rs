use super::*;

#[test]
fn selectors_are_pairs_and_mistakes_are_named() {
    let parsed = selector("-l", "mirror.linkerd.io/exported=true, tier==front").unwrap();
    assert_eq!(parsed, json!({"matchLabels": {"mirror.linkerd.io/exported": "true", "tier": "front"}}));
    assert_eq!(selector("-l", "").unwrap(), json!({"matchLabels": {}}));
    for bad in ["exported", "a!=b"] {
        let error = selector("--selector", bad).unwrap_err().to_string();
        assert!(error.contains("--selector") && error.contains(bad), "{error}");
    }
}

#[test]
fn the_account_of_a_link_may_read_services_and_slices_and_nothing_else() {
    let objects = for_exporter("linkerd-multicluster", "access-east");
    let role = objects.iter().find(|o| o["kind"] == "ClusterRole").unwrap();
    let allowed: Vec<_> =
        role["rules"].as_array().unwrap().iter().map(|r| r["resources"][0].as_str().unwrap()).collect();
    assert_eq!(allowed, ["services", "endpointslices"]);
    for rule in role["rules"].as_array().unwrap() {
        assert_eq!(rule["verbs"], json!(["get", "list", "watch"]));
    }
}
