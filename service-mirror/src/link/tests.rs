use super::*;
use serde_json::json;

fn secret() -> Value {
    json!({"data": {"kubeconfig": base64::engine::general_purpose::STANDARD.encode("apiVersion: v1")}})
}

fn link(change: impl FnOnce(&mut Value)) -> Value {
    let mut link = json!({
        "metadata": {"name": "west", "namespace": "linkerd-multicluster"},
        "spec": {
            "targetClusterName": "west",
            "clusterCredentialsSecret": "cluster-credentials-west",
            "gatewayAddress": "198.18.2.10, gw.example",
            "gatewayPort": "4143",
            "gatewayIdentity": "gw.multi.serviceaccount.identity.linkerd.cluster.local",
            "probeSpec": {"path": "/ready", "port": "4191", "period": "3s"},
            "selector": {"matchLabels": {"mirror.linkerd.io/exported": "true"}},
        },
    });
    change(&mut link);
    link
}

#[test]
fn a_link_as_linkerd_writes_it_is_accepted() {
    let accepted = accept(&link(|_| {}), Some(&secret())).unwrap();
    assert_eq!(accepted.config.cluster.as_str(), "west");
    assert_eq!(accepted.config.target_domain, "cluster.local");
    let hosts = vec!["198.18.2.10".to_owned(), "gw.example".to_owned()];
    assert_eq!(accepted.gateway, GatewaySource::Pinned { hosts, port: 4143 });
    assert_eq!(accepted.kubeconfig, "apiVersion: v1");
}

#[test]
fn every_mistake_is_named_with_its_field() {
    let broken = link(|l| {
        l["spec"]["targetClusterName"] = "local".into();
        l["spec"]["gatewayIdentity"] = "".into();
        l["spec"]["gatewayPort"] = "seven".into();
        l["spec"]["probeSpec"]["period"] = "soon".into();
    });
    let error = accept(&broken, None).unwrap_err();
    for field in [
        "targetClusterName",
        "gatewayIdentity",
        "gatewayPort",
        "probeSpec.period",
        "cluster-credentials-west",
    ] {
        assert!(error.contains(field), "{field} is missing in:\n{error}");
    }
}

#[test]
fn the_gateway_service_is_preferred_to_written_addresses() {
    let watched = link(|l| l["metadata"]["annotations"] = json!({(GATEWAY_SERVICE): "multi/gateway"}));
    let accepted = accept(&watched, Some(&secret())).unwrap();
    assert_eq!(accepted.gateway, GatewaySource::Service(Key::new("multi", "gateway")));
}

#[test]
fn a_probe_takes_no_longer_than_its_period() {
    let linkerds = link(|l| l["spec"]["probeSpec"]["timeout"] = "30s".into());
    let config = accept(&linkerds, Some(&secret())).unwrap().config;
    assert_eq!((config.probe_period, config.probe_timeout), (Duration::from_secs(3), Duration::from_secs(3)));
    let config = accept(&link(|_| {}), Some(&secret())).unwrap().config;
    assert_eq!(config.probe_timeout, Duration::from_secs(2));
}

#[test]
fn the_end_of_a_token_is_read_from_the_kubeconfig() {
    let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let token = |claims: &str| format!("{}.{}.signature", encode(r#"{"alg":"RS256"}"#), encode(claims));
    let kubeconfig = |token: &str| format!("users:\n- name: a\n  user:\n    token: {token}\n");
    assert_eq!(expiry(&kubeconfig(&token(r#"{"exp":1793000000}"#))), Some(1_793_000_000));
    assert_eq!(expiry(&kubeconfig(&token(r#"{"iss":"kubernetes/serviceaccount"}"#))), None, "it never ends");
    assert_eq!(expiry(&kubeconfig("opaque")), None);
    assert_eq!(expiry("users: 7"), None);
}
