//! Our client, and `h2` as the server.

use super::{bytes, collect, get, post, run, settings, trailers};
use crate::{Code, Error, Sender, Settings, connect};
use bytes::Bytes;
use futures::future::join_all;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::{Method, Request, Response};
use std::future::{Future, poll_fn};
use tokio::io::duplex;
use tokio::task::{JoinHandle, spawn_local, yield_now};

type Driven = JoinHandle<Result<(), Error>>;

/// A client of ours, and a server of `h2` that answers each request by a task.
fn start<F>(
    settings: Settings,
    builder: &Builder,
    answer: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + 'static,
) -> (Sender, Driven)
where
    F: Future<Output = ()> + 'static,
{
    let (near, far) = duplex(16 * 1024);
    let builder = builder.clone();
    spawn_local(async move {
        let mut server = builder.handshake::<_, Bytes>(far).await.unwrap();
        while let Some(Ok((request, respond))) = server.accept().await {
            if request.uri().path() == "/last" {
                server.graceful_shutdown();
            }
            if request.uri().path() == "/abort" {
                server.abrupt_shutdown(Reason::INTERNAL_ERROR);
            }
            spawn_local(answer(request, respond));
        }
    });
    let (sender, connection) = connect(near, settings);
    (sender, spawn_local(connection))
}

async fn echo(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let mut body = request.into_body();
    if body.is_end_stream() {
        let _ = respond.send_response(Response::new(()), true);
        return;
    }
    let Ok(mut stream) = respond.send_response(Response::new(()), false) else { return };
    while let Some(Ok(mut data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).unwrap();
        while !data.is_empty() {
            stream.reserve_capacity(data.len());
            let Some(Ok(capacity)) = poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
            stream.send_data(data.split_to(capacity.min(data.len())), false).unwrap();
        }
    }
    match body.trailers().await {
        Ok(Some(trailers)) => stream.send_trailers(trailers).unwrap(),
        Ok(None) => stream.send_data(Bytes::new(), true).unwrap(),
        Err(_) => {}
    }
}

async fn exchange(sender: Sender, len: usize) {
    let (response, mut send) = sender.send(post("/"), false).unwrap();
    let sent = async {
        let mut data = bytes(len);
        while !data.is_empty() {
            let capacity = poll_fn(|cx| send.poll_capacity(cx)).await.unwrap();
            // More than there is room for is taken too.
            send.send(data.split_to((capacity + 3).min(data.len())), false).unwrap();
        }
        send.trailers(trailers()).unwrap();
    };
    let received = async { collect(response.await.unwrap().into_body()).await.unwrap() };
    let ((), (data, came)) = tokio::join!(sent, received);
    assert!(data == bytes(len));
    assert_eq!(came, Some(trailers()));
}

#[test]
fn bodies_and_trailers_go_both_ways_with_any_window() {
    for (ours, theirs, len) in [
        (1, 1, 100),
        (7, 100_000, 3_000),
        (65_535, 13, 3_000),
        (1 << 20, 1 << 20, 300_000),
        (65_535, 65_535, 70_000),
    ] {
        run(async {
            let builder = Builder::new().initial_window_size(theirs).clone();
            let (sender, driven) = start(settings(ours), &builder, echo);
            join_all((0..20).map(|number| exchange(sender.clone(), len + number))).await;
            drop(sender);
            driven.await.unwrap().unwrap();
        });
    }
}

#[test]
fn requests_wait_for_the_streams_that_the_server_allows() {
    run(async {
        let builder = Builder::new().max_concurrent_streams(2).clone();
        let (sender, driven) = start(Settings::default(), &builder, echo);
        sender.send(get("/"), true).unwrap().0.await.unwrap();
        assert_eq!(sender.max_streams(), 2);
        let asked: Vec<_> = (0..10).map(|_| sender.send(post("/"), false).unwrap()).collect();
        assert_eq!(sender.streams(), 10);
        // Two that wait are given up before they have begun.
        let mut asked: Vec<_> = asked.into_iter().enumerate().filter(|(at, _)| at % 4 != 3).collect();
        assert_eq!(sender.streams(), 8);
        for (_, (_, send)) in &mut asked {
            send.send(bytes(5), true).unwrap();
        }
        for (_, (response, _)) in asked {
            assert_eq!(collect(response.await.unwrap().into_body()).await.unwrap().0, bytes(5));
        }
        assert_eq!(sender.streams(), 0);
        drop(sender);
        driven.await.unwrap().unwrap();
    });
}

#[test]
fn large_headers_take_further_frames() {
    run(async {
        let (sender, driven) =
            start(Settings::default(), &Builder::new(), |request, mut respond| async move {
                let mut response = Response::new(());
                *response.headers_mut() = request.headers().clone();
                respond.send_response(response, true).unwrap();
            });
        for _ in 0..3 {
            let mut asked = get("/");
            for number in 0..10 {
                asked
                    .headers_mut()
                    .append("x-large", format!("{number}{}", "~".repeat(5000)).parse().unwrap());
            }
            let expected = asked.headers().clone();
            assert_eq!(*sender.send(asked, true).unwrap().0.await.unwrap().headers(), expected);
        }
        drop(sender);
        driven.await.unwrap().unwrap();
    });
}

#[test]
fn resets_reach_the_other_side() {
    run(async {
        let (sender, driven) =
            start(Settings::default(), &Builder::new(), |request, mut respond| async move {
                match request.uri().path() {
                    "/refuse" => respond.send_reset(Reason::REFUSED_STREAM),
                    "/half" => {
                        let mut stream = respond.send_response(Response::new(()), false).unwrap();
                        stream.send_data("half".into(), false).unwrap();
                        for _ in 0..20 {
                            yield_now().await;
                        }
                        stream.send_reset(Reason::INTERNAL_ERROR);
                    }
                    _ => {
                        let reset = poll_fn(|cx| respond.poll_reset(cx)).await;
                        assert_eq!(reset.unwrap(), Reason::CANCEL);
                    }
                }
            });
        let error = sender.send(get("/refuse"), true).unwrap().0.await.unwrap_err();
        assert!(error.is_unprocessed() && error.is_remote() && error.is_reset());
        let mut body = sender.send(get("/half"), true).unwrap().0.await.unwrap().into_body();
        let data = poll_fn(|cx| body.poll_frame(cx)).await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(data, "half");
        let error = poll_fn(|cx| body.poll_frame(cx)).await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(Code::INTERNAL_ERROR));
        // Given up: by the one handle, and by the other.
        drop(sender.send(post("/wait"), false).unwrap());
        let (response, send) = sender.send(post("/wait"), false).unwrap();
        drop(send);
        assert_eq!(response.await.unwrap_err().reason(), Some(Code::CANCEL));
        let (response, mut send) = sender.send(post("/wait"), false).unwrap();
        for _ in 0..20 {
            yield_now().await;
        }
        drop(response);
        assert!(send.send(bytes(1), false).unwrap_err().is_reset());
        drop((send, sender));
        driven.await.unwrap().unwrap();
    });
}

#[test]
fn a_server_that_goes_away_ends_what_it_has_begun() {
    run(async {
        let (sender, driven) = start(Settings::default(), &Builder::new(), echo);
        let (response, mut send) = sender.send(post("/last"), false).unwrap();
        let response = response.await.unwrap();
        while !sender.is_closed() {
            yield_now().await;
        }
        let unsent = sender.send(get("/"), true).unwrap_err();
        assert!(unsent.error.is_unprocessed());
        assert_eq!(unsent.request.uri().path(), "/");
        send.send(bytes(10), true).unwrap();
        assert_eq!(collect(response.into_body()).await.unwrap().0, bytes(10));
        driven.await.unwrap().unwrap();

        let (sender, driven) = start(Settings::default(), &Builder::new(), echo);
        let (response, _send) = sender.send(post("/abort"), false).unwrap();
        let error = response.await.unwrap_err();
        assert_eq!((error.reason(), error.is_go_away()), (Some(Code::INTERNAL_ERROR), true));
        assert!(driven.await.unwrap().unwrap_err().is_remote());
    });
}

#[test]
fn requests_without_a_stream_are_given_back() {
    run(async {
        let builder = Builder::new().max_concurrent_streams(1).clone();
        let (sender, _driven) = start(Settings::default(), &builder, echo);
        sender.send(get("/"), true).unwrap().0.await.unwrap();
        let (first, _send) = sender.send(post("/last"), false).unwrap();
        let mut asked = get("/second");
        asked.extensions_mut().insert(5u8);
        let (mut second, _) = sender.send(asked, true).unwrap();
        assert!(second.take_unsent().is_none());
        first.await.unwrap();
        assert!((&mut second).await.unwrap_err().is_unprocessed());
        let unsent = second.take_unsent().unwrap();
        assert_eq!((unsent.uri().path(), unsent.extensions().get()), ("/second", Some(&5u8)));
    });
}

#[test]
fn connect_carries_bytes() {
    run(async {
        let (sender, driven) = start(Settings::default(), &Builder::new(), |request, respond| async move {
            assert_eq!((request.method(), request.uri().path()), (&Method::CONNECT, ""));
            echo(request, respond).await;
        });
        let asked = Request::builder().method(Method::CONNECT).uri("example.com:443").body(()).unwrap();
        let (response, mut send) = sender.send(asked, false).unwrap();
        let mut body = response.await.unwrap().into_body();
        for word in ["one", "two"] {
            send.send(word.into(), false).unwrap();
            let data = poll_fn(|cx| body.poll_frame(cx)).await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(data, word);
        }
        send.send(Bytes::new(), true).unwrap();
        assert!(poll_fn(|cx| body.poll_frame(cx)).await.is_none());
        drop((sender, send, body));
        driven.await.unwrap().unwrap();
    });
}
