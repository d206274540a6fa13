use super::*;

const LANES: &[Lane] = &[Lane { kind: Kind::Get, per_second: 10 }];

fn moments(begin: Instant) -> Moments {
    let at = |seconds| begin + Duration::from_secs(seconds);
    Moments { began: at(10), ended: at(12), settled: at(15), over: at(20) }
}

fn promise(most: usize) -> Promise {
    let covered = vec![Cover { kinds: &[Kind::Post], reasons: &["request failed"], most }];
    Promise { explanation: "", covered, recovery: Duration::from_secs(3) }
}

/// A request that is due after so many tenths of a second, and takes so many milliseconds.
fn sample(begin: Instant, kind: Kind, due: u64, took: u64, failure: Option<&str>) -> Sample {
    let (due, took) = (begin + Duration::from_millis(due * 100), Duration::from_millis(took));
    Sample { kind, due, took, failure: failure.map(Into::into) }
}

/// Ten GETs a second, all answered.
fn steady(begin: Instant) -> Vec<Sample> {
    (0..200).map(|tenth| sample(begin, Kind::Get, tenth, 2, None)).collect()
}

#[test]
fn failures_are_covered_by_kind_reason_and_number() {
    let begin = Instant::now();
    let mut samples = steady(begin);
    let failed = Some("502 request failed: broken");
    samples.push(sample(begin, Kind::Post, 101, 3, failed));
    assert!(judge(&samples, &promise(1), &moments(begin), LANES).problems.is_empty());
    assert_eq!(judge(&samples, &promise(0), &moments(begin), LANES).unexplained, 1);
    samples.push(sample(begin, Kind::Post, 102, 3, Some("503 overloaded")));
    samples.push(sample(begin, Kind::Get, 102, 3, failed));
    let verdict = judge(&samples, &promise(9), &moments(begin), LANES);
    assert_eq!((verdict.failed, verdict.unexplained), (3, 2));
}

#[test]
fn what_fails_before_the_fault_or_after_the_recovery_is_not_covered() {
    let begin = Instant::now();
    let mut samples = steady(begin);
    let failed = Some("502 request failed: broken");
    samples.push(sample(begin, Kind::Post, 50, 3, failed));
    samples.push(sample(begin, Kind::Post, 160, 3, failed));
    assert_eq!(judge(&samples, &promise(9), &moments(begin), LANES).unexplained, 2);
    // It was under way as the fault began.
    samples.push(sample(begin, Kind::Post, 99, 200, failed));
    assert_eq!(judge(&samples, &promise(9), &moments(begin), LANES).unexplained, 2);
}

#[test]
fn recovery_lasts_until_the_last_request_that_failed_or_was_held_up() {
    let begin = Instant::now();
    let mut samples = steady(begin);
    samples.push(sample(begin, Kind::Get, 110, 2500, None));
    let verdict = judge(&samples, &promise(0), &moments(begin), LANES);
    assert_eq!((verdict.held_up, verdict.failed), (1, 0));
    assert!((verdict.recovery_s - 1.5).abs() < 1e-6 && (verdict.longest_s - 2.5).abs() < 1e-6);
}

#[test]
fn a_kind_that_is_not_answered_any_more_is_a_problem() {
    let begin = Instant::now();
    let samples: Vec<Sample> = steady(begin).into_iter().take(160).collect();
    let verdict = judge(&samples, &promise(0), &moments(begin), LANES);
    assert_eq!(verdict.problems, ["HTTP/1 GET: 10 of 50 answered after the recovery"]);
}

#[test]
fn reasons_are_told_without_addresses() {
    assert_eq!(
        without_numbers("504 connect to 10.79.0.1:4143 timed out after 1s"),
        "504 connect to ADDRESS timed out after 1s"
    );
}
