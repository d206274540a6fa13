use super::*;

#[test]
fn waits_double_up_to_five_minutes_and_a_long_run_is_forgiven() {
    let mut backoff = Backoff::default();
    let seconds: Vec<u64> = (0..8).map(|_| backoff.next(Duration::ZERO).as_secs()).collect();
    assert_eq!(seconds, [0, 10, 20, 40, 80, 160, 300, 300]);
    assert_eq!(backoff.next(FORGIVEN_AFTER), Duration::ZERO);
}
