use super::*;
use proptest::prelude::*;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn an_endpoint_without_responses_has_the_default_latency() {
    let now = Instant::now();
    assert!((PeakEwma::new(EwmaConfig::default(), now).seconds(now) - 0.030).abs() < 1e-9);
}

#[test]
fn a_peak_counts_at_once_and_is_forgotten_slowly() {
    let start = Instant::now();
    let mut ewma = PeakEwma::new(EwmaConfig::default(), start);
    ewma.record(ms(500), start);
    assert!((ewma.seconds(start) - 0.5).abs() < 1e-9);
    ewma.record(ms(1), start + ms(100));
    assert!(ewma.seconds(start + ms(100)) > 0.49);
    ewma.record(ms(1), start + Duration::from_secs(40));
    assert!(ewma.seconds(start + Duration::from_secs(40)) < 0.02);
}

#[test]
fn an_idle_estimate_decays_so_that_the_endpoint_is_tried_again() {
    let start = Instant::now();
    let mut ewma = PeakEwma::new(EwmaConfig::default(), start);
    ewma.record(Duration::from_secs(5), start);
    assert!(ewma.seconds(start + Duration::from_secs(60)) < 0.02);
}

#[test]
fn a_penalty_makes_an_endpoint_dear_and_is_forgotten() {
    let start = Instant::now();
    let decay = Duration::from_secs(10);
    let penalty =
        Penalty { amount: Duration::from_secs(5), max_retry_after: Duration::from_secs(300), decay };
    let mut ewma = PeakEwma::new(EwmaConfig { penalty: Some(penalty), ..EwmaConfig::default() }, start);
    ewma.record(ms(1), start);
    ewma.penalize(penalty.of(None), start);
    ewma.penalize(penalty.of(None), start);
    assert!((ewma.seconds(start) - 5.03).abs() < 0.01, "penalties do not add up: {}", ewma.seconds(start));
    let later = start + Duration::from_secs(100);
    assert!(ewma.seconds(later) < 0.001, "{}", ewma.seconds(later));
}

#[test]
fn what_the_endpoint_asks_for_counts_up_to_a_bound() {
    let seconds = Duration::from_secs;
    let penalty = Penalty { amount: seconds(5), max_retry_after: seconds(300), decay: seconds(10) };
    assert_eq!(penalty.of(None), seconds(5));
    assert_eq!(penalty.of(Some(seconds(60))), seconds(60));
    assert_eq!(penalty.of(Some(seconds(3600))), seconds(300));
    assert_eq!(penalty.of(Some(seconds(1))), seconds(5), "asking for less does not help");
}

proptest! {
    #[test]
    fn the_estimate_never_leaves_the_range_of_what_was_seen(samples in prop::collection::vec((1u64..5000, 0u64..5000), 1..50)) {
        let mut now = Instant::now();
        let mut ewma = PeakEwma::new(EwmaConfig::default(), now);
        let mut top = 0.030f64;
        for (rtt, wait) in samples {
            now += ms(wait);
            ewma.record(ms(rtt), now);
            top = top.max(ms(rtt).as_secs_f64());
            prop_assert!(ewma.seconds(now) <= top + 1e-9);
            prop_assert!(ewma.seconds(now) >= FLOOR);
        }
    }
}
