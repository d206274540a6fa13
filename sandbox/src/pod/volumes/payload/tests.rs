use super::*;

#[test]
fn a_token_is_renewed_at_four_fifths_of_its_life_or_after_a_day() {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let after = |text: &str| renewal(now, text.parse().unwrap()).to_string();
    assert_eq!(after("2026-01-01T01:00:00Z"), "2026-01-01T00:48:00Z");
    assert_eq!(after("2026-01-11T00:00:00Z"), "2026-01-02T00:00:00Z");
    assert_eq!(after("2025-01-01T00:00:00Z"), now.to_string(), "one that has expired is renewed at once");
}
