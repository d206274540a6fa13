use super::*;
use crate::probe::ProbeError;

fn get<'a>(status: &'a LinkStatus, type_: &str) -> (&'a str, &'a str) {
    let found = status.conditions.iter().find(|c| c.type_ == type_).unwrap();
    (found.status.as_str(), found.reason.as_str())
}

fn probed(outcome: Result<Duration, ProbeError>) -> BTreeMap<IpAddr, ProbeState> {
    let mut state = ProbeState::default();
    state.note(outcome, 3);
    [("198.18.2.10".parse().unwrap(), state)].into()
}

#[test]
fn a_healthy_link_says_so_in_every_condition() {
    let addresses = probed(Ok(Duration::from_micros(312)));
    let observed = Observed { synced: true, gateway_port: 4143, addresses, ..Observed::default() };
    let status = of(&observed, &LinkStatus::default(), "t0");
    for good in ["Accepted", "CredentialsValid", "TrustEstablished", "Reachable", "Synced"] {
        assert_eq!(get(&status, good).0, "True", "{good}");
    }
    assert_eq!(get(&status, "Degraded").0, "False");
    assert_eq!(status.gateway.unwrap().addresses[0].rtt_ms, Some(0.31));
}

#[test]
fn a_gateway_that_is_someone_else_breaks_trust_and_reach() {
    let error = ProbeError::Trust {
        addr: "198.18.2.10:4143".parse().unwrap(),
        identity: "gateway".into(),
        reason: "unknown issuer".into(),
    };
    let observed = Observed { synced: true, addresses: probed(Err(error)), ..Observed::default() };
    let status = of(&observed, &LinkStatus::default(), "t0");
    assert_eq!(get(&status, "TrustEstablished"), ("False", "HandshakeFailed"));
    assert_eq!(get(&status, "Reachable"), ("False", "GatewayDead"));
    assert_eq!(get(&status, "Degraded").0, "True");
}

#[test]
fn refused_credentials_are_told_from_an_unreachable_api() {
    let stale = |why: &str| Observed {
        synced: true,
        stale: Some((Duration::from_secs(41), why.to_owned())),
        ..Observed::default()
    };
    let refused = of(
        &stale("the API server does not accept these credentials (401): expired"),
        &LinkStatus::default(),
        "t0",
    );
    assert_eq!(get(&refused, "CredentialsValid"), ("False", "Refused"));
    let gone = of(&stale("the API server cannot be reached"), &LinkStatus::default(), "t0");
    assert_eq!(get(&gone, "CredentialsValid").0, "True");
    assert_eq!(get(&gone, "Synced"), ("False", "Stale"));
}

#[test]
fn times_change_only_with_the_status() {
    let observed = Observed { synced: true, ..Observed::default() };
    let first = of(&observed, &LinkStatus::default(), "t0");
    let again = of(&observed, &first, "t1");
    assert_eq!(first, again);
    let broken = refused("spec.gatewayPort: bad", &again, "t2");
    assert_eq!(broken.conditions.len(), 1);
    assert_eq!(broken.conditions[0].last_transition_time, "t2");
}

#[test]
fn a_round_trip_is_written_anew_only_beyond_the_noise() {
    let observed = |micros| Observed {
        synced: true,
        addresses: probed(Ok(Duration::from_micros(micros))),
        ..Observed::default()
    };
    let first = of(&observed(1_000), &LinkStatus::default(), "t0");
    assert_eq!(of(&observed(1_150), &first, "t1"), first);
    let moved = of(&observed(1_300), &first, "t1");
    assert_eq!(moved.gateway.unwrap().addresses[0].rtt_ms, Some(1.3));
}
