use super::*;

fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

fn packet(from: [u8; 4], to: [u8; 4], length: usize) -> Vec<u8> {
    let mut packet = vec![0; length];
    packet[0] = 0x45;
    packet[12..16].copy_from_slice(&from);
    packet[16..20].copy_from_slice(&to);
    packet
}

fn shapes(shape: Shape) -> Shapes {
    Shapes::from([((net("198.18.1.0/24"), net("198.18.2.0/24")), shape)])
}

#[test]
fn latency_delays_one_direction_only() {
    let shapes = shapes(Shape { latency: Duration::from_millis(50), rate: None });
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.push(&shapes, &packet([198, 18, 1, 2], [198, 18, 2, 10], 100), now);
    assert_eq!(queue.pop(now), None);
    assert!(queue.pop(now + Duration::from_millis(50)).is_some());
    queue.push(&shapes, &packet([198, 18, 2, 10], [198, 18, 1, 2], 100), now);
    assert!(queue.pop(now).is_some());
}

#[test]
fn a_narrow_link_spaces_packets_and_drops_what_it_cannot_hold() {
    let shapes = shapes(Shape { latency: Duration::ZERO, rate: Some(80_000) });
    let (mut queue, now) = (Queue::default(), Instant::now());
    for _ in 0..20 {
        queue.push(&shapes, &packet([198, 18, 1, 2], [198, 18, 2, 10], 1000), now);
    }
    let arrivals = |queue: &mut Queue, at| std::iter::from_fn(|| queue.pop(at)).count();
    assert_eq!(arrivals(&mut queue, now + Duration::from_millis(250)), 2, "1000 bytes take 100 ms");
    assert_eq!(arrivals(&mut queue, now + Duration::from_secs(60)), 4, "half a second of backlog");
}

#[test]
fn packets_of_one_link_keep_their_order() {
    let shapes = shapes(Shape { latency: Duration::from_millis(1), rate: None });
    let (mut queue, now) = (Queue::default(), Instant::now());
    for length in [100, 200, 300] {
        queue.push(&shapes, &packet([198, 18, 1, 2], [198, 18, 2, 10], length), now);
    }
    let lengths: Vec<_> =
        std::iter::from_fn(|| queue.pop(now + Duration::from_secs(1))).map(|held| held.len()).collect();
    assert_eq!(lengths, [100, 200, 300]);
}
