//! Our server, and `h2` as the client.

use super::{bytes, collect, echo, run, serve, settings, trailers};
use crate::{Code, Error, Server, Settings};
use bytes::Bytes;
use futures::future::join_all;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use std::future::poll_fn;
use tokio::io::{DuplexStream, duplex};
use tokio::task::{JoinHandle, spawn_local, yield_now};

async fn client(io: DuplexStream, builder: &mut Builder) -> SendRequest<Bytes> {
    let (sender, connection) = builder.handshake(io).await.unwrap();
    spawn_local(async move {
        let _ = connection.await;
    });
    sender
}

fn request(method: Method) -> Request<()> {
    Request::builder().method(method).uri("https://example.com/a?b").body(()).unwrap()
}

async fn send(stream: &mut SendStream<Bytes>, mut data: Bytes, end: bool) {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let capacity = poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
        let piece = data.split_to(capacity.min(data.len()));
        stream.send_data(piece, data.is_empty() && end).unwrap();
    }
}

async fn read(mut body: RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        all.extend_from_slice(&data);
        body.flow_control().release_capacity(data.len())?;
    }
    Ok((all, body.trailers().await?))
}

async fn exchange(sender: SendRequest<Bytes>, len: usize) {
    let (response, mut stream) =
        sender.ready().await.unwrap().send_request(request(Method::POST), false).unwrap();
    let sent = async {
        send(&mut stream, bytes(len), false).await;
        stream.send_trailers(trailers()).unwrap();
    };
    let received = async { read(response.await.unwrap().into_body()).await.unwrap() };
    let ((), (data, came)) = tokio::join!(sent, received);
    assert!(data == bytes(len));
    assert_eq!(came, Some(trailers()));
}

fn start(settings: Settings) -> (DuplexStream, JoinHandle<Result<(), Error>>) {
    let (near, far) = duplex(16 * 1024);
    (near, serve(Server::new(far, settings), echo))
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
            let (io, served) = start(settings(ours));
            let sender = client(io, Builder::new().initial_window_size(theirs)).await;
            join_all((0..20).map(|number| exchange(sender.clone(), len + number))).await;
            drop(sender);
            served.await.unwrap().unwrap();
        });
    }
}

#[test]
fn large_headers_take_further_frames_and_too_large_ones_are_answered() {
    run(async {
        let (near, far) = duplex(16 * 1024);
        let served = serve(Server::new(far, Settings::default()), |request, respond| async move {
            assert_eq!(request.uri(), "https://example.com/a?b");
            let mut response = Response::new(());
            *response.headers_mut() = request.headers().clone();
            respond.respond(response, true).unwrap();
        });
        let mut sender = client(near, &mut Builder::new()).await;
        let mut asked = request(Method::GET);
        for number in 0..10 {
            asked.headers_mut().append("x-large", format!("{number}{}", "~".repeat(5000)).parse().unwrap());
        }
        let expected = asked.headers().clone();
        let (response, _) = sender.send_request(asked.clone(), true).unwrap();
        assert_eq!(*response.await.unwrap().headers(), expected);
        // h2 keeps to what it was told, unless it has not heard it.
        asked.headers_mut().append("x-larger", "~".repeat(20_000).parse().unwrap());
        let (response, _) = sender.send_request(asked, true).unwrap();
        assert_eq!(response.await.unwrap().status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        let (response, _) = sender.send_request(request(Method::GET), true).unwrap();
        assert_eq!(response.await.unwrap().status(), StatusCode::OK);
        drop(sender);
        served.await.unwrap().unwrap();
    });
}

#[test]
fn resets_reach_the_other_side() {
    run(async {
        let (near, far) = duplex(16 * 1024);
        let served = serve(Server::new(far, Settings::default()), |request, mut respond| async move {
            match request.uri().path() {
                "/refuse" => respond.reset(Code::REFUSED_STREAM),
                "/drop" => drop(respond),
                "/wait" => {
                    let error = poll_fn(|cx| respond.poll_reset(cx)).await;
                    assert_eq!((error.reason(), error.is_remote()), (Some(Code::CANCEL), true));
                    assert!(respond.respond(Response::new(()), true).is_err());
                    assert!(collect(request.into_body()).await.unwrap_err().is_reset());
                }
                _ => {
                    // Answered before the request has ended, of which the rest is not wanted.
                    drop(request);
                    respond.respond(Response::new(()), true).unwrap();
                }
            }
        });
        let mut sender = client(near, &mut Builder::new()).await;
        let mut ask = |path: &str| -> (ResponseFuture, SendStream<Bytes>) {
            let request = Request::post(format!("https://example.com{path}")).body(()).unwrap();
            sender.send_request(request, false).unwrap()
        };
        let (response, first) = ask("/refuse");
        assert_eq!(response.await.unwrap_err().reason(), Some(h2::Reason::REFUSED_STREAM));
        let (response, second) = ask("/drop");
        assert_eq!(response.await.unwrap_err().reason(), Some(h2::Reason::INTERNAL_ERROR));
        let (waiting, mut third) = ask("/wait");
        for _ in 0..20 {
            yield_now().await;
        }
        third.send_reset(h2::Reason::CANCEL);
        let (response, mut stream) = ask("/early");
        assert_eq!(response.await.unwrap().status(), StatusCode::OK);
        let reset = poll_fn(|cx| stream.poll_reset(cx)).await;
        assert_eq!(reset.unwrap(), h2::Reason::NO_ERROR);
        drop((first, second, waiting, third, stream, sender));
        served.await.unwrap().unwrap();
    });
}

#[test]
fn streams_beyond_the_limit_are_refused_and_connect_carries_bytes() {
    run(async {
        let settings = Settings { max_streams: 1, connect_protocol: true, ..Settings::default() };
        let (io, served) = start(settings);
        let mut sender = client(io, &mut Builder::new()).await;
        let mut asked =
            Request::builder().method(Method::CONNECT).uri("https://example.com/chat").body(()).unwrap();
        for _ in 0..20 {
            yield_now().await;
        }
        assert!(sender.is_extended_connect_protocol_enabled());
        asked.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        let (response, mut first) = sender.send_request(asked, false).unwrap();
        let mut body = response.await.unwrap().into_body();
        for word in ["one", "two"] {
            first.send_data(word.into(), false).unwrap();
            assert_eq!(body.data().await.unwrap().unwrap(), word);
        }
        first.send_data(Bytes::new(), true).unwrap();
        // The end has a frame of its own.
        assert!(body.data().await.unwrap().unwrap().is_empty());
        let plain = Request::builder().method(Method::CONNECT).uri("example.com:443").body(()).unwrap();
        let mut sender = sender.ready().await.unwrap();
        let (response, mut stream) = sender.send_request(plain, false).unwrap();
        stream.send_data("bytes".into(), true).unwrap();
        assert_eq!(read(response.await.unwrap().into_body()).await.unwrap().0, b"bytes");
        drop((first, stream, body, sender));
        served.await.unwrap().unwrap();
    });
}

#[test]
fn a_graceful_shutdown_lets_streams_end() {
    run(async {
        let (near, far) = duplex(16 * 1024);
        let mut server = Server::new(far, Settings::default());
        let served = spawn_local(async move {
            let (request, respond) = server.accept().await.unwrap().unwrap();
            server.graceful_shutdown();
            let answered = spawn_local(echo(request, respond));
            assert!(server.accept().await.is_none());
            answered.await.unwrap();
        });
        let mut sender = client(near, &mut Builder::new()).await;
        let (response, mut stream) = sender.send_request(request(Method::POST), false).unwrap();
        let response = response.await.unwrap();
        while poll_fn(|cx| std::task::Poll::Ready(sender.poll_ready(cx))).await.is_ready_ok() {
            yield_now().await;
        }
        stream.send_data("late".into(), true).unwrap();
        assert_eq!(read(response.into_body()).await.unwrap().0, b"late");
        served.await.unwrap();
    });
}

trait IsReadyOk {
    fn is_ready_ok(&self) -> bool;
}

impl IsReadyOk for std::task::Poll<Result<(), h2::Error>> {
    fn is_ready_ok(&self) -> bool {
        matches!(self, Self::Ready(Ok(())))
    }
}
