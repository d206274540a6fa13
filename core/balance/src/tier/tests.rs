use super::*;
use proptest::prelude::*;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn the_first_ready_endpoint_of_a_new_tier_brings_it_up_at_once() {
    let now = Instant::now();
    assert_eq!(Tier::new(now).observe(true, false, now), Standing::Up);
}

#[test]
fn a_tier_that_was_down_is_up_after_five_seconds_of_readiness() {
    let start = Instant::now();
    let tier = Tier::new(start);
    tier.observe(true, false, start);
    assert_eq!(tier.observe(false, false, start + secs(1)), Standing::Down);
    assert_eq!(tier.observe(true, false, start + secs(2)), Standing::Recovering);
    assert_eq!(tier.observe(true, false, start + secs(6)), Standing::Recovering);
    assert_eq!(tier.observe(true, false, start + secs(7)), Standing::Up);
}

#[test]
fn a_relapse_starts_the_wait_again() {
    let start = Instant::now();
    let tier = Tier::new(start);
    tier.observe(false, false, start);
    tier.observe(true, false, start + secs(1));
    assert_eq!(tier.observe(false, true, start + secs(4)), Standing::Probation);
    assert_eq!(tier.observe(true, false, start + secs(5)), Standing::Recovering);
    assert_eq!(tier.observe(true, false, start + secs(9)), Standing::Recovering);
}

#[test]
fn the_first_tier_that_is_up_serves() {
    use Standing::{Down, Recovering, Up};
    let passed = AtomicU64::new(0);
    assert_eq!(choose(&[Up, Up], &passed), Choice::Serve(0));
    assert_eq!(choose(&[Down, Up], &passed), Choice::Serve(1));
    assert_eq!(choose(&[Recovering, Up], &passed), Choice::Serve(1));
    assert_eq!(choose(&[Down, Recovering], &passed), Choice::Serve(1));
    assert_eq!(choose(&[Down, Down], &passed), Choice::Nothing);
    assert_eq!(choose(&[], &passed), Choice::Nothing);
}

proptest! {
    #[test]
    fn at_most_one_request_in_a_hundred_probes_a_tier_that_is_not_up(requests in 1usize..2000, ejected in any::<bool>()) {
        let passed = AtomicU64::new(0);
        let first = if ejected { Standing::Probation } else { Standing::Recovering };
        let probes = (0..requests).filter(|_| choose(&[first, Standing::Up], &passed) == Choice::Probe(0)).count();
        prop_assert!(probes * 100 <= requests);
        prop_assert!(probes >= requests / 100);
    }
}
