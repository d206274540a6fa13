//! Messages that came whole on streams which break off then.

use super::raw::{self, frame, headers, hello};
use super::{bytes, collect, drive, post, run, serve, settle, trailers};
use crate::frame::{flag, kind};
use crate::{Code, Server, Settings, connect};
use http::Response;
use std::future::poll_fn;
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::spawn_local;

/// Answers every request without reading it, and with trailers where the path says so.
fn early(far: DuplexStream) {
    serve(Server::new(far, Settings::default()), |request, respond| async move {
        let with_trailers = request.uri().path() == "/trailers";
        drop(request);
        let mut send = respond.respond(Response::new(()), false).unwrap();
        send.send(bytes(60_000), !with_trailers).unwrap();
        if with_trailers {
            send.trailers(trailers()).unwrap();
        }
        poll_fn(|cx| send.poll_reset(cx)).await;
    });
}

#[test]
fn an_answer_that_came_whole_is_read_whole_though_the_rest_of_the_request_was_refused() {
    run(async {
        let (near, far) = duplex(16 * 1024);
        early(far);
        let sender = drive(near, Settings::default());
        for (path, expected) in [("/", None), ("/trailers", Some(trailers()))] {
            let (response, mut send) = sender.send(post(path), false).unwrap();
            assert_eq!(poll_fn(|cx| send.poll_reset(cx)).await.reason(), Some(Code::NO_ERROR));
            drop(send);
            let body = response.await.unwrap().into_body();
            assert_eq!(collect(body).await.unwrap(), (bytes(60_000).to_vec(), expected));
        }
    });
}

#[test]
fn an_answer_that_came_whole_gives_its_window_back_read_or_not() {
    run(async {
        let (near, far) = duplex(16 * 1024);
        early(far);
        let sender = drive(near, Settings::default());
        // Each is nearly all of the connection's window.
        for number in 0..10 {
            let (response, mut send) = sender.send(post("/"), false).unwrap();
            poll_fn(|cx| send.poll_reset(cx)).await;
            drop(send);
            let body = response.await.unwrap().into_body();
            if number % 2 == 0 {
                collect(body).await.unwrap();
            }
        }
    });
}

#[test]
fn an_answer_that_came_whole_is_read_whole_though_we_gave_up_the_request() {
    run(async {
        let (near, mut far) = duplex(16 * 1024);
        let sender = drive(near, Settings::default());
        let (response, mut send) = sender.send(post("/"), false).unwrap();
        far.write_all(&answer()).await.unwrap();
        let body = response.await.unwrap().into_body();
        settle().await;
        send.reset(Code::CANCEL);
        assert_eq!(collect(body).await.unwrap().0, b"whole");
        drop((sender, far));
    });
}

#[test]
fn an_answer_that_came_whole_is_read_whole_though_the_connection_ended_with_it() {
    run(async {
        let (near, mut far) = duplex(16 * 1024);
        let (sender, client) = connect(near, Settings::default());
        let driven = spawn_local(client);
        let (response, send) = sender.send(post("/"), false).unwrap();
        far.write_all(&answer()).await.unwrap();
        settle().await;
        drop(far);
        driven.await.unwrap().unwrap_err();
        drop(send);
        assert_eq!(collect(response.await.unwrap().into_body()).await.unwrap().0, b"whole");
    });
}

/// What a server says that answers the first request.
fn answer() -> Vec<u8> {
    let settings = frame(kind::SETTINGS, 0, 0, &[]);
    let head = headers(1, false, &[(":status", "200")]);
    [settings, head, frame(kind::DATA, flag::END_STREAM, 1, b"whole")].concat()
}

#[test]
fn a_request_that_came_whole_is_read_whole_though_the_client_gave_it_up() {
    run(async {
        let (mut near, far) = duplex(16 * 1024);
        let mut server = Server::new(far, Settings::default());
        let data = frame(kind::DATA, flag::END_STREAM, 1, b"whole");
        near.write_all(&[hello(), raw::get(1, false), data].concat()).await.unwrap();
        let (request, mut respond) = server.accept().await.unwrap().unwrap();
        near.write_all(&frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8])).await.unwrap();
        let served = spawn_local(async move { server.accept().await.is_none() });
        poll_fn(|cx| respond.poll_reset(cx)).await;
        drop(respond);
        assert_eq!(collect(request.into_body()).await.unwrap().0, b"whole");
        drop(near);
        assert!(served.await.unwrap());
    });
}
