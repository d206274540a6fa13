//! Our client and our server.

use super::{Chopped, bytes, collect, drive, echo, get, post, run, serve, settings, settle, trailers};
use crate::{Answer, Code, Connection, Error, Sender, Server, Settings, connect};
use futures::future::join_all;
use http::{HeaderMap, Response, StatusCode};
use std::future::poll_fn;
use tokio::io::duplex;
use tokio::task::spawn_local;

async fn exchange(sender: Sender, len: usize) {
    let (response, mut send) = sender.send(post("/"), false).unwrap();
    let sent = async {
        let mut data = bytes(len);
        while !data.is_empty() {
            let capacity = poll_fn(|cx| send.poll_capacity(cx)).await.unwrap();
            send.send(data.split_to(capacity.min(data.len())), false).unwrap();
        }
        send.trailers(trailers()).unwrap();
    };
    let received = async { collect(response.await.unwrap().into_body()).await.unwrap() };
    let ((), (data, came)) = tokio::join!(sent, received);
    assert!(data == bytes(len));
    assert_eq!(came, Some(trailers()));
}

#[test]
fn pieces_of_any_size_make_no_difference() {
    for (size, window, len) in [
        (1, 1, 20),
        (1, 65_535, 20_000),
        (7, 100, 3_000),
        (1000, 1 << 20, 200_000),
        (100_000, 1 << 24, 2_000_000),
    ] {
        run(async {
            let settings = Settings { connection_window: 1 << 20, ..settings(window) };
            let (near, far) = duplex(256 * 1024);
            let served = serve(Server::new(Chopped(far, size), settings), echo);
            let sender = drive(Chopped(near, size), settings);
            join_all((0..8).map(|number| exchange(sender.clone(), len + number))).await;
            drop(sender);
            served.await.unwrap().unwrap();
        });
    }
}

#[test]
fn informational_heads_come_before_the_response() {
    run(async {
        let (near, far) = duplex(1024);
        let served = serve(Server::new(far, Settings::default()), |_, mut respond| async move {
            assert!(respond.inform(StatusCode::SWITCHING_PROTOCOLS, HeaderMap::new()).is_err());
            respond.inform(StatusCode::CONTINUE, HeaderMap::new()).unwrap();
            respond.inform(StatusCode::EARLY_HINTS, trailers()).unwrap();
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response.headers_mut().insert("connection", "close".parse().unwrap());
            response.headers_mut().insert("x", "y".parse().unwrap());
            respond.respond(response, true).unwrap();
        });
        let sender = drive(near, Settings::default());
        let (mut pending, _) = sender.send(get("/"), true).unwrap();
        for expected in [StatusCode::CONTINUE, StatusCode::EARLY_HINTS] {
            let Answer::Informational(head) = poll_fn(|cx| pending.poll_answer(cx)).await.unwrap() else {
                panic!("not informational");
            };
            assert_eq!(head.status(), expected);
        }
        let response = pending.await.unwrap();
        assert_eq!((response.status(), response.headers().len()), (StatusCode::NO_CONTENT, 1));
        assert!(response.body().is_end_stream());
        drop((response, sender));
        served.await.unwrap().unwrap();
    });
}

#[test]
fn connections_that_idle_hold_no_buffers() {
    run(async {
        let settings = Settings { connection_window: 1 << 20, ..settings(1 << 20) };
        let (near, far) = duplex(1 << 20);
        let mut server = Server::new(far, settings);
        let (sender, mut client) = connect(near, settings);
        let exchanged = async {
            join_all((0..20).map(|number| exchange(sender.clone(), 300_000 + number))).await;
            settle().await;
        };
        let mut exchanged = std::pin::pin!(exchanged);
        poll_fn(|cx| {
            while let std::task::Poll::Ready(taken) = server.poll_accept(cx) {
                let (request, respond) = taken.unwrap().unwrap();
                spawn_local(echo(request, respond));
            }
            assert!(client.poll_drive(cx).is_pending());
            exchanged.as_mut().poll(cx)
        })
        .await;
        poll_fn(|cx| {
            assert!(server.poll_accept(cx).is_pending() && client.poll_drive(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        assert!(server.memory() < 1024 && client.memory() < 1024, "{} {}", server.memory(), client.memory());
        let size = size_of::<Connection<tokio::io::DuplexStream>>();
        assert!(size < 512, "{size}");
    });
}

#[test]
fn a_reader_that_waits_makes_the_sender_wait() {
    run(async {
        let (near, far) = duplex(1 << 20);
        let mut server = Server::new(far, settings(1000));
        spawn_local(async move {
            let mut kept = Vec::new();
            while let Some(Ok(taken)) = server.accept().await {
                kept.push(taken);
            }
        });
        let sender = drive(near, Settings::default());
        let (response, mut send) = sender.send(post("/"), false).unwrap();
        settle().await;
        let capacity = poll_fn(|cx| send.poll_capacity(cx)).await.unwrap();
        assert_eq!(capacity, 1000);
        send.send(bytes(1000), false).unwrap();
        settle().await;
        poll_fn(|cx| {
            assert!(send.poll_capacity(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        drop(response);
        assert!(poll_fn(|cx| send.poll_capacity(cx)).await.unwrap_err().is_reset());
    });
}

#[test]
fn windows_grow_while_they_are_full() {
    for (adaptive, grows) in [(false, false), (true, true)] {
        run(async {
            let (near, far) = duplex(1 << 20);
            let served = serve(Server::new(far, settings(1 << 20)), |_, respond| async move {
                let mut send = respond.respond(Response::new(()), false).unwrap();
                send.send(bytes(2_000_000), true).unwrap();
                poll_fn(|cx| send.poll_reset(cx)).await;
            });
            let (sender, mut client) = connect(near, Settings { adaptive, ..Settings::default() });
            let (response, _) = sender.send(get("/"), true).unwrap();
            let mut read =
                std::pin::pin!(async { collect(response.await.unwrap().into_body()).await.unwrap() });
            let data = poll_fn(|cx| {
                assert!(client.poll_drive(cx).is_pending());
                read.as_mut().poll(cx)
            });
            assert_eq!(data.await.0.len(), 2_000_000);
            assert_eq!(client.windows() > (100_000, 100_000), grows, "{:?}", client.windows());
            drop((sender, client));
            served.await.unwrap().unwrap();
        });
    }
}

#[test]
fn what_nobody_reads_is_given_back_to_the_connection() {
    run(async {
        let (near, far) = duplex(16 * 1024);
        // The windows of all streams are far more than that of the connection.
        let served = serve(Server::new(far, settings(65_535)), |request, respond| async move {
            drop(request);
            settle().await;
            respond.respond(Response::new(()), true).unwrap();
        });
        let sender = drive(near, Settings::default());
        for _ in 0..10 {
            let (response, mut send) = sender.send(post("/"), false).unwrap();
            let sent = async {
                send.send(bytes(60_000), false).unwrap();
                poll_fn(|cx| send.poll_reset(cx)).await
            };
            let (error, response) = tokio::join!(sent, response);
            assert_eq!(error.reason(), Some(Code::NO_ERROR));
            assert_eq!(response.unwrap().status(), StatusCode::OK);
        }
        exchange_empty(&sender).await;
        drop(sender);
        served.await.unwrap().unwrap();
    });
}

async fn exchange_empty(sender: &Sender) {
    sender.send(get("/"), true).unwrap().0.await.unwrap();
}

#[test]
fn a_connection_that_ends_fails_its_streams() {
    run(async {
        let (near, far) = duplex(1024);
        let (sender, client) = connect(near, Settings::default());
        let driven = spawn_local(client);
        let (response, mut send) = sender.send(post("/"), false).unwrap();
        settle().await;
        drop(far);
        assert!(response.await.unwrap_err().is_io());
        assert!(send.send(bytes(1), false).unwrap_err().is_io());
        assert!(driven.await.unwrap().unwrap_err().is_io());
        assert!(sender.is_closed());
        // And one whose driver is dropped.
        let (near, _far) = duplex(1024);
        let (sender, client) = connect(near, Settings::default());
        let (response, _send) = sender.send(post("/"), false).unwrap();
        drop(client);
        assert!(matches!(response.await, Err(Error::Closed)));
    });
}

#[test]
fn a_client_that_closes_lets_its_streams_end() {
    run(async {
        let (near, far) = duplex(1024);
        let served = serve(Server::new(far, Settings::default()), echo);
        let (sender, client) = connect(near, Settings::default());
        let driven = spawn_local(client);
        let (response, mut send) = sender.send(post("/"), false).unwrap();
        sender.close();
        assert!(sender.is_closed() && sender.send(get("/"), true).is_err());
        send.send(bytes(5000), true).unwrap();
        assert_eq!(collect(response.await.unwrap().into_body()).await.unwrap().0.len(), 5000);
        driven.await.unwrap().unwrap();
        served.await.unwrap().unwrap();
    });
}

#[test]
fn a_stream_does_not_hold_up_the_others() {
    run(async {
        let (near, far) = duplex(16 * 1024);
        let served = serve(Server::new(far, Settings::default()), echo);
        let sender = drive(
            near,
            Settings { stream_window: 1 << 20, connection_window: 1 << 20, ..Settings::default() },
        );
        // A large body that is not read, and small ones beside it.
        let (response, mut send) = sender.send(post("/"), false).unwrap();
        send.send(bytes(600_000), true).unwrap();
        let body = response.await.unwrap().into_body();
        // Together they are more than what it leaves of the connection's window.
        join_all((0..20).map(|number| exchange(sender.clone(), 30_000 + number))).await;
        assert_eq!(collect(body).await.unwrap().0.len(), 600_000);
        drop((send, sender));
        served.await.unwrap().unwrap();
    });
}

#[test]
fn many_streams_share_a_small_window() {
    run(async {
        let (near, far) = duplex(16 * 1024);
        let served = serve(Server::new(far, settings(1 << 20)), echo);
        let sender = drive(near, settings(1 << 20));
        // More than are woken at once, and each more than a part of the connection's window.
        join_all((0..90).map(|number| exchange(sender.clone(), 5_000 + number))).await;
        drop(sender);
        served.await.unwrap().unwrap();
    });
}

#[test]
fn the_place_of_a_stream_that_broke_off_while_it_waited_is_not_that_of_the_next() {
    run(async {
        let (near, far) = duplex(1024);
        let served = serve(Server::new(far, Settings::default()), echo);
        let sender = drive(near, Settings::default());
        for round in 0..20 {
            // Far more than the connection's window: some have their turn, and some wait for it.
            let asked: Vec<_> = (0..30).map(|_| sender.send(post("/"), false).unwrap()).collect();
            let mut sends: Vec<_> = asked
                .into_iter()
                .map(|(response, mut send)| {
                    if round % 2 == 0 {
                        send.send(bytes(20_000), false).unwrap();
                    }
                    (response, send)
                })
                .collect();
            poll_fn(|cx| {
                for (_, send) in &mut sends {
                    assert!(send.poll_capacity(cx).is_pending() || round % 2 == 1);
                }
                std::task::Poll::Ready(())
            })
            .await;
            if round % 3 == 0 {
                settle().await;
            }
            drop(sends);
            exchange(sender.clone(), 70_000).await;
        }
        drop(sender);
        served.await.unwrap().unwrap();
    });
}
