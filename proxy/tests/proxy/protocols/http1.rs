//! HTTP/1.0 and 1.1, byte for byte.

use super::pair;
use crate::app;
use crate::control::{detect, identities, server};
use crate::harness::{CLIENT, Proxy, read_all};
use crate::peers::{exchange, raw};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const GOOD: &str = "GET /good HTTP/1.1\r\nhost: web\r\n\r\n";

/// What two parsers may take for different requests; every one asks for `/evil`.
const MALFORMED: &[&str] = &[
    "POST /evil HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    "POST /evil HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello",
    "POST /evil HTTP/1.1\r\nhost: web\r\ncontent-length: 5, 5\r\n\r\nhello",
    "POST /evil HTTP/1.1\r\nhost: web\r\ncontent-length: -1\r\n\r\n",
    "POST /evil HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /evil HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    "POST /evil HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "POST /evil HTTP/1.1\r\nhost: web\r\ntransfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "POST /evil HTTP/1.1\r\nhost: web\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    "POST /evil HTTP/1.0\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET /evil HTTP/1.1\r\nhost: web\r\nx: a\r\n folded: b\r\n\r\n",
    "GET /evil HTTP/1.1\nhost: web\n\n",
    "GET /evil HTTP/1.1\r\nhost: web\r\nx: a\nx: b\r\n\r\n",
    "GET /evil HTTP/1.1\r\nhost: web\r\nx: a\rb\r\n\r\n",
    "GET /evil HTTP/1.1\r\n\r\n",
    "GET /evil HTTP/1.1\r\nhost: web\r\nhost: evil\r\n\r\n",
    "GET http://evil/evil HTTP/1.1\r\nhost: web\r\n\r\n",
    "GET /evil HTTP/1.1\r\nhost: web/evil\r\n\r\n",
    "POST /evil HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\nhello\r\n0\r\n\r\n",
    "POST /evil HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    "POST /evil HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n",
    "POST /evil HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
];

async fn refuses_all(
    proxy: &Proxy,
    connect: impl AsyncFn() -> TcpStream,
    direction: &str,
    seen: &crate::peers::Seen,
) {
    for bad in MALFORMED {
        let mut io = connect().await;
        io.write_all(format!("{GOOD}{bad}").as_bytes()).await.unwrap();
        let answers = read_all(&mut io).await;
        let (first, second) = answers.split_once("ok").unwrap_or_else(|| panic!("{bad:?}: {answers:?}"));
        assert!(first.starts_with("HTTP/1.1 200"), "{bad:?}: {answers:?}");
        assert!(
            second.starts_with("HTTP/1.1 400") || second.starts_with("HTTP/1.1 501"),
            "{bad:?}: {answers:?}"
        );
        assert!(second.contains("l5d-proxy-error: malformed request: "), "{bad:?}: {answers:?}");
    }
    let seen = seen.lock().unwrap().clone();
    assert!(!seen.contains("evil") && !seen.contains("hello"), "{seen}");
    assert_eq!(seen.matches("GET /good").count(), MALFORMED.len());
    let (_, metrics) = proxy.admin("/metrics").await;
    let name = format!("{direction}_http_errors_total{{error=\"malformed\"");
    let counted = metrics.lines().filter(|line| line.starts_with(&name));
    let counted: usize = counted.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum();
    assert_eq!(counted, MALFORMED.len());
}

#[tokio::test]
async fn malformed_requests_are_refused_and_never_reach_the_application() {
    let (app, seen) = raw(OK).await;
    let proxy = Proxy::start(app, &[]).await;
    refuses_all(&proxy, async || proxy.plain().await, "inbound", &seen).await;
}

#[tokio::test]
async fn malformed_requests_do_not_leave_the_pod() {
    let (app, seen) = raw(OK).await;
    let (client, _server) = pair(app).await;
    refuses_all(&client, async || client.out().await, "outbound", &seen).await;
}

#[tokio::test]
async fn a_chunk_that_turns_out_bad_later_leaves_the_request_unfinished() {
    let (app, seen) = raw(OK).await;
    let proxy = Proxy::start(app, &[]).await;
    let mut io = proxy.plain().await;
    let head = "POST /half HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    io.write_all(head.as_bytes()).await.unwrap();
    proxy.until("forwarded", || async { seen.lock().unwrap().contains("hello") }).await;
    io.write_all(b"zz\r\n").await.unwrap();
    let answer = read_all(&mut io).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("hexadecimal"), "{answer}");
    assert!(!seen.lock().unwrap().contains("0\r\n\r\n"), "the body has no end");
}

#[tokio::test]
async fn heads_that_are_too_large_are_told_so() {
    let proxy = Proxy::start(app::http().await, &[]).await;
    let large = format!("GET / HTTP/1.1\r\nhost: web\r\nx: {}\r\n\r\n", "y".repeat(100 * 1024));
    let many = format!("GET / HTTP/1.1\r\nhost: web\r\n{}\r\n", "x: y\r\n".repeat(200));
    for request in [large, many] {
        let answer = exchange(&mut proxy.plain().await, &request, "").await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        assert!(answer.contains("l5d-proxy-error"), "{answer}");
    }
}

#[tokio::test]
async fn connections_are_kept_alive_as_the_version_says() {
    let (app, _) = raw(OK).await;
    let (client, _server) = pair(app).await;
    let until_close = |request: &'static str| {
        let client = &client;
        async move { exchange(&mut client.out().await, request, "").await }
    };
    for request in
        ["GET / HTTP/1.0\r\nhost: web\r\n\r\n", "GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n"]
    {
        let answer = until_close(request).await;
        assert!(answer.ends_with("ok"), "{answer}");
    }
    let mut io = client.out().await;
    let kept = exchange(&mut io, "GET / HTTP/1.0\r\nhost: web\r\nconnection: keep-alive\r\n\r\n", "ok").await;
    assert!(kept.to_ascii_lowercase().contains("connection: keep-alive"), "{kept}");
    for _ in 0..3 {
        let answer = exchange(&mut io, "GET / HTTP/1.1\r\nhost: web\r\n\r\n", "ok").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[tokio::test]
async fn an_http10_request_without_a_host_is_served() {
    let (app, seen) = raw(OK).await;
    let proxy = Proxy::start(app, &[]).await;
    let answer = exchange(&mut proxy.plain().await, "GET /old HTTP/1.0\r\n\r\n", "").await;
    assert!(answer.ends_with("ok"), "{answer}");
    assert!(seen.lock().unwrap().starts_with("GET /old HTTP/1."));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (client, _server) = pair(app::http().await).await;
    let one = |n: usize, body: &str| {
        format!("POST /{n} HTTP/1.1\r\nhost: web\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let all: String = (0..5).map(|n| one(n, &"GET /no HTTP/1.1\r\n\r\n"[..n * 4])).collect();
    let answer = exchange(&mut client.out().await, &all, "HTTP/1.1 /4").await;
    let order: Vec<_> = answer.match_indices("HTTP/1.1 /").map(|(at, _)| &answer[at + 10..at + 11]).collect();
    assert_eq!(order, ["0", "1", "2", "3", "4"], "{answer}");
}

#[tokio::test]
async fn a_client_that_expects_to_continue_is_told_to() {
    let (client, _server) = pair(app::http().await).await;
    let mut io = client.out().await;
    let head = "POST /echo HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n";
    let answer = exchange(&mut io, head, "\r\n\r\n").await;
    assert_eq!(answer, "HTTP/1.1 100 Continue\r\n\r\n");
    let answer = exchange(&mut io, "hello", "0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("hello"), "{answer}");
}

#[tokio::test]
async fn a_refused_client_is_not_told_to_continue() {
    let app = app::http().await;
    let proxy = Proxy::start(app, &[("INBOUND_DEFAULT_POLICY", "deny")]).await;
    let head = "POST /echo HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n";
    let answer = exchange(&mut proxy.plain().await, head, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    // Whether the body comes all the same cannot be known.
    assert!(answer.contains("connection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn an_answer_that_comes_before_the_end_of_the_request_does_not_cut_it_off() {
    const HEAD: &str = "POST /early HTTP/1.1\r\nhost: web\r\ncontent-length: 300000\r\n\r\n";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (mut early, _) = listener.accept().await.unwrap();
        let mut bytes = vec![0; 64 * 1024];
        let mut read = early.read(&mut bytes).await.unwrap();
        early.write_all(OK.as_bytes()).await.unwrap();
        while read < HEAD.len() + 300_000 {
            let more = early.read(&mut bytes).await.unwrap();
            assert!(more > 0, "cut off after {read} bytes");
            read += more;
        }
        let (mut next, _) = listener.accept().await.unwrap();
        assert!(next.read(&mut bytes).await.unwrap() > 0 && bytes.starts_with(b"GET /good"));
        next.write_all(OK.as_bytes()).await.unwrap();
    });
    let proxy = Proxy::start(app, &[]).await;
    let mut io = proxy.plain().await;
    let answer = exchange(&mut io, HEAD, "ok").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    io.write_all(&vec![b'x'; 300_000]).await.unwrap();
    let answer = exchange(&mut io, GOOD, "ok").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    serving.await.unwrap();
}

#[tokio::test]
async fn early_hints_reach_the_client_before_the_answer() {
    const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let app = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
    let seen = Arc::new(tokio::sync::Notify::new());
    let told = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut io, _)) = listener.accept().await {
            while exchange(&mut io, "", "\r\n\r\n").await.ends_with("\r\n\r\n") {
                io.write_all(HINTS.as_bytes()).await.unwrap();
                told.notified().await;
                io.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            }
        }
    });
    let (client, _server) = pair(app).await;
    let mut io = client.out().await;
    for _ in 0..2 {
        assert_eq!(exchange(&mut io, GOOD, "\r\n\r\n").await, HINTS);
        seen.notify_one();
        let answer = exchange(&mut io, "", "ok").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    // A client of HTTP/1.0 would take them for the answer.
    seen.notify_one();
    let answer = exchange(&mut client.out().await, "GET / HTTP/1.0\r\nhost: web\r\n\r\n", "ok").await;
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
}

#[tokio::test]
async fn chunks_and_trailers_pass_through_both_proxies() {
    let (app, seen) = raw(OK).await;
    let (client, _server) = pair(app).await;
    let request = "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
                   5;ext=1\r\nhello\r\n0\r\nx-sum: 42\r\n\r\n";
    let answer = exchange(&mut client.out().await, request, "ok").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let whole = || async { seen.lock().unwrap().ends_with("0\r\nx-sum: 42\r\n\r\n") };
    client.until("seen with its trailers", whole).await;
    let seen = seen.lock().unwrap().clone();
    assert!(seen.contains("transfer-encoding: chunked") && seen.contains("5\r\nhello\r\n"), "{seen}");
}

#[tokio::test]
async fn answers_without_a_body_are_not_waited_for() {
    for (request, answer) in [
        ("HEAD / HTTP/1.1\r\nhost: web\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"),
        (
            "GET / HTTP/1.1\r\nhost: web\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\netag: 1000\r\ncontent-length: 5\r\n\r\n",
        ),
        ("GET / HTTP/1.1\r\nhost: web\r\n\r\n", "HTTP/1.1 204 No Content\r\nx: 1000\r\n\r\n"),
    ] {
        let (app, _) = raw(answer).await;
        let (client, _server) = pair(app).await;
        let mut io = client.out().await;
        // Twice on one connection: nobody waits for a body.
        for _ in 0..2 {
            let got = exchange(&mut io, request, "\r\n\r\n").await;
            assert_eq!(got.get(..12), answer.get(..12), "{got}");
            assert!(got.contains(": 1000\r\n"), "{got}");
        }
    }
}

#[tokio::test]
async fn connect_makes_a_tunnel() {
    let app = app::http().await;
    let (client, server) = pair(app).await;
    for mut io in [client.out().await, server.plain().await] {
        let head = format!("CONNECT {app} HTTP/1.1\r\nhost: {app}\r\n\r\n");
        let answer = exchange(&mut io, &head, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(!answer.to_ascii_lowercase().contains("content-length"), "{answer}");
        // Bytes that no parser of requests would let pass.
        assert_eq!(exchange(&mut io, "\n\0 bytes\r\n\r\n", "\r\n\r\n").await, "\n\0 bytes\r\n\r\n");
    }
}

#[tokio::test]
async fn websockets_pass_bytes_that_came_with_the_request() {
    let (client, _server) = pair(app::http().await).await;
    let mut io = client.out().await;
    let request =
        "GET /upgrade HTTP/1.1\r\nhost: web\r\nconnection: keep-alive, Upgrade\r\nupgrade: echo\r\n\r\n\0ear";
    let answer = exchange(&mut io, request, "\0ear").await;
    assert!(
        answer.starts_with("HTTP/1.1 101") && answer.to_ascii_lowercase().contains("upgrade: echo"),
        "{answer}"
    );
    assert_eq!(exchange(&mut io, "\nlate", "\nlate").await, "\nlate");
}

#[tokio::test]
async fn http2_inside_http1_is_not_offered_to_the_application() {
    let (app, seen) = raw(OK).await;
    let proxy = Proxy::start(app, &[]).await;
    let request = "GET / HTTP/1.1\r\nhost: web\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n\
                   http2-settings: AAMAAABkAAQAAP__\r\n\r\n";
    let answer = exchange(&mut proxy.plain().await, request, "ok").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let seen = seen.lock().unwrap().to_ascii_lowercase();
    assert!(!seen.contains("upgrade") && !seen.contains("http2-settings"), "{seen}");
}

#[tokio::test]
async fn a_slow_head_is_not_waited_for() {
    let settings = [("ISTHMUS_INBOUND_HTTP1_HEADER_READ_TIMEOUT", "200ms")];
    let proxy = Proxy::start(app::http().await, &settings).await;
    let mut io = proxy.plain().await;
    exchange(&mut io, GOOD, "/good").await;
    let answer = exchange(&mut io, "GET / HTTP/1.1\r\nhost: w", "").await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("in time"), "{answer}");
    proxy.until_metric("inbound_http_errors_total", &["error=\"request timeout\""]).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let settings = [("ISTHMUS_INBOUND_HTTP1_IDLE_TIMEOUT", "200ms")];
    let proxy = Proxy::start(app::http().await, &settings).await;
    let mut io = proxy.plain().await;
    exchange(&mut io, GOOD, "/good").await;
    assert_eq!(read_all(&mut io).await, "");
}

#[tokio::test]
async fn a_client_that_closed_its_side_is_answered() {
    let (client, _server) = pair(app::http().await).await;
    let mut io = client.out().await;
    io.write_all(GOOD.as_bytes()).await.unwrap();
    io.shutdown().await.unwrap();
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("/good"), "{answer}");
}

#[tokio::test]
async fn an_upgrade_is_refused_to_whom_the_policy_does_not_admit() {
    let app = app::http().await;
    let proxy = Proxy::start(app, &[]).await;
    proxy.mesh.policy.set(app.port(), server(detect(vec![]), vec![identities(&[CLIENT])])).await;
    let head = format!("CONNECT {app} HTTP/1.1\r\nhost: {app}\r\n\r\n");
    let refused =
        || async { exchange(&mut proxy.plain().await, &head, "\r\n\r\n").await.starts_with("HTTP/1.1 403") };
    proxy.until("refused", refused).await;
}
