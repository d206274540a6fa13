use super::*;

#[test]
fn the_time_is_read_in_every_unit() {
    assert_eq!(seconds("x\nfinished in 3.02s, 10 req/s, 1KB/s\n"), Some(3.02));
    assert_eq!(seconds("finished in 250ms, 10 req/s"), Some(0.25));
    assert_eq!(seconds("nothing"), None);
}

#[test]
fn failures_in_the_log_are_counted() {
    let outcome = read("1\t200\t150\n2\t503\t10\n3\t200\t250\n", 1.0).unwrap();
    assert_eq!((outcome.operations, outcome.failed), (2.0, 1));
    assert!(outcome.latency.is_some_and(|l| l.p99 >= 249.0));
}
