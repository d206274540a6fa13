use super::*;

#[test]
fn renewal_is_due_at_70_percent_of_life_within_bounds() {
    let now = SystemTime::now();
    let hours = |n: u64| Duration::from_secs(n * 3600);
    let (least, most) = (Duration::from_secs(10), hours(24));
    let due = |life| refresh_in(now, now + life, least, most).as_secs();
    assert_eq!(due(hours(24)), 24 * 3600 * 7 / 10);
    assert_eq!(due(Duration::from_secs(5)), 10);
    assert_eq!(due(hours(24 * 365)), 24 * 3600);
    assert_eq!(refresh_in(now, now - hours(1), least, most), least);
}
