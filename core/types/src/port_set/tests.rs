use super::*;
use proptest::prelude::*;

#[test]
fn port_lists_merge_and_print_in_order() {
    let set: PortSet = "443, 80,8000-8010,8005-8020,81".parse().unwrap();
    assert_eq!(set.to_string(), "80-81,443,8000-8020");
    assert!(set.contains(8020) && !set.contains(8021));
}

#[test]
fn port_lists_name_the_bad_token() {
    assert_eq!("80,x".parse::<PortSet>(), Err(PortSetError::Token("x".to_owned())));
    assert_eq!("0".parse::<PortSet>(), Err(PortSetError::Token("0".to_owned())));
    assert_eq!("9-3".parse::<PortSet>(), Err(PortSetError::Backwards("9-3".to_owned())));
}

proptest! {
    #[test]
    fn printed_sets_parse_to_themselves(ranges in proptest::collection::vec((1u16.., 1u16..), 0..8)) {
        let set = PortSet::from_ranges(ranges.into_iter().map(|(a, b)| (a.min(b), a.max(b))));
        prop_assert_eq!(set.to_string().parse::<PortSet>().unwrap(), set);
    }
}
