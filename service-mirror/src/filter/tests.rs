use super::*;

fn map(keys: &[&str]) -> BTreeMap<String, String> {
    keys.iter().map(|k| ((*k).to_owned(), "v".to_owned())).collect()
}

fn keys(map: &BTreeMap<String, String>) -> Vec<&str> {
    map.keys().map(String::as_str).collect()
}

#[test]
fn a_prefix_pattern_takes_only_what_lies_below_it() {
    let all = map(&["foo/bar", "foobar/x", "foo", "other"]);
    assert_eq!(keys(&carried(&all, &["foo/*".to_owned()])), ["foo", "foobar/x", "other"]);
    assert_eq!(keys(&carried(&all, &["foo".to_owned()])), ["foo/bar", "foobar/x", "other"]);
}

#[test]
fn tracking_of_tools_stays_at_home() {
    let all =
        map(&["kubectl.kubernetes.io/last-applied-configuration", "mirror.linkerd.io/exported", "team"]);
    assert_eq!(keys(&carried(&all, &[])), ["team"]);
}

#[test]
fn opaque_ports_are_carried_even_when_excluded() {
    let all = map(&["config.linkerd.io/opaque-ports", "config.linkerd.io/other"]);
    let kept = carried(&all, &["config.linkerd.io/*".to_owned()]);
    assert_eq!(keys(&kept), ["config.linkerd.io/opaque-ports"]);
}
