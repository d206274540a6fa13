use super::*;
use proptest::prelude::*;

fn config(max_failures: u32) -> BreakerConfig {
    let backoff = Backoff { min: Duration::from_secs(1), max: Duration::from_secs(60), jitter: 0.0 };
    BreakerConfig { max_failures, backoff }
}

fn fail(breaker: &Breaker, now: Instant) -> bool {
    match breaker.admit(now) {
        Some(admission) => breaker.failure(admission, true, 0.0, now),
        None => false,
    }
}

#[test]
fn failures_in_a_row_eject_and_a_success_between_them_does_not() {
    let now = Instant::now();
    let breaker = Breaker::new(config(3), now);
    assert!(!fail(&breaker, now));
    assert!(!fail(&breaker, now));
    breaker.success(Admission::Normal);
    assert!(!fail(&breaker, now));
    assert!(!fail(&breaker, now));
    assert!(fail(&breaker, now));
    assert_eq!(breaker.status(now), BreakerStatus::Ejected(Duration::from_secs(1)));
    assert_eq!(breaker.admit(now), None);
}

#[test]
fn probation_admits_one_trial_and_its_success_ends_the_ejection() {
    let start = Instant::now();
    let breaker = Breaker::new(config(1), start);
    assert!(fail(&breaker, start));
    let later = start + Duration::from_millis(1001);
    assert_eq!(breaker.status(later), BreakerStatus::Probation);
    assert_eq!(breaker.admit(later), Some(Admission::Trial));
    assert_eq!(breaker.admit(later), None, "only one trial at a time");
    assert!(breaker.success(Admission::Trial));
    assert_eq!(breaker.status(later), BreakerStatus::Closed);
}

#[test]
fn a_failed_trial_ejects_for_longer_each_time() {
    let mut now = Instant::now();
    let breaker = Breaker::new(config(1), now);
    fail(&breaker, now);
    for expected in [2u64, 4, 8] {
        now += Duration::from_secs(120);
        fail(&breaker, now);
        assert_eq!(breaker.status(now), BreakerStatus::Ejected(Duration::from_secs(expected)));
    }
}

#[test]
fn a_lost_trial_is_followed_by_another() {
    let start = Instant::now();
    let breaker = Breaker::new(config(1), start);
    fail(&breaker, start);
    let first = start + Duration::from_secs(2);
    assert_eq!(breaker.admit(first), Some(Admission::Trial));
    assert_eq!(breaker.admit(first + Duration::from_millis(1100)), Some(Admission::Trial));
}

#[test]
fn responses_to_requests_from_before_the_ejection_change_nothing() {
    let now = Instant::now();
    let breaker = Breaker::new(config(1), now);
    fail(&breaker, now);
    assert!(!breaker.success(Admission::Normal));
    assert!(!breaker.failure(Admission::Normal, true, 0.0, now));
    assert_eq!(breaker.status(now), BreakerStatus::Ejected(Duration::from_secs(1)));
}

#[test]
fn zero_failures_means_never() {
    let now = Instant::now();
    let breaker = Breaker::new(config(0), now);
    for _ in 0..100 {
        assert!(!fail(&breaker, now));
    }
}

proptest! {
    #[test]
    fn an_ejected_endpoint_is_never_used_before_its_time(steps in prop::collection::vec((0u64..3000, any::<bool>()), 1..200)) {
        let mut now = Instant::now();
        let breaker = Breaker::new(config(3), now);
        let mut in_a_row = 0;
        for (wait, works) in steps {
            now += Duration::from_millis(wait);
            let status = breaker.status(now);
            let admission = breaker.admit(now);
            match status {
                BreakerStatus::Closed => prop_assert_eq!(admission, Some(Admission::Normal)),
                BreakerStatus::Ejected(_) => prop_assert_eq!(admission, None),
                BreakerStatus::Probation => prop_assert_eq!(admission, Some(Admission::Trial)),
            }
            let Some(admission) = admission else { continue };
            if works {
                breaker.success(admission);
                in_a_row = 0;
                prop_assert_eq!(breaker.status(now), BreakerStatus::Closed);
            } else {
                in_a_row += 1;
                breaker.failure(admission, true, 0.3, now);
                prop_assert_eq!(breaker.status(now) == BreakerStatus::Closed, in_a_row < 3);
            }
        }
    }
}
