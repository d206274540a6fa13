//! Peers that make work for nothing.

use super::alive::generous;
use super::raw::{block, frame, get, goes_away, hello, send};
use super::{bytes, drive, echo, post, run, serve};
use crate::frame::{flag, kind};
use crate::{Code, Error, Server, Settings};
use std::future::poll_fn;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::task::spawn_local;

#[track_caller]
fn floods(bytes: Vec<u8>, expected: &str) {
    let (frames, result) = send(Settings::default(), [hello(), bytes].concat());
    assert!(matches!(result, Err(Error::Flood(kind)) if kind == expected), "{result:?}");
    let (head, payload) = frames.last().unwrap();
    assert_eq!((head.kind, payload[7]), (kind::GOAWAY, Code::ENHANCE_YOUR_CALM.0 as u8));
}

#[test]
fn control_frames_have_a_budget() {
    floods(frame(kind::PRIORITY, 0, 1, &[0; 5]).repeat(25_000), "PRIORITY");
    floods(frame(kind::SETTINGS, 0, 0, &[]).repeat(150), "SETTINGS");
    floods(frame(kind::PING, 0, 0, &[0; 8]).repeat(15_000), "PING");
    floods(frame(77, 0, 0, &[]).repeat(25_000), "unknown");
    let (_, result) =
        send(Settings::default(), [hello(), frame(kind::PRIORITY, 0, 1, &[0; 5]).repeat(1000)].concat());
    result.unwrap();
}

#[test]
fn settings_that_repeat_themselves_are_cut_off() {
    let window = |window: u32| [&[0, 4][..], &window.to_be_bytes()].concat();
    floods(frame(kind::SETTINGS, 0, 0, &window(1).repeat(2_730)), "SETTINGS");
    // The last one counts, whatever those before it would have made of a window.
    let two = [window(0x7fff_ffff), window(5)].concat();
    let more = frame(kind::WINDOW_UPDATE, 0, 1, &[0, 1, 0, 0]);
    let data = frame(kind::DATA, flag::END_STREAM, 1, &[7; 10]);
    let bytes = [hello(), get(1, false), more, frame(kind::SETTINGS, 0, 0, &two), data].concat();
    let (frames, _) = send(Settings::default(), bytes);
    assert!(frames.iter().any(|(head, _)| (head.kind, head.flags) == (kind::DATA, flag::END_STREAM)));
}

#[test]
fn empty_frames_have_a_budget() {
    floods([get(1, false), frame(kind::DATA, 0, 1, &[]).repeat(12_000)].concat(), "empty DATA");
    let begun = frame(kind::HEADERS, 0, 1, &block(&[(":method", "GET")]));
    floods([begun.clone(), frame(kind::CONTINUATION, 0, 1, &[]).repeat(65)].concat(), "CONTINUATION");
    floods([begun, frame(kind::CONTINUATION, 0, 1, &[0; 16_384]).repeat(17)].concat(), "CONTINUATION");
}

#[test]
fn rapid_resets_have_a_budget() {
    // By the client, and by us as it makes us.
    for (kind, payload) in [(kind::RST_STREAM, [0, 0, 0, 8]), (kind::WINDOW_UPDATE, [0; 4])] {
        let mut bytes = Vec::new();
        for number in 0..25_000 {
            bytes.extend(get(number * 2 + 1, true));
            bytes.extend(frame(kind, 0, number * 2 + 1, &payload));
        }
        floods(bytes, "rapid RST_STREAM");
    }
}

#[test]
fn malformed_requests_have_a_budget() {
    let mut bytes = Vec::new();
    for number in 0..25_000 {
        let id = number * 2 + 1;
        bytes.extend(frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, id, &[0x82]));
    }
    let (_, result) = send(Settings::default(), [hello(), bytes].concat());
    assert!(matches!(result, Err(Error::Flood(_))), "{result:?}");
}

#[test]
fn small_data_takes_no_more_memory_than_its_window() {
    run(async {
        let (mut near, far) = duplex(1 << 20);
        let mut server = Server::new(far, Settings::default());
        let data = frame(kind::DATA, 0, 1, b"x").repeat(50_000);
        near.write_all(&[hello(), get(1, false), data].concat()).await.unwrap();
        let kept = server.accept().await.unwrap().unwrap();
        let moved = tokio::time::timeout(std::time::Duration::from_secs(1), server.accept()).await;
        assert!(moved.is_err() && server.memory() < 250_000, "{}", server.memory());
        drop(kept);
    });
}

#[test]
fn a_peer_that_does_not_read_is_cut_off() {
    run(async {
        let (mut near, far) = duplex(1024);
        let served = serve(Server::new(far, Settings::default()), echo);
        near.write_all(&hello()).await.unwrap();
        let mut sent = 0;
        while near.write_all(&frame(kind::PING, 0, 0, &[0; 8])).await.is_ok() {
            sent += 1;
            assert!(sent < 30_000);
        }
        let error = served.await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(Code::ENHANCE_YOUR_CALM));
    });
}

#[test]
fn answers_that_nobody_reads_take_no_more_requests() {
    run(async {
        let (mut near, far) = duplex(1024);
        let mut server = Server::new(far, Settings { max_streams: 100, ..Settings::default() });
        let served = spawn_local(async move {
            let mut most = 0;
            loop {
                match server.accept().await {
                    Some(Ok((_, respond))) => {
                        let mut response = http::Response::new(());
                        response.headers_mut().insert("x", "~".repeat(5000).parse().unwrap());
                        respond.respond(response, true).unwrap();
                        most = most.max(server.memory());
                    }
                    Some(Err(error)) => return (error, most),
                    None => unreachable!(),
                }
            }
        });
        near.write_all(&hello()).await.unwrap();
        let mut id = 1;
        while near.write_all(&get(id, true)).await.is_ok() {
            id += 2;
        }
        let (error, most) = served.await.unwrap();
        assert!(matches!(error, Error::Flood(_)) && most < 2_000_000, "{error} {most}");
    });
}

#[test]
fn a_header_block_that_cannot_be_decoded_ends_all() {
    goes_away(
        frame(kind::HEADERS, flag::END_HEADERS, 1, &[0xff, 0xff, 0xff, 0xff, 0xff]),
        Code::COMPRESSION_ERROR,
    );
}

#[test]
fn answers_that_are_read_are_not_counted_however_full_the_output_is() {
    run(async {
        let (near, mut far) = duplex(1024);
        let sender = drive(near, Settings::default());
        far.write_all(&generous()).await.unwrap();
        let (_response, mut upload) = sender.send(post("/"), false).unwrap();
        spawn_local(async move {
            while let Ok(capacity) = poll_fn(|cx| upload.poll_capacity(cx)).await {
                upload.send(bytes(capacity), false).unwrap();
            }
        });
        let ping = frame(kind::PING, 0, 0, &[0; 8]);
        let mut said = [0; 400];
        for _ in 0..25_000 {
            far.write_all(&ping).await.unwrap();
            far.read_exact(&mut said).await.unwrap();
        }
        assert!(!sender.is_closed());
    });
}

#[test]
fn settings_of_servers_have_a_budget_too() {
    run(async {
        let (near, mut far) = duplex(1024);
        let sender = drive(near, Settings::default());
        far.write_all(&generous()).await.unwrap();
        let (response, _) = sender.send(post("/"), true).unwrap();
        let (mut reading, mut writing) = tokio::io::split(far);
        spawn_local(async move { tokio::io::copy(&mut reading, &mut tokio::io::sink()).await });
        let mut sent = 0;
        while writing.write_all(&frame(kind::SETTINGS, 0, 0, &[])).await.is_ok() {
            sent += 1;
            assert!(sent < 1_000);
        }
        assert!(matches!(response.await.unwrap_err(), Error::Flood("SETTINGS")));
        assert!(sender.is_closed());
    });
}
