use super::*;
use proptest::prelude::*;

#[tokio::test]
async fn a_header_survives_the_wire() {
    for protocol in [None, Some(SessionProtocol::Http1), Some(SessionProtocol::Http2)] {
        for name in [None, Some("web.shop.svc.cluster.local".to_owned())] {
            let header = TransportHeader { port: 8080, name, protocol };
            let bytes = [&header.encode()[..], b"payload"].concat();
            let mut input = &bytes[..];
            assert_eq!(TransportHeader::read(&mut input).await.unwrap(), header);
            assert_eq!(input, b"payload");
        }
    }
}

#[test]
fn the_wire_form_is_linkerds() {
    let header =
        TransportHeader { port: 80, name: Some("a.b".into()), protocol: Some(SessionProtocol::Http2) };
    let expected =
        [&b"transport.l5d.io/v1\r\n\r\n\0\0\0\x0b"[..], b"\x08\x50\x12\x03a.b\x1a\x02\x12\x00"].concat();
    assert_eq!(header.encode(), expected);
}

#[tokio::test]
async fn garbage_is_refused_with_a_reason() {
    let mut other = &b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"[..];
    assert!(matches!(TransportHeader::read(&mut other).await, Err(HeaderError::Preface)));
    let long = [PREFACE, &[0xff; 4]].concat();
    assert!(matches!(TransportHeader::read(&mut &long[..]).await, Err(HeaderError::Length(_))));
    assert!(matches!(TransportHeader::decode(&[]), Err(HeaderError::Port(0))));
    let named = |len| TransportHeader { port: 80, name: Some("a".repeat(len)), protocol: None };
    assert!(TransportHeader::decode(&named(253).message()).is_ok());
    assert!(matches!(TransportHeader::decode(&named(254).message()), Err(HeaderError::Name(254))));
}

proptest! {
    #[test]
    fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = TransportHeader::decode(&bytes);
    }
}
