use super::*;

#[test]
fn durations_take_one_integer_and_one_unit() {
    assert_eq!(parse_duration("500ms").unwrap(), Duration::from_millis(500));
    assert_eq!(parse_duration("2h").unwrap(), Duration::from_secs(7200));
    for bad in ["", "5", "1.5s", "1h30m", "-1s", "s", "10 s"] {
        assert!(matches!(parse_duration(bad), Err(DurationError::Form(_))), "{bad}");
    }
    assert!(matches!(parse_duration("99999999999999999999s"), Err(DurationError::Range(_))));
}
