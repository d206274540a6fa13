use super::*;
use proptest::prelude::*;

fn config(max_failures: u32) -> BreakerConfig {
    let backoff = Backoff { min: Duration::from_secs(1), max: Duration::from_secs(60), jitter: 0.0 };
    BreakerConfig { max_failures, success_rate: None, backoff, honor_retry_after: false }
}

const FAILED: Failure = Failure { may_eject: true, random: 0.0, retry_after: None };

fn fail(breaker: &Breaker, now: Instant) -> bool {
    match breaker.admit(now) {
        Some(admission) => breaker.failure(admission, FAILED, now).is_some(),
        None => false,
    }
}

#[test]
fn failures_in_a_row_eject_and_a_success_between_them_does_not() {
    let now = Instant::now();
    let breaker = Breaker::new(config(3), now);
    assert!(!fail(&breaker, now));
    assert!(!fail(&breaker, now));
    breaker.success(Admission::Normal, now);
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
    assert!(breaker.success(Admission::Trial, later));
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
    assert!(!breaker.success(Admission::Normal, now));
    assert_eq!(breaker.failure(Admission::Normal, FAILED, now), None);
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

fn unified(threshold: f64, min_requests: u32) -> BreakerConfig {
    let rate = SuccessRate { threshold, window: Duration::from_secs(10), min_requests };
    BreakerConfig { success_rate: Some(rate), ..config(0) }
}

#[test]
fn too_small_a_share_of_successes_ejects_though_no_two_failures_are_in_a_row() {
    let now = Instant::now();
    let breaker = Breaker::new(unified(0.8, 5), now);
    for _ in 0..4 {
        assert!(!breaker.success(Admission::Normal, now));
        assert_eq!(breaker.status(now), BreakerStatus::Closed);
    }
    // Four of five are just enough, four of six are not.
    assert_eq!(breaker.failure(Admission::Normal, FAILED, now), None);
    assert_eq!(breaker.failure(Admission::Normal, FAILED, now), Some(Cause::SuccessRate));
    assert_eq!(breaker.status(now), BreakerStatus::Ejected(Duration::from_secs(1)));
}

#[test]
fn too_few_requests_are_not_judged_by_their_share() {
    let now = Instant::now();
    let breaker = Breaker::new(unified(0.8, 5), now);
    for _ in 0..4 {
        assert_eq!(breaker.failure(Admission::Normal, FAILED, now), None);
    }
    assert_eq!(breaker.failure(Admission::Normal, FAILED, now), Some(Cause::SuccessRate));
}

#[test]
fn old_failures_fade_from_the_share() {
    let start = Instant::now();
    let breaker = Breaker::new(unified(0.8, 5), start);
    for _ in 0..3 {
        breaker.failure(Admission::Normal, FAILED, start);
    }
    let later = start + Duration::from_secs(60);
    for _ in 0..10 {
        breaker.success(Admission::Normal, later);
    }
    assert_eq!(breaker.failure(Admission::Normal, FAILED, later), None);
}

#[test]
fn an_endpoint_that_came_back_is_not_judged_by_what_was_before() {
    let start = Instant::now();
    let breaker = Breaker::new(unified(0.8, 5), start);
    for _ in 0..5 {
        breaker.failure(Admission::Normal, FAILED, start);
    }
    let later = start + Duration::from_millis(1001);
    assert_eq!(breaker.admit(later), Some(Admission::Trial));
    assert!(breaker.success(Admission::Trial, later));
    assert_eq!(breaker.failure(Admission::Normal, FAILED, later), None);
}

#[test]
fn unified_ejects_by_failures_in_a_row_before_the_share_is_judged() {
    let now = Instant::now();
    let breaker = Breaker::new(BreakerConfig { max_failures: 2, ..unified(0.8, 100) }, now);
    assert_eq!(breaker.failure(Admission::Normal, FAILED, now), None);
    assert_eq!(breaker.failure(Admission::Normal, FAILED, now), Some(Cause::Consecutive));
}

#[test]
fn retry_after_sets_the_first_ejection_within_the_bounds_where_it_is_honoured() {
    let asked = |seconds, honor_retry_after| {
        let now = Instant::now();
        let breaker = Breaker::new(BreakerConfig { honor_retry_after, ..config(1) }, now);
        let retry_after = Some(Duration::from_secs(seconds));
        breaker.failure(Admission::Normal, Failure { retry_after, ..FAILED }, now);
        match breaker.status(now) {
            BreakerStatus::Ejected(left) => left.as_secs(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(asked(20, true), 20);
    assert_eq!(asked(0, true), 1, "never shorter than the shortest");
    assert_eq!(asked(900, true), 60, "never longer than the longest");
    assert_eq!(asked(20, false), 1);
}

#[test]
fn a_set_that_needs_every_endpoint_ejects_none() {
    let now = Instant::now();
    let breaker = Breaker::new(config(1), now);
    for _ in 0..10 {
        assert_eq!(breaker.failure(Admission::Normal, Failure { may_eject: false, ..FAILED }, now), None);
    }
    assert_eq!(breaker.failure(Admission::Normal, FAILED, now), Some(Cause::Consecutive));
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
                breaker.success(admission, now);
                in_a_row = 0;
                prop_assert_eq!(breaker.status(now), BreakerStatus::Closed);
            } else {
                in_a_row += 1;
                breaker.failure(admission, Failure { random: 0.3, ..FAILED }, now);
                prop_assert_eq!(breaker.status(now) == BreakerStatus::Closed, in_a_row < 3);
            }
        }
    }
}
