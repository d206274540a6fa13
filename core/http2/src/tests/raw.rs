//! Our server, and frames as nobody should send them.

use super::{echo, run, serve, settle};
use crate::frame::{HEADER, Head, PREFACE, flag, kind};
use crate::hpack::{Decoder, Encoder, Field};
use crate::{Code, Error, Server, Settings};
use std::future::poll_fn;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

/// Headers and payloads.
pub(super) type Frames = Vec<(Head, Vec<u8>)>;

/// A frame with its payload.
pub(super) fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Head { len: payload.len(), kind, flags, id }.put(&mut out);
    out.extend_from_slice(payload);
    out
}

pub(super) fn hello() -> Vec<u8> {
    [&PREFACE[..], &frame(kind::SETTINGS, 0, 0, &[])].concat()
}

/// A header block; a table is not used.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            out.push(text.len() as u8);
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

pub(super) const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "example.com")];

pub(super) fn headers(id: u32, end: bool, fields: &[(&str, &str)]) -> Vec<u8> {
    let flags = flag::END_HEADERS | if end { flag::END_STREAM } else { 0 };
    frame(kind::HEADERS, flags, id, &block(fields))
}

pub(super) fn get(id: u32, end: bool) -> Vec<u8> {
    headers(id, end, &GET)
}

/// The frames that come back, and how the connection ended. The client closes it when all was written.
pub(super) fn send(settings: Settings, bytes: Vec<u8>) -> (Frames, Result<(), Error>) {
    run(async {
        let (mut near, far) = duplex(4 << 20);
        let served = serve(Server::new(far, settings), echo);
        let _ = near.write_all(&bytes).await;
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        let _ = near.shutdown().await;
        let mut read = Vec::new();
        near.read_to_end(&mut read).await.unwrap();
        (frames(&read), served.await.unwrap())
    })
}

/// The frames that are complete in these bytes.
pub(super) fn frames(mut bytes: &[u8]) -> Frames {
    let mut frames = Vec::new();
    while let Some(head) = Head::parse(bytes)
        && let Some((payload, left)) = bytes[HEADER..].split_at_checked(head.len)
    {
        frames.push((head, payload.to_vec()));
        bytes = left;
    }
    frames
}

/// The last word of a payload.
pub(super) fn code(payload: &[u8]) -> Code {
    Code(u32::from_be_bytes(*payload.last_chunk().unwrap()))
}

/// The code of the last frame, which ends the connection.
#[track_caller]
pub(super) fn goes_away(bytes: Vec<u8>, expected: Code) {
    let (frames, result) = send(Settings::default(), [hello(), bytes].concat());
    let (head, payload) = frames.last().unwrap();
    assert_eq!((head.kind, code(payload)), (kind::GOAWAY, expected), "{result:?}");
    assert_eq!(result.unwrap_err().reason(), Some(expected));
}

/// The code of the reset of stream 1; the connection goes on.
#[track_caller]
fn resets(bytes: Vec<u8>, expected: Code) {
    let (frames, result) = send(Settings::default(), [hello(), bytes, get(99, true)].concat());
    let reset = frames.iter().find(|(head, _)| head.kind == kind::RST_STREAM);
    let (head, payload) = reset.unwrap_or_else(|| panic!("{result:?} {frames:?}"));
    assert_eq!((head.id, code(payload)), (1, expected));
    assert!(frames.iter().any(|(head, _)| (head.kind, head.id) == (kind::HEADERS, 99)));
    result.unwrap();
}

#[test]
fn requests_that_are_none_are_reset() {
    let with = |field: (&'static str, &'static str)| [&GET[..], &[field]].concat();
    let without = |name: &str| GET.into_iter().filter(|(known, _)| *known != name).collect::<Vec<_>>();
    let replaced = |name: &str, value: &'static str| {
        let put = |(known, old)| if known == name { (known, value) } else { (known, old) };
        GET.into_iter().map(put).collect::<Vec<_>>()
    };
    for fields in [
        with(("Upper", "x")),
        with(("connection", "close")),
        with(("keep-alive", "1")),
        with(("proxy-connection", "1")),
        with(("transfer-encoding", "chunked")),
        with(("upgrade", "h2c")),
        with(("te", "gzip")),
        with(("a b", "x")),
        with(("", "x")),
        with(("x", "a\r\nb")),
        with(("x", "a\0b")),
        with(("x", " a")),
        with(("x", "a\t")),
        with((":path", "/")),
        with((":unknown", "x")),
        with((":status", "200")),
        with((":protocol", "websocket")),
        with(("content-length", "1")),
        with(("content-length", "+0")),
        with(("content-length", "")),
        without(":method"),
        without(":scheme"),
        without(":path"),
        replaced(":path", ""),
        replaced(":path", "x"),
        replaced(":path", "/a#b"),
        replaced(":authority", "user@example.com"),
        replaced(":authority", ""),
        replaced(":method", "CONNECT"),
        replaced(":method", "A B"),
        vec![(":method", "GET"), (":scheme", "http"), ("x", "y"), (":path", "/")],
        vec![(":method", "CONNECT")],
    ] {
        let (frames, result) = send(Settings::default(), [hello(), headers(1, true, &fields)].concat());
        let (head, payload) = frames.last().unwrap();
        assert_eq!(
            (head.kind, head.id, code(payload)),
            (kind::RST_STREAM, 1, Code::PROTOCOL_ERROR),
            "{fields:?}"
        );
        result.unwrap();
    }
    // These are requests.
    for fields in [
        with(("te", "trailers")),
        with(("x", "")),
        with(("content-length", "0")),
        without(":authority"),
        vec![(":method", "OPTIONS"), (":scheme", "http"), (":path", "*"), (":authority", "a")],
        vec![(":method", "CONNECT"), (":authority", "a:1")],
    ] {
        let (frames, result) = send(Settings::default(), [hello(), headers(1, true, &fields)].concat());
        let (head, _) = frames.last().unwrap();
        assert_eq!((head.kind, head.id), (kind::HEADERS, 1), "{fields:?} {frames:?}");
        result.unwrap();
    }
}

#[test]
fn bodies_that_are_not_as_said_are_reset() {
    let long = [&GET[..], &[("content-length", "3")]].concat();
    let data = |flags, bytes: &[u8]| frame(kind::DATA, flags, 1, bytes);
    let begun = || headers(1, false, &long);
    resets([begun(), data(0, b"four")].concat(), Code::PROTOCOL_ERROR);
    resets([begun(), data(flag::END_STREAM, b"2b")].concat(), Code::PROTOCOL_ERROR);
    resets([begun(), data(0, b"2b"), headers(1, true, &[("x", "y")])].concat(), Code::PROTOCOL_ERROR);
    resets([get(1, true), get(1, true)].concat(), Code::STREAM_CLOSED);
    resets([get(1, true), data(0, b"x")].concat(), Code::STREAM_CLOSED);
    // Trailers that are none.
    resets([get(1, false), headers(1, false, &[("x", "y")])].concat(), Code::PROTOCOL_ERROR);
    resets([get(1, false), headers(1, true, &[(":path", "/")])].concat(), Code::PROTOCOL_ERROR);
    resets([get(1, false), frame(kind::WINDOW_UPDATE, 0, 1, &[0; 4])].concat(), Code::PROTOCOL_ERROR);
    let all = frame(kind::WINDOW_UPDATE, 0, 1, &[0x7f, 255, 255, 255]);
    resets([get(1, false), all].concat(), Code::FLOW_CONTROL_ERROR);
}

#[test]
fn frames_that_must_not_be_end_the_connection() {
    let window = |id, more: u32| frame(kind::WINDOW_UPDATE, 0, id, &more.to_be_bytes());
    let setting =
        |name: u8, value: u32| frame(kind::SETTINGS, 0, 0, &[&[0, name][..], &value.to_be_bytes()].concat());
    let begun = frame(kind::HEADERS, 0, 1, &block(&GET));
    for (bytes, code) in [
        (frame(kind::DATA, 0, 0, b"x"), Code::PROTOCOL_ERROR),
        (frame(kind::DATA, 0, 1, b"x"), Code::PROTOCOL_ERROR),
        (frame(kind::DATA, 0, 2, b"x"), Code::PROTOCOL_ERROR),
        (get(2, true), Code::PROTOCOL_ERROR),
        (get(0, true), Code::PROTOCOL_ERROR),
        ([get(5, true), get(3, true)].concat(), Code::PROTOCOL_ERROR),
        (window(0, 0), Code::PROTOCOL_ERROR),
        (window(1, 1), Code::PROTOCOL_ERROR),
        (window(0, 0x7fff_ffff), Code::FLOW_CONTROL_ERROR),
        (frame(kind::RST_STREAM, 0, 1, &[0; 4]), Code::PROTOCOL_ERROR),
        (frame(kind::RST_STREAM, 0, 1, &[0; 3]), Code::FRAME_SIZE_ERROR),
        (frame(kind::PING, 0, 0, &[0; 7]), Code::FRAME_SIZE_ERROR),
        (frame(kind::PING, 0, 1, &[0; 8]), Code::PROTOCOL_ERROR),
        (frame(kind::SETTINGS, 0, 0, &[0; 5]), Code::FRAME_SIZE_ERROR),
        (frame(kind::SETTINGS, flag::ACK, 0, &[0; 6]), Code::FRAME_SIZE_ERROR),
        (frame(kind::SETTINGS, 0, 1, &[]), Code::PROTOCOL_ERROR),
        (frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &[0, 0, 0, 2]), Code::PROTOCOL_ERROR),
        (frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 1, 0]), Code::PROTOCOL_ERROR),
        (frame(kind::CONTINUATION, flag::END_HEADERS, 1, &[]), Code::PROTOCOL_ERROR),
        ([begun.clone(), frame(kind::PING, 0, 0, &[0; 8])].concat(), Code::PROTOCOL_ERROR),
        ([begun, frame(kind::CONTINUATION, flag::END_HEADERS, 3, &[])].concat(), Code::PROTOCOL_ERROR),
        (frame(kind::HEADERS, flag::END_HEADERS, 1, &[0x80]), Code::COMPRESSION_ERROR),
        (frame(kind::HEADERS, flag::END_HEADERS | flag::PADDED, 1, &[9, 0, 0]), Code::PROTOCOL_ERROR),
        ([get(1, false), frame(kind::DATA, flag::PADDED, 1, &[3, 0, 0])].concat(), Code::PROTOCOL_ERROR),
        ([get(1, false), frame(kind::DATA, 0, 1, &[0; 16_385])].concat(), Code::FRAME_SIZE_ERROR),
        (setting(2, 2), Code::PROTOCOL_ERROR),
        (setting(4, 1 << 31), Code::FLOW_CONTROL_ERROR),
        (setting(5, 16_383), Code::PROTOCOL_ERROR),
        (setting(5, 1 << 24), Code::PROTOCOL_ERROR),
    ] {
        goes_away(bytes, code);
    }
    let (frames, result) = send(Settings::default(), b"GET / HTTP/1.1\r\n\r\n".to_vec());
    assert_eq!(frames.last().unwrap().0.kind, kind::GOAWAY);
    assert_eq!(result.unwrap_err().reason(), Some(Code::PROTOCOL_ERROR));
    let (_, result) = send(Settings::default(), [&PREFACE[..], &frame(kind::PING, 0, 0, &[0; 8])].concat());
    assert_eq!(result.unwrap_err().reason(), Some(Code::PROTOCOL_ERROR));
}

#[test]
fn padding_and_priorities_are_left_aside_and_unknown_frames_too() {
    let mut head = vec![2];
    head.extend_from_slice(&[0, 0, 0, 3, 7]);
    head.extend_from_slice(&block(&GET));
    head.extend_from_slice(&[0, 0]);
    let flags = flag::END_HEADERS | flag::PADDED | flag::PRIORITY;
    let data = frame(kind::DATA, flag::PADDED | flag::END_STREAM, 1, &[&[3][..], b"body", &[0; 3]].concat());
    let bytes = [hello(), frame(77, 255, 9, b"??"), frame(kind::HEADERS, flags, 1, &head), data].concat();
    let (frames, result) = send(Settings::default(), bytes);
    assert!(frames.iter().any(|(head, payload)| head.kind == kind::DATA && payload == b"body"));
    result.unwrap();
}

#[test]
fn more_data_than_the_window_is_refused() {
    let settings = Settings { stream_window: 10, ..Settings::default() };
    let ack = frame(kind::SETTINGS, flag::ACK, 0, &[]);
    let bytes = [hello(), ack, get(1, false), frame(kind::DATA, 0, 1, &[0; 11])].concat();
    let (frames, _) = send(settings, bytes);
    let reset = frames.iter().find(|(head, _)| head.kind == kind::RST_STREAM).unwrap();
    assert_eq!(code(&reset.1), Code::FLOW_CONTROL_ERROR);
    // On the connection: nobody reads, as the streams were answered with a refusal.
    let mut bytes = get(1, false);
    for _ in 0..5 {
        bytes.extend(frame(kind::DATA, 0, 1, &[0; 16_384]));
    }
    let (frames, result) = run(async {
        let (mut near, far) = duplex(1 << 20);
        let mut kept = Vec::new();
        let mut server = Server::new(far, Settings { stream_window: 1 << 20, ..Settings::default() });
        near.write_all(&[hello(), bytes].concat()).await.unwrap();
        let result = loop {
            match server.accept().await {
                Some(Ok(taken)) => kept.push(taken),
                Some(Err(error)) => break error,
                None => unreachable!(),
            }
        };
        (kept.len(), result)
    });
    assert_eq!((frames, result.reason()), (1, Some(Code::FLOW_CONTROL_ERROR)));
}

#[test]
fn the_table_is_used_by_both_sides() {
    let mut encoder = Encoder::default();
    let mut bytes = hello();
    for id in [1, 3, 5] {
        let mut block = Vec::new();
        encoder.begin(&mut block);
        for (name, value) in GET {
            encoder.field(name, value.as_bytes(), false, &mut block);
        }
        assert!(id == 1 || block.len() == 4);
        bytes.extend(frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, id, &block));
    }
    let (frames, result) = send(Settings::default(), bytes);
    let mut decoder = Decoder::default();
    let answers: Vec<_> = frames.iter().filter(|(head, _)| head.kind == kind::HEADERS).collect();
    assert_eq!(answers.len(), 3);
    for (_, block) in answers {
        let take = |_: usize, field: &mut dyn FnMut() -> Field| {
            assert_eq!(field(), Field::Status(http::StatusCode::OK));
        };
        decoder.decode(block, take).unwrap();
    }
    result.unwrap();
}

#[test]
fn what_was_read_is_given_back_before_unread_data_takes_the_rest_of_the_window() {
    run(async {
        let (mut near, far) = duplex(1 << 20);
        let mut server = Server::new(far, Settings::default());
        let data = |id, len| frame(kind::DATA, 0, id, &vec![0; len]);
        near.write_all(&[hello(), get(1, false), data(1, 15_000), get(3, false)].concat()).await.unwrap();
        let (read, _respond) = server.accept().await.unwrap().unwrap();
        let _unread = server.accept().await.unwrap().unwrap();
        let (mut read, served) =
            (read.into_body(), tokio::task::spawn_local(async move { server.accept().await.is_none() }));
        let piece = std::future::poll_fn(|cx| read.poll_frame(cx)).await.unwrap().unwrap();
        assert_eq!(piece.into_data().unwrap().len(), 15_000);
        // Less than half of the window, until the other stream has taken all the rest.
        let rest = [data(3, 16_384), data(3, 16_384), data(3, 16_384), data(3, 65_535 - 15_000 - 3 * 16_384)];
        near.write_all(&rest.concat()).await.unwrap();
        settle().await;
        near.shutdown().await.unwrap();
        served.await.unwrap();
        let mut said = Vec::new();
        near.read_to_end(&mut said).await.unwrap();
        let update = frame(kind::WINDOW_UPDATE, 0, 0, &15_000u32.to_be_bytes());
        assert!(said.windows(update.len()).any(|piece| piece == update));
    });
}

#[test]
fn data_on_its_way_to_streams_that_we_have_reset_long_ago_is_left_aside() {
    run(async {
        let (mut near, far) = duplex(4 << 20);
        let served = serve(Server::new(far, Settings::default()), |request, respond| async move {
            drop(request);
            respond.respond(http::Response::new(()), true).unwrap();
        });
        let asked: Vec<u8> = (0..100).flat_map(|number| get(number * 2 + 1, false)).collect();
        near.write_all(&[hello(), asked].concat()).await.unwrap();
        settle().await;
        let data = frame(kind::DATA, 0, 1, b"x").repeat(25_000);
        near.write_all(&[data, get(201, true)].concat()).await.unwrap();
        settle().await;
        near.shutdown().await.unwrap();
        let mut said = Vec::new();
        near.read_to_end(&mut said).await.unwrap();
        served.await.unwrap().unwrap();
        let said = frames(&said);
        assert!(said.iter().any(|(head, _)| (head.kind, head.id) == (kind::HEADERS, 201)));
        assert!(!said.iter().any(|(_, payload)| payload == &Code::STREAM_CLOSED.0.to_be_bytes()));
    });
}

#[test]
fn an_end_in_a_frame_of_its_own_is_read_before_it_is_known() {
    run(async {
        let (mut near, far) = duplex(1 << 16);
        let apart = [get(1, false), frame(kind::DATA, flag::END_STREAM, 1, &[])].concat();
        near.write_all(&[hello(), apart, get(3, true)].concat()).await.unwrap();
        let mut server = Server::new(far, Settings::default());
        let (apart, _first) = server.accept().await.unwrap().unwrap();
        let (with_head, _second) = server.accept().await.unwrap().unwrap();
        assert!(with_head.body().is_end_stream());
        let mut body = apart.into_body();
        assert!(!body.is_end_stream());
        assert!(poll_fn(|cx| body.poll_frame(cx)).await.is_none());
        assert!(body.is_end_stream());
    });
}
