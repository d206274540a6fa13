//! What a peer can make us hold.

use super::alive::generous;
use super::raw::{GET, block, code, frame, frames, get, hello};
use super::{bytes, post, run, settle};
use crate::frame::{PREFACE, flag, kind};
use crate::{Code, Server, Settings, connect};
use bytes::Bytes;
use http::Response;
use std::future::poll_fn;
use std::task::Poll;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex, split};
use tokio::task::spawn_local;

/// The block of a request whose list is nearly as large as it may be: one field, and references to it.
fn large_head() -> Vec<u8> {
    [block(&GET), [&b"\x40\x01a\x7e"[..], &[b'b'; 126]].concat(), vec![0xbe; 400]].concat()
}

#[test]
fn heads_of_requests_that_nobody_takes_are_bounded() {
    run(async {
        let (near, far) = duplex(64 * 1024);
        let mut server = Server::new(far, Settings::default());
        let served = spawn_local(async move {
            let mut most = 0;
            loop {
                let taken = poll_fn(|cx| {
                    let polled = server.poll_accept(cx);
                    most = most.max(server.memory());
                    polled
                });
                let Some(Ok((_, respond))) = taken.await else { return most };
                let mut response = Response::new(());
                response.headers_mut().insert("x", "~".repeat(5000).parse().unwrap());
                respond.respond(response, true).unwrap();
            }
        });
        let head = large_head();
        let ask =
            |number: u32| frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, number * 2 + 1, &head);
        let (mut read, mut write) = split(near);
        let asked: Vec<u8> = (0..2000).flat_map(ask).collect();
        write.write_all(&[hello(), asked].concat()).await.unwrap();
        // Only now answers are read.
        let mut said = Vec::new();
        let answers = loop {
            read.read_buf(&mut said).await.unwrap();
            let mut answers = frames(&said);
            answers.retain(|(head, _)| matches!(head.kind, kind::HEADERS | kind::RST_STREAM));
            if answers.len() == 2000 {
                break answers;
            }
        };
        let refused = answers.iter().filter(|(head, _)| head.kind == kind::RST_STREAM);
        let refused: Vec<_> = refused.map(|(_, payload)| code(payload)).collect();
        assert!((1000..2000).contains(&refused.len()), "{}", refused.len());
        assert!(refused.iter().all(|code| *code == Code::REFUSED_STREAM));
        write.write_all(&get(4001, true)).await.unwrap();
        let again = read.read_u64().await.unwrap();
        assert_eq!(again >> 32 & 0xff, u64::from(kind::HEADERS));
        drop((read, write));
        let most = served.await.unwrap();
        assert!((8_000_000..10_000_000).contains(&most), "{most}");
    });
}

#[test]
fn heads_of_requests_that_are_open_are_bounded() {
    run(async {
        let (mut near, far) = duplex(64 * 1024);
        let mut server = Server::new(far, Settings::default());
        let served = spawn_local(async move {
            let mut taken = Vec::new();
            while let Some(Ok(request)) = server.accept().await {
                taken.push(request);
            }
            taken.len()
        });
        let head = large_head();
        let ask = |number: u32| frame(kind::HEADERS, flag::END_HEADERS, number * 2 + 1, &head);
        let asked: Vec<u8> = (0..2000).flat_map(ask).collect();
        near.write_all(&[hello(), asked].concat()).await.unwrap();
        settle().await;
        drop(near);
        let open = served.await.unwrap();
        assert!((1000..1300).contains(&open), "{open}");
    });
}

#[test]
fn answers_wait_with_their_handlers_for_a_client_that_does_not_read() {
    run(async {
        let (mut near, far) = duplex(16 * 1024);
        let mut server = Server::new(far, Settings::default());
        let asked: Vec<u8> = (0..300).flat_map(|number| get(number * 2 + 1, true)).collect();
        near.write_all(&[&PREFACE[..], &generous()].concat()).await.unwrap();
        let serve = async move {
            let mut most = 0;
            poll_fn(|cx| {
                while let Poll::Ready(taken) = server.poll_accept(cx) {
                    let Some(Ok((_, respond))) = taken else { return Poll::Ready(()) };
                    spawn_local(async move {
                        let mut send = respond.respond(Response::new(()), false).unwrap();
                        let mut left = bytes(100_000);
                        while !left.is_empty() {
                            let capacity = poll_fn(|cx| send.poll_capacity(cx)).await.unwrap();
                            let piece = left.split_to(capacity.min(left.len()));
                            send.send(piece, left.is_empty()).unwrap();
                        }
                    });
                }
                most = most.max(server.memory());
                Poll::Pending
            })
            .await;
            most
        };
        let served = spawn_local(serve);
        near.write_all(&asked).await.unwrap();
        settle().await;
        // Now it reads.
        let mut said = Vec::new();
        let mut ended = 0;
        while ended < 300 {
            near.read_buf(&mut said).await.unwrap();
            let whole = frames(&said);
            ended += whole.iter().filter(|(head, _)| head.kind == kind::DATA && head.flags == 1).count();
            let len: usize = whole.iter().map(|(head, _)| head.len + 9).sum();
            said.drain(..len);
        }
        drop(near);
        let most = served.await.unwrap();
        assert!(most < 4_000_000, "{most}");
    });
}

#[test]
fn unread_data_keeps_no_more_than_a_few_times_as_much_in_memory() {
    run(async {
        let (mut near, far) = duplex(1 << 20);
        let windows = Settings { stream_window: 1 << 20, connection_window: 1 << 20, ..Settings::default() };
        let mut server = Server::new(far, windows);
        near.write_all(&[hello(), get(1, false)].concat()).await.unwrap();
        let (request, _respond) = server.accept().await.unwrap().unwrap();
        let served = spawn_local(async move { server.accept().await.is_none() });
        // Data here and there among what nobody asked for.
        let rest = frame(77, 0, 0, &[0; 16_384]).repeat(16);
        for len in [1024, 3000, 16_384].repeat(20) {
            near.write_all(&[frame(kind::DATA, 0, 1, &vec![7; len]), rest.clone()].concat()).await.unwrap();
        }
        settle().await;
        let mut body = request.into_body();
        let (mut read, mut kept) = (0, 0);
        for piece in
            std::iter::from_fn(|| futures::FutureExt::now_or_never(poll_fn(|cx| body.poll_frame(cx))))
        {
            let piece: Bytes = piece.unwrap().unwrap().into_data().unwrap();
            read += piece.len();
            kept += piece.try_into_mut().map_or_else(|shared| shared.len(), |unique| unique.capacity());
        }
        assert_eq!(read, 20 * (1024 + 3000 + 16_384));
        assert!(kept <= 10 * read, "{kept} {read}");
        drop(near);
        served.await.unwrap();
    });
}

#[test]
fn requests_that_were_given_up_while_they_waited_are_forgotten() {
    run(async {
        let (near, mut far) = duplex(16 * 1024);
        let (sender, mut client) = connect(near, Settings::default());
        far.write_all(&frame(kind::SETTINGS, 0, 0, &[])).await.unwrap();
        let (_response, mut send) = sender.send(post("/"), false).unwrap();
        // All of the connection's window, of which nothing comes back.
        send.send(bytes(65_535), false).unwrap();
        spawn_local(async move { tokio::io::copy(&mut far, &mut tokio::io::sink()).await });
        for _ in 0..20_000 {
            let (_response, mut late) = sender.send(post("/"), false).unwrap();
            poll_fn(|cx| {
                assert!(late.poll_capacity(cx).is_pending() && client.poll_drive(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            tokio::task::yield_now().await;
        }
        assert!(client.memory() < 50_000, "{}", client.memory());
    });
}
