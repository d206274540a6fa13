//! HTTP/2 and gRPC: resets, GOAWAY, flow control, floods, streams in all shapes.

use super::pair;
use crate::app;
use crate::destinations::{endpoint, service};
use crate::harness::{LIMIT, Mesh, Proxy};
use crate::outbound::{VIRTUAL, WEB, client};
use crate::peers::{self, GET, frame, preface};
use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

async fn h2_client(io: TcpStream) -> SendRequest<Bytes> {
    let (sender, connection) = h2::client::handshake(io).await.unwrap();
    tokio::spawn(connection);
    sender.ready().await.unwrap()
}

fn post() -> Request<()> {
    let request = Request::post("http://web.shop/p.S/M").header("content-type", "application/grpc");
    request.header("te", "trailers").header("grpc-timeout", "5S").body(()).unwrap()
}

/// Resets every stream with this code, after the head of a response and some data if `late`.
async fn resetting(code: Reason, late: bool) -> SocketAddr {
    peers::http2(move |request, mut respond: SendResponse<Bytes>| async move {
        drop(request);
        if !late {
            return respond.send_reset(code);
        }
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        stream.send_data(Bytes::from_static(b"some"), false).unwrap();
        // The data goes out before the reset that would discard it.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        stream.send_reset(code);
    })
    .await
}

#[tokio::test]
async fn a_reset_in_place_of_an_answer_reaches_the_client_with_its_code() {
    for code in [Reason::CANCEL, Reason::ENHANCE_YOUR_CALM, Reason::REFUSED_STREAM] {
        let (client, _server) = pair(resetting(code, false).await).await;
        let mut sender = h2_client(client.out().await).await;
        let (response, _) = sender.send_request(post(), true).unwrap();
        let error = tokio::time::timeout(LIMIT, response).await.unwrap().unwrap_err();
        assert_eq!((error.is_reset(), error.reason()), (true, Some(code)));
    }
}

#[tokio::test]
async fn a_reset_in_the_middle_of_an_answer_reaches_the_client_with_its_code() {
    let (client, _server) = pair(resetting(Reason::ENHANCE_YOUR_CALM, true).await).await;
    let mut sender = h2_client(client.out().await).await;
    let (response, _) = sender.send_request(post(), true).unwrap();
    let mut body = tokio::time::timeout(LIMIT, response).await.unwrap().unwrap().into_body();
    let read = async {
        loop {
            match body.data().await {
                Some(Ok(data)) => assert_eq!(&data[..], b"some"),
                Some(Err(error)) => return error,
                None => panic!("the body ended well"),
            }
        }
    };
    let error = tokio::time::timeout(LIMIT, read).await.unwrap();
    assert_eq!((error.is_reset(), error.reason()), (true, Some(Reason::ENHANCE_YOUR_CALM)));
}

#[tokio::test]
async fn a_client_that_gives_up_reaches_the_application() {
    let (started, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, ended) = (Arc::clone(&started), Arc::clone(&gone));
    let app = peers::http2(move |request, mut respond: SendResponse<Bytes>| {
        let (told, ended) = (Arc::clone(&told), Arc::clone(&ended));
        async move {
            told.notify_one();
            let reason = poll_fn(|cx| respond.poll_reset(cx)).await.unwrap();
            assert_eq!(reason, Reason::CANCEL);
            drop(request);
            ended.notify_one();
        }
    })
    .await;
    let (client, _server) = pair(app).await;
    let mut sender = h2_client(client.out().await).await;
    let (response, mut stream) = sender.send_request(post(), false).unwrap();
    tokio::time::timeout(LIMIT, started.notified()).await.unwrap();
    stream.send_reset(Reason::CANCEL);
    drop(response);
    tokio::time::timeout(LIMIT, gone.notified()).await.expect("the application is not told");
}

#[tokio::test]
async fn a_client_that_expects_to_continue_is_told_to() {
    let (client, _server) = pair(app::http().await).await;
    let mut sender = h2_client(client.out().await).await;
    let request = Request::post("http://web.shop/echo").header("expect", "100-continue").body(()).unwrap();
    let (mut response, mut stream) = sender.send_request(request, false).unwrap();
    let told = poll_fn(|cx| response.poll_informational(cx));
    let told = tokio::time::timeout(LIMIT, told).await.unwrap().unwrap().unwrap();
    assert_eq!(told.status(), 100);
    stream.send_data(Bytes::from_static(b"hello"), true).unwrap();
    let response = tokio::time::timeout(LIMIT, response).await.unwrap().unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.into_body().data().await.unwrap().unwrap(), "hello");
}

/// Takes one connection and no other. Answers a request for `/` at once, any other never.
async fn taking_one_connection() -> SocketAddr {
    let (listener, addr) = app::bind().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        drop(listener);
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let mut unanswered = Vec::new();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            if request.uri().path() == "/" {
                respond.send_response(Response::new(()), true).unwrap();
            } else {
                unanswered.push((request, respond));
            }
        }
    });
    addr
}

#[tokio::test]
async fn an_endpoint_that_takes_no_further_connection_serves_on_the_one_it_has() {
    let mesh = Mesh::new().await;
    mesh.destinations.set_policy(VIRTUAL, service(WEB)).await;
    mesh.destinations.set_endpoints(WEB, vec![endpoint(taking_one_connection().await)]).await;
    let client = client(&mesh).await;
    let mut sender = h2_client(client.out().await).await;
    let get = |path| Request::get(format!("http://catalog{path}")).body(()).unwrap();
    // So many streams that another connection would be opened.
    let unanswered: Vec<_> = (0..80).map(|_| sender.send_request(get("/never"), true).unwrap()).collect();
    for _ in 0..50 {
        let (response, _) = sender.send_request(get("/"), true).unwrap();
        let response = tokio::time::timeout(LIMIT, response).await.unwrap().unwrap();
        assert_eq!(response.status(), 200);
    }
    drop(unanswered);
}

/// Sends every piece of a request's body back as it comes, and ends with a gRPC status.
async fn grpc() -> SocketAddr {
    peers::http2(|request, mut respond: SendResponse<Bytes>| async move {
        let timeout = request.headers()["grpc-timeout"].clone();
        let (head, mut body) = request.into_parts();
        let mut response = Response::new(());
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        response.headers_mut().insert("x-timeout", timeout);
        if head.uri.path().ends_with("/Missing") {
            response.headers_mut().insert("grpc-status", HeaderValue::from_static("5"));
            respond.send_response(response, true).unwrap();
            return;
        }
        let mut stream = respond.send_response(response, false).unwrap();
        while let Some(Ok(data)) = body.data().await {
            body.flow_control().release_capacity(data.len()).unwrap();
            stream.send_data(data, false).unwrap();
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("8"));
        trailers.insert("grpc-message", HeaderValue::from_static("enough"));
        stream.send_trailers(trailers).unwrap();
    })
    .await
}

#[tokio::test]
async fn grpc_streams_both_ways_at_once_and_ends_with_its_status() {
    let (client, server) = pair(grpc().await).await;
    let mut sender = h2_client(client.out().await).await;
    let (response, mut stream) = sender.send_request(post(), false).unwrap();
    let mut body = None;
    let mut response = Some(response);
    for n in 0..3u8 {
        stream.send_data(Bytes::from(vec![n; 5]), false).unwrap();
        if let Some(response) = response.take() {
            let response = tokio::time::timeout(LIMIT, response).await.unwrap().unwrap();
            assert_eq!(response.headers()["x-timeout"], "5S", "deadlines are the application's");
            body = Some(response.into_body());
        }
        // Each message comes back before the next is sent.
        let back = tokio::time::timeout(LIMIT, body.as_mut().unwrap().data()).await.unwrap();
        assert_eq!(back.unwrap().unwrap(), vec![n; 5]);
    }
    stream.send_data(Bytes::new(), true).unwrap();
    let mut body = body.unwrap();
    assert!(body.data().await.is_none());
    let trailers = body.trailers().await.unwrap().unwrap();
    assert_eq!(
        (&trailers["grpc-status"], &trailers["grpc-message"]),
        (&"8".parse().unwrap(), &"enough".parse().unwrap())
    );
    for proxy in [&client, &server] {
        proxy.until_metric("response_total", &["grpc_status=\"8\""]).await;
    }
}

#[tokio::test]
async fn a_grpc_status_in_the_head_is_the_status() {
    let (client, server) = pair(grpc().await).await;
    let mut sender = h2_client(client.out().await).await;
    let mut request = post();
    *request.uri_mut() = "http://web.shop/p.S/Missing".parse().unwrap();
    let (response, _) = sender.send_request(request, true).unwrap();
    let response = tokio::time::timeout(LIMIT, response).await.unwrap().unwrap();
    assert_eq!(response.headers()["grpc-status"], "5");
    assert!(response.into_body().is_end_stream());
    for proxy in [&client, &server] {
        proxy.until_metric("response_total", &["grpc_status=\"5\""]).await;
    }
}

#[tokio::test]
async fn bodies_wait_for_whoever_reads_slowly() {
    const SIZE: usize = 8 << 20;
    let app = peers::http2(|request, mut respond: SendResponse<Bytes>| async move {
        drop(request);
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        let mut left = SIZE;
        while left > 0 {
            stream.reserve_capacity(left.min(16 * 1024));
            let Some(Ok(room)) = poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
            stream.send_data(Bytes::from(vec![7; room.min(left)]), room >= left).unwrap();
            left -= room.min(left);
        }
    })
    .await;
    let (client, server) = pair(app).await;
    let mut sender = h2_client(client.out().await).await;
    let (response, _) = sender.send_request(post(), true).unwrap();
    let mut body = tokio::time::timeout(LIMIT, response).await.unwrap().unwrap().into_body();
    // Nothing is read for a while: what is under way is bounded by windows, and most of it is still with the application.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let (_, metrics) = server.admin("/metrics").await;
    let read = metrics.lines().find(|l| l.starts_with("tcp_read_bytes_total") && l.contains("peer=\"dst\""));
    if let Some(read) = read {
        assert!(read.rsplit(' ').next().unwrap().parse::<usize>().unwrap() < SIZE, "{read}");
    }
    let mut got = 0;
    while let Some(data) = tokio::time::timeout(LIMIT, body.data()).await.unwrap() {
        let data = data.unwrap();
        got += data.len();
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    assert_eq!(got, SIZE);
}

#[tokio::test]
async fn a_proxy_that_drains_says_goaway_and_finishes_what_it_has() {
    let go_on = Arc::new(Notify::new());
    let wait = Arc::clone(&go_on);
    let app = peers::http2(move |request, mut respond: SendResponse<Bytes>| {
        let wait = Arc::clone(&wait);
        async move {
            drop(request);
            wait.notified().await;
            respond.send_response(Response::new(()), true).unwrap();
        }
    })
    .await;
    let proxy = Proxy::start(app, &[]).await;
    let (mut sender, connection) = h2::client::handshake(proxy.plain().await).await.unwrap();
    let connection = tokio::spawn(connection);
    let (response, _) = sender.send_request(post(), true).unwrap();
    proxy.until_metric("request_total", &["direction=\"inbound\""]).await;
    proxy.begin_stop();
    proxy.until("unready", || async { proxy.admin("/ready").await.0 != 200 }).await;
    // The client may still be handed streams until it has read GOAWAY.
    let refused = async {
        while let Ok(ready) = sender.ready().await {
            sender = ready;
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), refused).await;
    go_on.notify_one();
    let response = tokio::time::timeout(LIMIT, response).await.unwrap().unwrap();
    assert_eq!(response.status(), 200);
    tokio::time::timeout(LIMIT, connection).await.unwrap().unwrap().unwrap();
    proxy.stopped().await.unwrap();
}

#[tokio::test]
async fn empty_frames_of_several_clients_do_not_end_a_connection_they_share() {
    let (proxy, _server) = pair(app::http().await).await;
    for _ in 0..3 {
        let mut sender = h2_client(proxy.out().await).await;
        for _ in 0..60 {
            sender = sender.ready().await.unwrap();
            let (response, mut body) = sender.send_request(post(), false).unwrap();
            body.send_data(Bytes::new(), false).unwrap();
            body.send_data(Bytes::from_static(b"some"), true).unwrap();
            assert_eq!(response.await.unwrap().status(), 200);
        }
    }
}

#[tokio::test]
async fn http2_connect_makes_a_tunnel() {
    let (client, _server) = pair(app::http().await).await;
    let mut sender = h2_client(client.out().await).await;
    let request = Request::connect("web.shop:80").body(()).unwrap();
    let (response, mut stream) = sender.send_request(request, false).unwrap();
    let response = tokio::time::timeout(LIMIT, response).await.unwrap().unwrap();
    assert_eq!(response.status(), 200);
    stream.send_data(Bytes::from_static(b"ping"), false).unwrap();
    let mut body = response.into_body();
    assert_eq!(tokio::time::timeout(LIMIT, body.data()).await.unwrap().unwrap().unwrap(), "ping");
}

#[tokio::test]
async fn pushes_are_refused_before_they_are_made() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap(), &[]).await;
    let mut sender = h2_client(proxy.plain().await).await;
    let _pending = sender.send_request(post(), true).unwrap();
    let (mut stream, _) = tokio::time::timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    let mut start = [0; 24 + 9];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(start[24 + 3], 4, "a client begins with settings");
    let mut settings = vec![0; usize::from(start[24 + 2])];
    stream.read_exact(&mut settings).await.unwrap();
    // SETTINGS_ENABLE_PUSH = 0 (RFC 9113, 6.5.2).
    assert!(settings.chunks(6).any(|setting| setting == [0, 2, 0, 0, 0, 0]), "{settings:?}");
}

/// Sends raw bytes after the preface until the proxy closes the connection; its last words.
async fn flood(proxy: &Proxy, bytes: Vec<u8>) -> Vec<u8> {
    let stream = proxy.plain().await;
    let (mut read, mut write) = stream.into_split();
    let writing = tokio::spawn(async move {
        write.write_all(&preface()).await?;
        write.write_all(&bytes).await?;
        std::io::Result::Ok(write)
    });
    let mut said = Vec::new();
    let mut buf = vec![0; 64 * 1024];
    let reading = async {
        while let Ok(n @ 1..) = read.read(&mut buf).await {
            said.extend_from_slice(&buf[..n]);
        }
    };
    tokio::time::timeout(LIMIT, reading).await.expect("the connection stays open");
    writing.abort();
    said
}

#[tokio::test]
async fn floods_end_the_connection_and_are_counted() {
    let proxy = Proxy::start(app::http().await, &[]).await;
    let rapid_resets = (0..3000u32).flat_map(|n| {
        let stream = 2 * n + 1;
        [frame(1, 5, stream, GET), frame(3, 0, stream, &8u32.to_be_bytes())].concat()
    });
    let pings = (0..20_000).flat_map(|_| frame(6, 0, 0, &[0; 8]));
    let settings = (0..500).flat_map(|_| frame(4, 0, 0, &[]));
    let priorities = (0..40_000).flat_map(|_| frame(2, 0, 1, &[0, 0, 0, 0, 1]));
    let continuations =
        [frame(1, 1, 1, GET)].into_iter().chain((0..2000).map(|_| frame(9, 0, 1, &[0x40, 1, b'a', 1, b'b'])));
    let floods: [(&str, Vec<u8>); 5] = [
        ("rapid resets", rapid_resets.collect()),
        ("pings", pings.collect()),
        ("settings", settings.collect()),
        ("priorities", priorities.collect()),
        ("continuations", continuations.flatten().collect()),
    ];
    for (n, (what, bytes)) in floods.into_iter().enumerate() {
        flood(&proxy, bytes).await;
        let counted = format!("}} {}", n + 1);
        let found = || async {
            let (_, text) = proxy.admin("/metrics").await;
            let mut lines = text.lines();
            lines.any(|l| l.starts_with("inbound_tcp_errors_total{error=\"flood\"") && l.ends_with(&counted))
        };
        proxy.until(&format!("counted {what}"), found).await;
    }
    // Others are served as before.
    assert_eq!(crate::harness::get(proxy.plain().await, http::Version::HTTP_2, "/").await.status(), 200);
}

#[tokio::test]
async fn a_header_list_that_is_too_large_is_refused() {
    let proxy = Proxy::start(app::http().await, &[]).await;
    let mut sender = h2_client(proxy.plain().await).await;
    let large = "y".repeat(100 * 1024);
    let request = Request::get("http://web/").header("x", large).body(()).unwrap();
    let (response, _) = sender.send_request(request, true).unwrap();
    match tokio::time::timeout(LIMIT, response).await.unwrap() {
        Ok(response) => assert_eq!(response.status(), 431),
        Err(error) => assert!(error.is_reset() || error.is_go_away(), "{error}"),
    }
}

#[tokio::test]
async fn a_request_for_two_hosts_is_malformed() {
    let proxy = Proxy::start(app::http().await, &[]).await;
    for (host, status) in [("web", 200), ("WEB:80", 200), ("evil", 400)] {
        let mut sender = h2_client(proxy.plain().await).await;
        let request = Request::get("http://web/").header("host", host).body(()).unwrap();
        let (response, _) = sender.send_request(request, true).unwrap();
        let response = tokio::time::timeout(LIMIT, response).await.unwrap().unwrap();
        assert_eq!(response.status(), status, "{host}");
    }
    proxy.until_metric("inbound_http_errors_total", &["error=\"malformed\""]).await;
}

#[tokio::test]
async fn what_is_no_http2_after_the_preface_is_malformed() {
    let proxy = Proxy::start(app::http().await, &[]).await;
    let mut io = proxy.plain().await;
    io.write_all(&preface()).await.unwrap();
    io.write_all(&frame(0, 0, 0, b"data for the connection")).await.unwrap();
    read_all_bytes(&mut io).await;
    proxy.until_metric("inbound_tcp_errors_total", &["error=\"malformed\""]).await;
}

async fn read_all_bytes(io: &mut TcpStream) {
    let mut buf = [0; 1024];
    let reading = async { while let Ok(1..) = io.read(&mut buf).await {} };
    tokio::time::timeout(LIMIT, reading).await.expect("the connection stays open");
}
