use super::*;

#[test]
fn packets_wait_for_the_link_and_for_the_way() {
    let slow = Slow { round_trip: Duration::from_millis(80), rate: 8_000 };
    let (mut line, now) = (Line::default(), Instant::now());
    line.push(slow, &[0; 10], now);
    line.push(slow, &[1; 10], now);
    // Ten bytes take ten milliseconds at this rate, and the way half a round trip.
    assert_eq!(line.next_due(), Some(now + Duration::from_millis(50)));
    assert_eq!(line.pop(now + Duration::from_millis(49)), None);
    assert_eq!(line.pop(now + Duration::from_millis(50)), Some(vec![0; 10]));
    assert_eq!(line.next_due(), Some(now + Duration::from_millis(60)));
}

#[test]
fn a_full_queue_drops() {
    let slow = Slow { round_trip: Duration::from_millis(80), rate: 8_000 };
    let (mut line, now) = (Line::default(), Instant::now());
    for _ in 0..100 {
        line.push(slow, &[0; 10], now);
    }
    // The ninth waits for 80 ms, which is still accepted.
    assert_eq!(line.held.len(), 9);
}
