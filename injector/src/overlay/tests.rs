use super::*;
use proptest::prelude::*;

fn map(entries: &[(&str, &str)]) -> Annotations {
    entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn from_pod(key: &str, value: &str) -> (Values, Vec<Warning>) {
    overlay(&Values::default(), &map(&[(key, value)]), &Annotations::new())
}

#[test]
fn the_pod_wins_over_its_namespace() {
    let (pod, ns) = (map(&[(LOG_LEVEL, "debug")]), map(&[(LOG_LEVEL, "info"), (ADMIN_PORT, "9191")]));
    let (values, warnings) = overlay(&Values::default(), &pod, &ns);
    assert_eq!((values.proxy.log_level.as_str(), values.proxy.ports.admin), ("debug", 9191));
    assert!(warnings.is_empty());
}

#[test]
fn a_bad_value_is_ignored_and_named() {
    let bad = [
        (INBOUND_PORT, "0"),
        (keys::SKIP_INBOUND_PORTS, "80-70"),
        (keys::SKIP_SUBNETS, "10.0.0.0"),
        (CPU_LIMIT, "lots"),
        (CPU_RATIO_LIMIT, "1"),
        (PROXY_UID, "0"),
        (LOG_FORMAT, "xml"),
        (NATIVE_SIDECAR, "yes"),
        (PROXY_AWAIT, "true"),
        (SHUTDOWN_GRACE_PERIOD, "1.5s"),
        (keys::DEFAULT_INBOUND_POLICY, "allow"),
        (ADDITIONAL_ENV, "{}"),
        (keys::OPAQUE_PORTS, "Not A Port"),
        (keys::OPAQUE_PORTS, "90-80"),
        (DEBUG_SIDECAR, "true"),
        (keys::ENABLE_GATEWAY, "80"),
    ];
    for (key, value) in bad {
        let (values, warnings) = from_pod(key, value);
        assert_eq!(values, Values::default(), "{key}");
        assert_eq!(warnings.len(), 1, "{key}");
        let text = warnings[0].to_string();
        assert!(text.contains(key) && text.contains("on the pod") && text.contains(value), "{text}");
    }
}

#[test]
fn every_annotation_changes_the_values() {
    let good = |key: &str| match key {
        PROXY_IMAGE | PROXY_VERSION_OVERRIDE | LOG_LEVEL => "x",
        IMAGE_PULL_POLICY => "Never",
        INBOUND_PORT | OUTBOUND_PORT | CONTROL_PORT | ADMIN_PORT | POD_INBOUND_PORTS => "7777",
        CPU_REQUEST | CPU_LIMIT | MEMORY_REQUEST | MEMORY_LIMIT | STORAGE_REQUEST | STORAGE_LIMIT => "10M",
        CPU_RATIO_LIMIT => "0.5",
        PROXY_UID | PROXY_GID => "99",
        LOG_FORMAT | ACCESS_LOG => "json",
        LOG_HTTP_HEADERS => "insecure",
        ADMIN_SHUTDOWN => "enabled",
        PROXY_AWAIT => "disabled",
        NATIVE_SIDECAR => "false",
        ADDITIONAL_ENV => r#"[{"name":"A","value":"b"}]"#,
        SHUTDOWN_GRACE_PERIOD | CLOSE_WAIT_TIMEOUT => "7s",
        OUTBOUND_CONNECT_TIMEOUT | INBOUND_CONNECT_TIMEOUT => "7s",
        OUTBOUND_DISCOVERY_TIMEOUT | INBOUND_DISCOVERY_TIMEOUT => "7s",
        _ => "true",
    };
    for key in ALL.iter().filter(|k| **k != DEBUG_SIDECAR) {
        let annotations = map(&[(key, good(key))]);
        for (values, warnings) in [
            overlay(&Values::default(), &annotations, &Annotations::new()),
            overlay(&Values::default(), &Annotations::new(), &annotations),
        ] {
            assert!(warnings.is_empty(), "{key}: {warnings:?}");
            assert_ne!(values, Values::default(), "{key} has no effect");
        }
    }
}

#[test]
fn newer_spellings_of_native_sidecar_win() {
    let pod = map(&[(NATIVE_SIDECAR_OLD[1], "true"), (NATIVE_SIDECAR_OLD[0], "false")]);
    assert!(!overlay(&Values::default(), &pod, &Annotations::new()).0.proxy.native_sidecar);
    let pod = map(&[(NATIVE_SIDECAR_OLD[0], "false"), (NATIVE_SIDECAR, "true")]);
    assert!(overlay(&Values::default(), &pod, &Annotations::new()).0.proxy.native_sidecar);
}

#[test]
fn a_namespace_cannot_make_gateways() {
    let gateway = map(&[(keys::ENABLE_GATEWAY, "true")]);
    assert!(!overlay(&Values::default(), &Annotations::new(), &gateway).0.proxy.gateway);
    assert!(overlay(&Values::default(), &gateway, &Annotations::new()).0.proxy.gateway);
}

#[test]
fn additional_environment_is_merged_by_name_with_the_nearest_winning() {
    let mut values = Values::default();
    values.proxy.additional_env =
        serde_json::from_str(r#"[{"name":"A","value":"helm"},{"name":"H","value":"helm"}]"#).unwrap();
    let ns = map(&[(ADDITIONAL_ENV, r#"[{"name":"A","value":"ns"},{"name":"B","value":"ns"}]"#)]);
    let pod = map(&[(ADDITIONAL_ENV, r#"[{"name":"B","value":"pod"}]"#)]);
    let (merged, _) = overlay(&values, &pod, &ns);
    let text: Vec<String> =
        merged.proxy.additional_env.iter().map(|e| format!("{}={}", e["name"], e["value"])).collect();
    assert_eq!(text, [r#""H"="helm""#, r#""A"="ns""#, r#""B"="pod""#]);
}

proptest! {
    #[test]
    fn no_annotation_text_panics(key in 0..ALL.len(), value in ".{0,40}") {
        let _ = from_pod(ALL[key], &value);
    }
}

#[test]
fn a_key_that_is_no_setting_is_told_of() {
    let (values, warnings) = from_pod("config.linkerd.io/skip-outbound-port", "443");
    assert_eq!(values, Values::default());
    let text = warnings[0].to_string();
    assert!(text.contains("config.linkerd.io/skip-outbound-port") && text.contains("no setting"), "{text}");
    for key in
        [keys::SKIP_OUTBOUND_PORTS, keys::REQUIRE_IDENTITY_PORTS, "config.linkerd.io/debug-image", ADMIN_PORT]
    {
        assert_eq!(from_pod(key, "80").1, [], "{key}");
    }
    let namespace = map(&[("config.linkerd.io/of-another-webhook", "x")]);
    assert_eq!(overlay(&Values::default(), &Annotations::new(), &namespace).1, []);
}
