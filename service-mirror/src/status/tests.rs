use super::*;
use crate::probe::ProbeError;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

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
    let status = of(&observed, &LinkStatus::default(), at(0));
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
    let status = of(&observed, &LinkStatus::default(), at(0));
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
        at(0),
    );
    assert_eq!(get(&refused, "CredentialsValid"), ("False", "Refused"));
    let gone = of(&stale("the API server cannot be reached"), &LinkStatus::default(), at(0));
    assert_eq!(get(&gone, "CredentialsValid").0, "True");
    assert_eq!(get(&gone, "Synced"), ("False", "Stale"));
}

#[test]
fn times_change_only_with_the_status() {
    let observed = Observed { synced: true, ..Observed::default() };
    let first = of(&observed, &LinkStatus::default(), at(0));
    let again = of(&observed, &first, at(1));
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
    let first = of(&observed(1_000), &LinkStatus::default(), at(0));
    assert_eq!(of(&observed(1_150), &first, at(1)), first);
    let moved = of(&observed(1_300), &first, at(1));
    assert_eq!(moved.gateway.unwrap().addresses[0].rtt_ms, Some(1.3));
}

#[test]
fn the_last_answer_is_written_now_and_then_and_with_whatever_else_changes() {
    let observed = |second| Observed {
        synced: true,
        answered: Some(at(second)),
        freshness: Duration::from_secs(10),
        addresses: probed(Ok(Duration::from_millis(1))),
        ..Observed::default()
    };
    let first = of(&observed(0), &LinkStatus::default(), at(0));
    assert_eq!(first.last_synced.as_deref(), Some("2026-09-21T14:13:20Z"));
    assert_eq!(of(&observed(9), &first, at(9)), first, "too young for a write");
    assert_eq!(of(&observed(10), &first, at(10)).last_synced.as_deref(), Some("2026-09-21T14:13:30Z"));
    let slower = Observed { addresses: probed(Ok(Duration::from_millis(2))), ..observed(5) };
    assert_eq!(of(&slower, &first, at(5)).last_synced.as_deref(), Some("2026-09-21T14:13:25Z"));
}

#[test]
fn the_summary_is_what_tables_show() {
    let mut state = ProbeState::default();
    for micros in [300, 300, 1_100] {
        state.note(Ok(Duration::from_micros(micros)), 3);
    }
    let mut addresses: BTreeMap<IpAddr, ProbeState> = [("198.18.2.10".parse().unwrap(), state)].into();
    addresses.extend(dead("198.18.2.11"));
    let status =
        of(&Observed { synced: true, addresses, ..Observed::default() }, &LinkStatus::default(), at(0));
    let summary = status.summary.unwrap();
    assert_eq!((summary.alive.as_str(), summary.rtt.as_str(), summary.services), ("1/2", "0.3/1.1 ms", 0));
}

fn dead(ip: &str) -> BTreeMap<IpAddr, ProbeState> {
    let addr = format!("{ip}:4143").parse().unwrap();
    let mut state = ProbeState::default();
    state.note(Err(ProbeError::Connect { addr, reason: "refuses connections".into() }), 3);
    [(ip.parse().unwrap(), state)].into()
}

#[test]
fn a_failed_probe_of_a_living_address_degrades_before_it_kills() {
    let mut addresses = probed(Ok(Duration::from_millis(1)));
    let failed = || dead("198.18.2.10").into_values().next().unwrap().last_error.unwrap();
    let state = addresses.values_mut().next().unwrap();
    state.note(Err(failed()), 3);
    let observed = Observed { synced: true, addresses, ..Observed::default() };
    let status = of(&observed, &LinkStatus::default(), at(0));
    assert_eq!(get(&status, "Reachable").0, "True");
    assert_eq!(get(&status, "Degraded"), ("True", "PartsMissing"));
}

#[test]
fn credentials_that_end_soon_are_told_of() {
    let ending = |days: i64| {
        let credentials_expire = Some(at(days * 86_400));
        let observed = Observed { synced: true, credentials_expire, ..Observed::default() };
        of(&observed, &LinkStatus::default(), at(0))
    };
    assert_eq!(get(&ending(90), "CredentialsValid"), ("True", "Accepted"));
    assert_eq!(get(&ending(90), "Degraded").0, "False");
    let soon = ending(2);
    assert_eq!(get(&soon, "CredentialsValid"), ("True", "ExpireSoon"));
    assert_eq!(get(&soon, "Degraded").0, "True");
    assert_eq!(soon.credentials_expire.as_deref(), Some("2026-09-23T14:13:20Z"));
}
