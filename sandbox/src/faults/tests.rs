use super::*;

fn sites() -> Vec<Site> {
    let site = |name: &str, index: u8| Site {
        name: name.to_owned(),
        interface: format!("c{index}"),
        networks: vec![format!("198.18.{index}.0/24").parse().unwrap()],
    };
    vec![site("east", 1), site("west", 2)]
}

#[test]
fn a_partition_drops_both_directions_and_heals() {
    let mut faults = Faults::default();
    faults.partition("west", "east");
    faults.partition("east", "west");
    let script = faults.render(&sites());
    assert!(script.contains("iifname \"c1\" ip daddr 198.18.2.0/24 drop"), "{script}");
    assert!(script.contains("iifname \"c2\" ip daddr 198.18.1.0/24 drop"), "{script}");
    assert_eq!(script.matches("drop").count(), 2);
    assert!(!Faults::default().render(&sites()).contains("drop"));
}

#[test]
fn shapes_are_directional_and_vanish_when_lifted() {
    let mut faults = Faults::default();
    faults.latency("east", "west", Duration::from_millis(20));
    faults.bandwidth("east", "west", Some(1_000_000));
    let shapes = faults.shapes(&sites());
    assert_eq!(shapes.len(), 1);
    assert_eq!(faults.describe()[0].fault, "+20 ms, 1 Mbit/s");
    faults.latency("east", "west", Duration::ZERO);
    faults.bandwidth("east", "west", None);
    assert!(!faults.has_shapes());
}

#[test]
fn a_stopped_api_resets_its_listeners() {
    let listeners = ["198.18.1.2:6443".parse().unwrap()];
    assert!(api_rules(true, &listeners).contains("ip daddr 198.18.1.2 tcp dport 6443 reject with tcp reset"));
    assert!(!api_rules(false, &listeners).contains("reject"));
}
