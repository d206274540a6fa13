use super::framing::{Framing, Step};
use super::*;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LIMITS: Limits = Limits { head: Duration::from_millis(100), idle: None };

/// Requests that are refused, and what the reason says. Each has a host where it can.
const REFUSED: &[(&str, &str)] = &[
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd", "twice"),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nContent-Length: 3\r\n\r\nabc", "twice"),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3, 3\r\n\r\nabc", "not a number"),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +3\r\n\r\nabc", "not a number"),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x3\r\n\r\nabc", "not a number"),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length:\r\n\r\n", "not a number"),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n", "not a number"),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "both",
    ),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
        "both",
    ),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "twice",
    ),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "coding"),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\n\r\n", "coding"),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n", "coding"),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n", "token"),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding\t: chunked\r\n\r\n0\r\n\r\n", "token"),
    ("POST / HTTP/1.1\r\nhost: a\r\n transfer-encoding: chunked\r\n\r\n0\r\n\r\n", "folded"),
    ("POST / HTTP/1.1\r\nhost: a\r\nx: y\r\n\tz\r\n\r\n", "folded"),
    ("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.0"),
    ("GET / HTTP/1.1\nhost: a\r\n\r\n", "without a carriage return"),
    ("GET / HTTP/1.1\r\nhost: a\n\r\n", "without a carriage return"),
    ("GET / HTTP/1.1\r\nhost: a\r\n\n", "without a carriage return"),
    ("GET / HTTP/1.1\r\nhost: a\rx: y\r\n\r\n", "stands alone"),
    ("GET / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n", "control"),
    ("GET / HTTP/1.1\r\nhost: a\r\n: y\r\n\r\n", "token"),
    ("GET / HTTP/1.1\r\nhost: a\r\nno colon\r\n\r\n", "token"),
    ("GET / HTTP/1.1\r\n\r\n", "no host"),
    ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", "host is given twice"),
    ("GET / HTTP/1.1\r\nhost: a, b\r\n\r\n", "name or address"),
    ("GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", "name or address"),
    ("GET http://b/ HTTP/1.1\r\nhost: a\r\n\r\n", "request target names"),
    ("GET http://a:81/ HTTP/1.1\r\nhost: a:80\r\n\r\n", "request target names"),
    ("GET http://u@a/ HTTP/1.1\r\nhost: a\r\n\r\n", "request target names"),
    ("GET a HTTP/1.1\r\nhost: a\r\n\r\n", "neither a path"),
    ("GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n", "neither a path"),
    ("GET  / HTTP/1.1\r\nhost: a\r\n\r\n", "request line"),
    ("GET / HTTP/1.1 \r\nhost: a\r\n\r\n", "request line"),
    ("GET /\tHTTP/1.1\r\nhost: a\r\n\r\n", "request line"),
    ("GET / HTTP/1.2\r\nhost: a\r\n\r\n", "version"),
    ("GET / HTTP/2.0\r\nhost: a\r\n\r\n", "version"),
    ("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\ncontent-length: 3\r\n\r\nabc", "CONNECT"),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
        "hexadecimal",
    ),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n", "hexadecimal"),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\r\n", "hexadecimal"),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n", "hexadecimal"),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", "hexadecimal"),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", "longer"),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n", "longer"),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n0\r\n\r\n",
        "extension",
    ),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1000000000000000\r\n", "digits"),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\ncontent-length: 3\r\n\r\n",
        "frames",
    ),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx y\r\n\r\n", "trailer"),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: y\n\r\n", "trailer"),
];

/// Requests that are fine, and how many bytes of the text are theirs.
const ACCEPTED: &[(&str, &str)] = &[
    ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", ""),
    ("\r\nGET / HTTP/1.1\r\nHost:a\r\n\r\n", "GET / HTTP/1.1\r\n"),
    ("GET / HTTP/1.0\r\n\r\n", "more"),
    ("GET http://a HTTP/1.1\r\nhost: A\r\n\r\n", ""),
    ("GET http://a:80/?b HTTP/1.1\r\nhost: a\r\n\r\n", ""),
    ("GET https://a/ HTTP/1.1\r\nhost: a:443\r\n\r\n", ""),
    ("OPTIONS * HTTP/1.1\r\nhost: \r\n\r\n", ""),
    ("CONNECT [::1]:1 HTTP/1.1\r\nhost: [::1]:1\r\n\r\n", "bytes of the tunnel"),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 003\r\n\r\nabc", "GET "),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked\r\n\r\n0\r\n\r\n", "G"),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n00\r\nt: 1\r\nu: 2\r\n\r\n",
        "GET / HTTP/1.1\r\n",
    ),
];

fn refusal(text: &[u8]) -> Option<Violation> {
    match Framing::default().follow(text) {
        Step::Refuse(violation) => Some(violation),
        _ => None,
    }
}

#[test]
fn ambiguous_requests_are_refused_with_the_reason() {
    for (text, reason) in REFUSED {
        let violation = refusal(text.as_bytes()).unwrap_or_else(|| panic!("accepted: {text:?}"));
        assert!(violation.reason.contains(reason), "{text:?}: {}", violation.reason);
        assert!(violation.status.is_client_error() || violation.status.is_server_error());
    }
}

#[test]
fn a_read_ends_with_the_request() {
    for (text, rest) in ACCEPTED {
        let both = format!("{text}{rest}");
        assert_eq!(Framing::default().follow(both.as_bytes()), Step::Pass(text.len()), "{text:?}");
    }
}

#[test]
fn heads_have_a_limit() {
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(61 * 1024));
    assert_eq!(refusal(long.as_bytes()).unwrap().status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(100));
    assert_eq!(refusal(many.as_bytes()).unwrap().status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    // Without an end in sight, too.
    let endless = format!("GET /{}", "y".repeat(61 * 1024));
    assert_eq!(refusal(endless.as_bytes()).unwrap().status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}

/// Everything that can be read from a guard whose client sends `pieces` and then closes its side.
async fn read_through(pieces: &[&[u8]]) -> (Vec<u8>, Option<Violation>) {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let watch = Arc::new(Watch::default());
    let mut guard = Guard::new(server, LIMITS, Arc::clone(&watch));
    let send = async {
        for piece in pieces {
            client.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        client.shutdown().await.unwrap();
    };
    let read = async {
        let (mut all, mut buf) = (Vec::new(), [0; 64]);
        while let Ok(n @ 1..) = guard.read(&mut buf).await {
            all.extend_from_slice(&buf[..n]);
            if all.ends_with(STAND_IN) {
                break;
            }
        }
        all
    };
    let ((), all) = tokio::join!(send, read);
    (all, watch.violation())
}

#[tokio::test]
async fn well_framed_bytes_pass_unchanged_however_they_come() {
    let text: String = ACCEPTED.iter().filter(|(t, _)| !t.starts_with("CONNECT")).map(|(t, _)| *t).collect();
    for size in [1, 2, 3, 7, 50, 1000] {
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
        let (read, violation) = read_through(&pieces).await;
        assert_eq!(violation, None);
        assert_eq!(String::from_utf8(read).unwrap(), text, "in pieces of {size}");
    }
}

#[tokio::test]
async fn nothing_of_a_refused_head_is_read() {
    let good = "GET /first HTTP/1.1\r\nhost: a\r\n\r\n";
    for (bad, reason) in REFUSED.iter().filter(|(bad, _)| !bad.contains("chunked\r\n\r\n")) {
        for size in [1, 5, 1000] {
            let both = format!("{good}{bad}");
            let pieces: Vec<&[u8]> = both.as_bytes().chunks(size).collect();
            let (read, violation) = read_through(&pieces).await;
            assert!(violation.is_some_and(|v| v.reason.contains(reason)), "{bad:?}");
            assert_eq!(read, [good.as_bytes(), STAND_IN].concat(), "{bad:?}");
        }
    }
}

#[tokio::test]
async fn a_bad_chunk_ends_the_body_with_an_error() {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let watch = Arc::new(Watch::default());
    let mut guard = Guard::new(server, LIMITS, Arc::clone(&watch));
    let head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    client.write_all(head).await.unwrap();
    let mut read = vec![0; head.len()];
    guard.read_exact(&mut read).await.unwrap();
    client.write_all(b"zz\r\n").await.unwrap();
    assert_eq!(guard.read(&mut read).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert!(watch.violation().is_some());
}

#[tokio::test]
async fn half_a_head_is_not_waited_for() {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let watch = Arc::new(Watch::default());
    let mut guard = Guard::new(server, LIMITS, Arc::clone(&watch));
    client.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    let mut buf = vec![0; STAND_IN.len()];
    guard.read_exact(&mut buf).await.unwrap();
    assert_eq!(buf, STAND_IN);
    assert_eq!(watch.violation(), Some(LATE));
}

#[tokio::test]
async fn an_idle_connection_ends() {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let limits = Limits { idle: Some(Duration::from_millis(50)), ..LIMITS };
    let mut guard = Guard::new(server, limits, Arc::default());
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut buf = [0; 1024];
    assert_eq!(guard.read(&mut buf).await.unwrap(), 18);
    assert_eq!(guard.read(&mut buf).await.unwrap(), 0);
}

#[tokio::test]
async fn a_tunnel_is_not_judged() {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let watch = Arc::new(Watch::default());
    let mut guard = Guard::new(server, LIMITS, Arc::clone(&watch));
    let head = b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n";
    client.write_all(&[&head[..], b"\0early"].concat()).await.unwrap();
    let mut read = vec![0; head.len()];
    guard.read_exact(&mut read).await.unwrap();
    watch.leave_http();
    client.write_all(b"\nlate").await.unwrap();
    let mut rest = [0; 11];
    guard.read_exact(&mut rest).await.unwrap();
    assert_eq!(&rest, b"\0early\nlate");
}

proptest! {
    #[test]
    fn no_bytes_panic_and_how_they_come_does_not_matter(
        text in proptest::collection::vec(any::<u8>(), 0..300),
        pick in 0..REFUSED.len() + ACCEPTED.len(),
        cut in 0usize..300,
    ) {
        let known = REFUSED.iter().chain(ACCEPTED).nth(pick).unwrap().0.as_bytes();
        let cut = cut.min(known.len());
        let bytes = [&known[..cut], &text, &known[cut..]].concat();
        let whole = Framing::default().follow(&bytes);
        // Byte by byte, as held bytes are: the head is judged from its first byte again.
        let mut framing = Framing::default();
        let step = (1..=bytes.len()).map(|n| framing.follow(&bytes[..n])).find(|step| *step != Step::More);
        match (whole, step) {
            (Step::Refuse(a), Some(Step::Refuse(b))) => prop_assert_eq!(a.status, b.status),
            // What follows a head is judged with it, or later.
            (Step::Refuse(_), Some(Step::Pass(_))) | (Step::Pass(_), Some(Step::Pass(_))) => {}
            (Step::More, None) => {}
            (whole, step) => prop_assert!(false, "{:?} and {:?} for {:?}", whole, step, bytes),
        }
    }
}
