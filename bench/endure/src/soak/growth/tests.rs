use super::*;

/// Thirty points, five seconds apart.
fn points(rss_kib: impl Fn(u64) -> u64, open_files: impl Fn(u64) -> u64) -> Vec<Point> {
    let point = |n: u64| Point {
        proxy: "client".to_owned(),
        at_s: n as f64 * 5.0,
        rss_kib: rss_kib(n),
        open_files: open_files(n),
        threads: 3,
        connections: 20.0,
    };
    (0..30).map(point).collect()
}

#[test]
fn what_warms_up_and_then_stays_does_not_grow() {
    let points = points(|n| 8000 + 400 * n.min(10), |n| 40 + n % 5);
    let growth = Growth::of("client", &points).unwrap();
    assert!(growth.problems().is_empty(), "{:?}", growth.problems());
    assert!(growth.rss_kib_per_minute.abs() < 1.0);
}

#[test]
fn a_leak_is_told_by_medians_and_slope() {
    let growth = Growth::of("client", &points(|n| 8000 + 150 * n, |_| 40)).unwrap();
    assert!((growth.rss_kib_per_minute - 1800.0).abs() < 1.0);
    assert_eq!(growth.problems().len(), 2, "{:?}", growth.problems());
}

#[test]
fn descriptors_that_are_not_closed_are_told() {
    let growth = Growth::of("client", &points(|_| 8000, |n| 40 + 3 * n)).unwrap();
    assert_eq!(growth.problems(), ["client: open files grew from 85 to 115"]);
}

#[test]
fn a_run_that_is_too_short_is_not_judged() {
    assert!(Growth::of("client", &points(|_| 8000, |_| 40)[..12]).is_none());
}
