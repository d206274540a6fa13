use super::*;

fn held_by(holder: &str) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(holder.to_owned()),
        lease_duration_seconds: Some(30),
        ..LeaseSpec::default()
    }
}

#[test]
fn a_lease_without_holder_is_free() {
    let timing = LeaseTiming::default();
    assert!(may_take(&LeaseSpec::default(), "a", Duration::ZERO, timing.duration));
    assert!(may_take(&held_by(""), "a", Duration::ZERO, timing.duration));
}

#[test]
fn the_holder_renews_and_others_wait_for_the_stated_duration() {
    let own = Duration::from_secs(5);
    assert!(may_take(&held_by("a"), "a", Duration::ZERO, own));
    assert!(!may_take(&held_by("b"), "a", Duration::from_secs(30), own));
    assert!(may_take(&held_by("b"), "a", Duration::from_secs(31), own));
}
