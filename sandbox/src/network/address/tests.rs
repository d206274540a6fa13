use super::*;

#[test]
fn addresses_go_round_before_one_is_used_again() {
    let mut allocator = Allocator::new("10.0.0.0/29".parse().unwrap());
    let taken: Vec<String> = (0..5).filter_map(|_| allocator.take()).map(|ip| ip.to_string()).collect();
    assert_eq!(taken, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
    assert_eq!(allocator.take(), None);
    allocator.give_back("10.0.0.4".parse().unwrap());
    assert_eq!(allocator.take(), Some("10.0.0.4".parse().unwrap()));
    allocator.give_back("10.0.0.4".parse().unwrap());
    allocator.give_back("10.0.0.2".parse().unwrap());
    assert_eq!(allocator.take(), Some("10.0.0.2".parse().unwrap()));
}
