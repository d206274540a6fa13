use super::*;

#[test]
fn bit_rates_have_units() {
    assert_eq!(bits("200mbit"), Ok(200_000_000));
    assert_eq!(bits("10Kbit"), Ok(10_000));
    assert_eq!(bits("0"), Ok(0));
    for bad in ["", "fast", "10mb", "99999999999gbit"] {
        assert!(bits(bad).is_err(), "{bad}");
    }
}
