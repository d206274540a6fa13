use super::*;
use std::time::Duration;

fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
    let len = u32::try_from(payload).unwrap().to_be_bytes();
    let mut frame = vec![len[1], len[2], len[3], kind, flags, 0, 0, 0, 1];
    frame.resize(FRAME_HEADER + payload, 4);
    frame
}

/// How many frames pass when they come in pieces of `size`.
fn passed(kind: u8, flags: u8, payload: usize, size: usize, frames: usize) -> usize {
    let (mut counter, now) = (FrameCounter::new(), Instant::now());
    counter.follow(&[b'P'; PREFACE], || now).unwrap();
    let one = frame(kind, flags, payload);
    let follow = |_: &usize| one.chunks(size).all(|piece| counter.follow(piece, || now).is_ok());
    (0..frames).take_while(follow).count()
}

#[test]
fn each_kind_has_its_budget() {
    for (kind, name, burst, _) in KINDS {
        for size in [1, 4, 100] {
            let burst = burst as usize;
            assert_eq!(passed(kind, 0, 8, size, burst + 10), burst, "{name} in pieces of {size}");
        }
    }
}

#[test]
fn data_headers_and_answers_are_free() {
    assert_eq!(passed(0, 0, 1000, 64, 30_000), 30_000);
    assert_eq!(passed(1, 4, 20, 64, 30_000), 30_000);
    assert_eq!(passed(6, ACK, 8, 64, 30_000), 30_000);
    assert_eq!(passed(4, ACK, 0, 64, 30_000), 30_000);
}

#[test]
fn budgets_come_back() {
    let (mut counter, start) = (FrameCounter::new(), Instant::now());
    counter.follow(&[b'P'; PREFACE], || start).unwrap();
    let settings = frame(4, 0, 0);
    while counter.follow(&settings, || start).is_ok() {}
    assert_eq!(counter.follow(&settings, || start), Err("SETTINGS"));
    assert!(counter.follow(&settings, || start + Duration::from_secs(1)).is_ok());
}
