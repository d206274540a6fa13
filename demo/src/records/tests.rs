use super::*;

fn record(due_ms: u64, latency_us: u64, outcome: Outcome) -> Record {
    Record { due_ms, latency: Duration::from_micros(latency_us), outcome }
}

#[test]
fn a_span_is_summed_up_by_cluster_and_failure() {
    let records = Records::new();
    records.note(record(1, 100, Outcome::Answered("east".into())));
    records.note(record(10, 200, Outcome::Answered("east".into())));
    records.note(record(20, 3_000, Outcome::Answered("west".into())));
    records.note(record(30, 400, Outcome::Failed("503: gone".into())));
    records.note(record(40, 500, Outcome::Answered("west".into())));
    let summary = records.summary(10, 40);
    assert_eq!((summary.total, summary.succeeded, summary.failed), (3, 2, 1));
    assert_eq!(summary.clusters["east"], ClusterSummary { count: 1, first_ms: 10, last_ms: 10 });
    assert_eq!(summary.clusters["west"].count, 1);
    assert_eq!(summary.failures, [Failure { at_ms: 30, reason: "503: gone".into() }]);
    assert_eq!((summary.p50_us, summary.max_us), (200, 3_001));
}

#[test]
fn an_empty_span_has_no_latency() {
    let summary = Records::new().summary(0, u64::MAX);
    assert_eq!((summary.total, summary.p99_us, summary.max_us), (0, 0, 0));
}
