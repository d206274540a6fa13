use super::*;
use serde_json::json;

/// Seconds from 1970 to the moment the link below was made.
const MADE: u64 = 1_767_225_600;

fn link(reachable: &str) -> Link {
    let condition = |kind: &str, status: &str| {
        json!({"type": kind, "status": status, "reason": "R", "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    let conditions = [
        condition("CredentialsValid", "True"),
        condition("Synced", "True"),
        condition("TrustEstablished", "True"),
        condition("Reachable", reachable),
    ];
    serde_json::from_value(json!({
        "apiVersion": "multicluster.linkerd.io/v1alpha3", "kind": "Link",
        "metadata": {"name": "west", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"targetClusterName": "west", "clusterCredentialsSecret": "c", "gatewayAddress": "198.18.2.10"},
        "status": {"conditions": conditions},
    }))
    .unwrap()
}

#[test]
fn a_link_is_given_a_minute_after_it_was_made() {
    let after = |seconds| Duration::from_secs(MADE + seconds);
    for unwell in ["False", "Unknown"] {
        assert!(is_settling(&link(unwell), after(0)) && is_settling(&link(unwell), after(59)));
        assert!(!is_settling(&link(unwell), after(60)));
    }
    assert!(!is_settling(&link("True"), after(0)));
    let silent = Link { status: None, ..link("True") };
    assert!(is_settling(&silent, after(10)));
}

#[test]
fn a_link_without_a_gateway_waits_for_none() {
    let mut link = link("False");
    link.spec.gateway_address = None;
    assert!(!is_settling(&link, Duration::from_secs(MADE)));
}
