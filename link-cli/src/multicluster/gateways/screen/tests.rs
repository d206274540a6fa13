use super::*;
use serde_json::{Value, json};

const NOW: &str = "2026-11-28T12:00:41Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn peer(cluster: &str, status: Value) -> Peer {
    Peer { cluster: cluster.to_owned(), status: serde_json::from_value(status).unwrap() }
}

fn condition(name: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": name, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-11-28T12:00:00Z"})
}

fn federated(name: &str) -> Value {
    json!({"remoteRef": {"name": name}, "conditions": [{"type": "Mirrored", "status": "True",
        "localRef": {"kind": "Service", "namespace": "shop", "name": format!("{name}-federated")}}]})
}

fn west() -> Peer {
    peer(
        "west",
        json!({
            "lastSynced": "2026-11-28T12:00:37Z",
            "credentialsExpire": "2027-02-25T12:00:41Z",
            "conditions": [
                condition("Reachable", "True", "GatewayAlive", ""), condition("Synced", "True", "Watching", ""),
                condition("TrustEstablished", "True", "HandshakeSucceeded", ""),
                condition("CredentialsValid", "True", "Accepted", ""),
            ],
            "mirrorServices": [{"remoteRef": {"name": "catalog"}}],
            "federatedServices": [federated("catalog")],
            "gateway": {"port": 4143, "addresses": [
                {"address": "198.18.2.10", "alive": true, "rttMs": 0.5, "rttP50Ms": 0.31, "rttP99Ms": 1.12},
                {"address": "198.18.2.11", "alive": true, "rttMs": 0.9, "rttP50Ms": 0.8, "rttP99Ms": 2.0},
            ]},
        }),
    )
}

fn south() -> Peer {
    let error = "198.18.3.10:4143 refuses connections";
    peer(
        "south",
        json!({
            "lastSynced": "2026-11-28T12:00:00Z",
            "conditions": [
                condition("Reachable", "False", "GatewayDead", error),
                condition("Synced", "False", "Stale", "last word over 40 s ago: the API server cannot be reached"),
                condition("TrustEstablished", "Unknown", "NotTried", ""),
                condition("CredentialsValid", "True", "Accepted", ""),
            ],
            "mirrorServices": [{"remoteRef": {"name": "ledger"}}],
            "federatedServices": [federated("catalog"), federated("cart")],
            "gateway": {"addresses": [{"address": "198.18.3.10", "alive": false, "error": error}]},
        }),
    )
}

fn members() -> Members {
    let of = |name: &str, clusters: &[&str]| {
        (("shop".to_owned(), format!("{name}-federated")), clusters.iter().map(|c| (*c).to_owned()).collect())
    };
    [of("catalog", &["west", "south"]), of("cart", &["south"])].into()
}

#[test]
fn the_screen_has_a_reason_below_each_bad_row() {
    let all = [west(), south()];
    let rows: Vec<_> = all.iter().map(|p| (cells(p, now()), reasons(p, &all, &members(), now()))).collect();
    let expected = "\
CLUSTER  MODE     ALIVE  RTT P50/P99  SERVICES  SYNCED      TRUST      CREDENTIALS
west     gateway  √ 2/2  0.3/1.1 ms   2         4 s ago     ok         expire in 89 d
south    gateway  × 0/1  –            3         stale 41 s  not tried  ok
                  south: gateway 198.18.3.10:4143 refuses connections since 41 s · traffic for 1 service moved to west · 2 services out of reach
                  south: last word over 40 s ago: the API server cannot be reached
";
    assert_eq!(render(&rows), expected);
}

#[test]
fn a_member_of_the_own_cluster_takes_the_traffic_too() {
    let mut members = members();
    for names in members.values_mut() {
        names.insert("here".to_owned());
    }
    let all = [south()];
    let told = reasons(&all[0], &all, &members, now());
    assert!(told[0].contains("traffic for 2 services moved to here · 1 service out of reach"), "{told:?}");
}

#[test]
fn a_link_of_which_nothing_is_known_yet_says_so() {
    let fresh = peer("north", json!({}));
    assert_eq!(
        cells(&fresh, now())[2..],
        ["× 0/0", "–", "0", "unknown", "unknown", "unknown"].map(str::to_owned)
    );
    let refused = peer(
        "north",
        json!({"conditions": [condition("Accepted", "False", "Invalid", "spec.gatewayPort: x\nmore")]}),
    );
    assert_eq!(reasons(&refused, &[], &Members::new(), now()), ["north: spec.gatewayPort: x"]);
}

#[test]
fn credentials_that_have_run_out_are_not_said_to_expire() {
    let status = json!({"credentialsExpire": "2026-11-27T12:00:00Z",
        "conditions": [condition("CredentialsValid", "False", "Refused", "the API server does not accept these (401)")]});
    assert_eq!(cells(&peer("west", status), now())[7], "refused");
}

#[test]
fn times_are_told_in_the_unit_that_fits() {
    let shown = [0, 119, 120, 7_199, 7_200, 172_799, 172_800].map(span);
    assert_eq!(shown, ["0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 d"].map(str::to_owned));
}
