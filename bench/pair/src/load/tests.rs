use super::*;

#[test]
fn latencies_keep_tenths_of_microseconds_and_merge() {
    let (mut a, mut b) = (Latencies::new().unwrap(), Latencies::new().unwrap());
    for micros in 1..=99 {
        a.record(Duration::from_micros(micros));
    }
    b.record(Duration::from_secs(1));
    a.merge(&b).unwrap();
    let summary = a.summary().unwrap();
    assert_eq!(a.count(), 100);
    assert!((summary.p50 - 50.0).abs() < 0.5, "{summary:?}");
    assert!((summary.p999 - 1_000_000.0).abs() < 1000.0, "{summary:?}");
    assert!(Latencies::new().unwrap().summary().is_none());
}
