use super::Allocator;
use std::collections::BTreeSet;
use std::net::IpAddr;

#[test]
fn a_released_address_is_not_given_away_at_once() {
    let allocator = Allocator::new("10.43.0.0/24".parse().expect("a network"));
    let guard = allocator.lock();
    let first = allocator.address(&guard, &BTreeSet::new()).expect("an address");
    let second = allocator.address(&guard, &BTreeSet::new()).expect("an address");
    assert_ne!(first, second);
}

#[test]
fn a_full_network_says_so() {
    let allocator = Allocator::new("10.43.0.0/29".parse().expect("a network"));
    let guard = allocator.lock();
    let mut taken = BTreeSet::new();
    while let Some(address) = allocator.address(&guard, &taken) {
        assert!(taken.insert(IpAddr::V4(address)), "{address} was given out twice");
    }
    assert!(!taken.is_empty());
}
