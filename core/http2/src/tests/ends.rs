//! Connections that end: by their numbers, by a promise, by the end of what comes.

use super::raw::{code, frame, frames, get, hello};
use super::{bytes, drive, post, run, serve, settle};
use crate::frame::{HEADER, MAX_WINDOW, flag, kind, word};
use crate::state::PING_DRAIN;
use crate::{Code, Server, Settings};
use http::Response;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::task::spawn_local;

#[test]
fn requests_that_wait_are_given_back_when_no_number_is_left() {
    run(async {
        let (near, mut far) = duplex(16 * 1024);
        let sender = drive(near, Settings::default());
        far.write_all(&frame(kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 1])).await.unwrap();
        settle().await;
        let first = sender.send(post("/first"), false).unwrap();
        sender.skip_to(MAX_WINDOW);
        let _last = sender.send(post("/last"), false).unwrap();
        let (mut late, _upload) = sender.send(post("/late"), false).unwrap();
        drop(first);
        assert!((&mut late).await.unwrap_err().is_unprocessed());
        assert_eq!(late.take_unsent().unwrap().uri().path(), "/late");
        assert_eq!(sender.streams(), 1);
        assert!(sender.is_closed());
    });
}

#[test]
fn the_last_stream_of_a_connection_that_ends_does_not_grow() {
    run(async {
        let (mut near, far) = duplex(16 * 1024);
        let mut server = Server::new(far, Settings::default());
        near.write_all(&[hello(), get(1, false)].concat()).await.unwrap();
        let _first = server.accept().await.unwrap().unwrap();
        server.graceful_shutdown();
        let served = spawn_local(async move { server.accept().await });
        let acknowledged = frame(kind::PING, flag::ACK, 0, &PING_DRAIN);
        near.write_all(&[acknowledged, get(3, true)].concat()).await.unwrap();
        settle().await;
        near.write_all(&frame(kind::DATA, 0, 0, b"x")).await.unwrap();
        assert_eq!(served.await.unwrap().unwrap().unwrap_err().reason(), Some(Code::PROTOCOL_ERROR));
        let mut said = Vec::new();
        near.read_to_end(&mut said).await.unwrap();
        let mut said = frames(&said);
        said.retain(|(head, _)| head.kind == kind::GOAWAY);
        let said: Vec<_> = said.iter().map(|(_, payload)| (word(payload), code(payload))).collect();
        let none = Code::NO_ERROR;
        assert_eq!(said, [(MAX_WINDOW, none), (1, none), (1, Code::PROTOCOL_ERROR)]);
    });
}

#[test]
fn an_answer_arrives_whole_though_the_client_says_no_more() {
    run(async {
        let (mut near, far) = duplex(64);
        let served = serve(Server::new(far, Settings::default()), |_, respond| async move {
            let mut send = respond.respond(Response::new(()), false).unwrap();
            send.send(bytes(1000), true).unwrap();
        });
        near.write_all(&[hello(), get(1, true)].concat()).await.unwrap();
        settle().await;
        near.shutdown().await.unwrap();
        let mut said = Vec::new();
        near.read_to_end(&mut said).await.unwrap();
        let (head, data) = frames(&said).pop().unwrap();
        assert_eq!((head.kind, head.flags, data), (kind::DATA, flag::END_STREAM, bytes(1000).to_vec()));
        assert!(said.len() > 1000 + HEADER);
        served.await.unwrap().unwrap();
    });
}

#[test]
fn a_client_that_says_no_more_and_reads_nothing_is_left() {
    run(async {
        let second = std::time::Duration::from_secs(1);
        let (mut near, far) = duplex(64);
        let settings = Settings { keep_alive: Some((2 * second, second, true)), ..Settings::default() };
        let served = serve(Server::new(far, settings), |_, respond| async move {
            let mut send = respond.respond(Response::new(()), false).unwrap();
            send.send(bytes(1000), true).unwrap();
        });
        near.write_all(&[hello(), get(1, true)].concat()).await.unwrap();
        settle().await;
        near.shutdown().await.unwrap();
        let begun = tokio::time::Instant::now();
        assert!(served.await.unwrap().unwrap_err().is_io());
        assert_eq!(begun.elapsed().as_secs(), 3);
    });
}
