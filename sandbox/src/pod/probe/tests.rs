use super::*;

#[test]
fn thresholds_count_answers_in_a_row() {
    let mut tally = Tally::new(2, 3);
    let no = || Err("no".to_owned());
    assert_eq!(tally.note(Ok(())), None);
    assert_eq!(tally.note(Ok(())), Some(Verdict::Success));
    assert_eq!(tally.note(Ok(())), None, "told once");
    assert_eq!(tally.note(no()), Some(Verdict::Failure("no".into())));
    assert_eq!(tally.note(Ok(())), None);
    assert_eq!(tally.note(no()), Some(Verdict::Failure("no".into())));
    assert_eq!(tally.note(no()), Some(Verdict::Failure("no".into())));
    assert_eq!(tally.note(no()), Some(Verdict::Failed("no".into())));
    assert_eq!(tally.note(no()), Some(Verdict::Failed("no".into())));
    assert_eq!(tally.note(Ok(())), None);
    assert_eq!(tally.note(Ok(())), Some(Verdict::Success));
}

#[test]
fn missing_numbers_are_kubernetes_defaults() {
    let probe = Probe::of(&serde_json::json!({ "readinessProbe": {} }), "readinessProbe").unwrap();
    assert_eq!((probe.period, probe.timeout), (Duration::from_secs(10), Duration::from_secs(1)));
    assert_eq!((probe.successes, probe.failures), (1, 3));
    assert!(Probe::of(&serde_json::json!({}), "readinessProbe").is_none());
}
