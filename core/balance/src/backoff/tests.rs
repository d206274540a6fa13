use super::*;
use proptest::prelude::*;

#[test]
fn delays_double_up_to_the_maximum() {
    let backoff = Backoff { min: Duration::from_secs(1), max: Duration::from_secs(60), jitter: 0.5 };
    let delays: Vec<u64> = (0..8).map(|n| backoff.delay(n, 0.0).as_secs()).collect();
    assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(backoff.delay(0, 1.0), Duration::from_millis(1500));
}

proptest! {
    #[test]
    fn delays_stay_between_the_minimum_and_the_jittered_maximum(
        min in 1u64..10_000, extra in 0u64..100_000, jitter in 0.0f64..2.0, n in 0u32..200, random in 0.0f64..1.0,
    ) {
        let (min, max) = (Duration::from_millis(min), Duration::from_millis(min + extra));
        let delay = Backoff { min, max, jitter }.delay(n, random);
        prop_assert!(delay >= min);
        prop_assert!(delay <= max.mul_f64(1.0 + jitter) + Duration::from_millis(1));
    }
}
