use super::*;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

/// A ClientHello with a server name and ALPN, in records of at most `record` bytes.
fn hello(sni: &str, alpn: &[&[u8]], record: usize) -> Vec<u8> {
    let vec16 = |body: &[u8]| [&u16::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat();
    let vec8 = |body: &[u8]| [&[u8::try_from(body.len()).unwrap()][..], body].concat();
    let name = vec16(&[&[0][..], &vec16(sni.as_bytes())].concat());
    let protocols = vec16(&alpn.iter().flat_map(|p| vec8(p)).collect::<Vec<_>>());
    let extension = |kind: u16, body: &[u8]| [&kind.to_be_bytes()[..], &vec16(body)].concat();
    let extensions = [extension(43, &[2, 3, 4]), extension(0, &name), extension(16, &protocols)].concat();
    let body =
        [&[3, 3][..], &[7; 32], &vec8(&[]), &vec16(&[0x13, 1]), &vec8(&[0]), &vec16(&extensions)].concat();
    let message = [&[1, 0][..], &u16::try_from(body.len()).unwrap().to_be_bytes(), &body].concat();
    message.chunks(record).flat_map(|part| [&[0x16, 3, 1][..], &vec16(part)].concat()).collect()
}

#[test]
fn a_client_hello_tells_name_and_protocols() {
    let bytes = hello("Web.Shop", &[b"transport.l5d.io/v1", b"h2"], usize::MAX);
    let Parse::Done(Some(found)) = client_hello(&bytes) else { panic!("not TLS") };
    assert_eq!(found.sni.as_deref(), Some("web.shop"));
    assert_eq!(found.alpn, [&b"transport.l5d.io/v1"[..], b"h2"]);
}

#[test]
fn a_client_hello_may_come_in_pieces_and_records() {
    let bytes = hello("web.shop", &[b"h2"], 11);
    for end in 0..bytes.len() {
        assert_eq!(client_hello(&bytes[..end]), Parse::More, "after {end} bytes");
    }
    let Parse::Done(Some(found)) = client_hello(&bytes) else { panic!("not TLS") };
    assert_eq!(found.sni.as_deref(), Some("web.shop"));
}

#[test]
fn what_is_not_tls_is_said_at_the_first_byte() {
    assert_eq!(client_hello(b"G"), Parse::Done(None));
    assert_eq!(client_hello(&[0x16, 2]), Parse::Done(None));
}

#[test]
fn http_versions_are_told_apart() {
    assert_eq!(http(b"GET / HTTP/1.1\r\n"), Parse::Done(Some(Http::Http1)));
    assert_eq!(http(b"POST /a?b HTTP/1.0\r\nHost"), Parse::Done(Some(Http::Http1)));
    assert_eq!(http(b"PURGE-ALL * HTTP/1.1\n"), Parse::Done(Some(Http::Http1)));
    assert_eq!(http(H2_PREFACE), Parse::Done(Some(Http::Http2)));
    assert_eq!(http(b"PRI * HT"), Parse::More);
    assert_eq!(http(b"PRINT / HTTP/1.1\r\n"), Parse::Done(Some(Http::Http1)));
    assert_eq!(http(b"GET /a/long/pa"), Parse::More);
}

#[test]
fn other_protocols_are_not_http() {
    assert_eq!(http(b"\x00\x00\x00\x10SMB"), Parse::Done(None));
    assert_eq!(http(b"SSH-2.0-OpenSSH_9.6\r\n"), Parse::Done(None));
    assert_eq!(http(b"EHLO mail.example.org\r\n"), Parse::Done(None));
    assert_eq!(http(b"*1\r\n$4\r\nPING\r\n"), Parse::Done(None));
    assert_eq!(http(&[b'A'; 33]), Parse::Done(None));
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_a_timeout_and_loses_nothing() {
    let (mut near, mut far) = tokio::io::duplex(64);
    far.write_all(b"GE").await.unwrap();
    let mut buf = BytesMut::new();
    let found = sniff(&mut near, &mut buf, Duration::from_secs(10), http).await.unwrap();
    assert_eq!(found, Sniffed::Timeout);
    assert_eq!(&buf[..], b"GE");
    drop(far);
    assert_eq!(sniff(&mut near, &mut buf, Duration::from_secs(10), http).await.unwrap(), Sniffed::Eof);
}

#[test]
fn what_follows_a_client_hello_does_not_count() {
    let alone = hello("web.shop", &[b"h2"], usize::MAX);
    let expected = client_hello(&alone);
    assert!(matches!(&expected, Parse::Done(Some(found)) if found.sni.as_deref() == Some("web.shop")));
    // A client that resumes sends a change of ciphers and early data in the same breath.
    let followed = [&alone[..], &[0x14, 3, 3, 0, 1, 1, 0x17, 3, 3, 0, 2, 9, 9]].concat();
    assert_eq!(client_hello(&followed), expected);
}

#[test]
fn whether_it_is_http_does_not_hang_on_how_bytes_arrive() {
    let bytes = b"GET /\x01 HTTP/1.1\r\n\r\n";
    for cut in 0..=bytes.len() {
        let part = http(&bytes[..cut]);
        assert!(part == Parse::More || part == http(bytes), "{cut}");
    }
}

proptest! {
    #[test]
    fn parsers_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), tls in any::<bool>()) {
        let mut bytes = bytes;
        if tls {
            bytes.splice(0..0, [0x16, 3, 1, 0, 250, 1, 0, 0, 200]);
        }
        let _ = client_hello(&bytes);
        let _ = http(&bytes);
    }

    #[test]
    fn a_truncated_hello_never_panics(cut in 0usize..200, flip in 0usize..200, to in any::<u8>()) {
        let mut bytes = hello("web.shop.svc", &[b"h2"], 64);
        let len = bytes.len();
        bytes[flip % len] = to;
        let _ = client_hello(&bytes[..cut.min(len)]);
        let _ = client_hello(&bytes);
    }
}
