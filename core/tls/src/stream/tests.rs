use super::*;
use crate::{Acceptor, Alpn, Authority, Connector, MeshTls, TrustBundle, server_name};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

const DAY: Duration = Duration::from_secs(86_400);
const SERVER: &str = "db.shop";

fn ends() -> (Connector, Acceptor) {
    let root = Authority::new_root("root", DAY).unwrap();
    let proxy = |name: &str| {
        let bundle = TrustBundle::from_pem(&root.cert_pem()).unwrap();
        let tls = MeshTls::new(name.parse().unwrap(), bundle).unwrap();
        let request = tls.request().unwrap();
        let leaf = root.sign_csr(&request.csr_der, tls.identity(), DAY, Duration::ZERO).unwrap();
        tls.set_leaf(request, leaf.leaf_der, leaf.intermediates_der, leaf.not_after).unwrap();
        tls
    };
    (proxy("web.shop").connector(Alpn::None).unwrap(), proxy(SERVER).acceptor().unwrap())
}

/// A client and a server over pipes that hold so many bytes.
async fn streams(capacity: usize) -> (TlsStream<DuplexStream>, TlsStream<DuplexStream>) {
    let (connector, acceptor) = ends();
    let (a, b) = duplex(capacity);
    let dialling = async {
        let mut client = connector.connect(server_name(SERVER).unwrap(), a).await.unwrap();
        client.flush().await.unwrap();
        client
    };
    tokio::join!(dialling, async { acceptor.accept(b).await.unwrap() })
}

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 % 251) as u8).collect()
}

/// Whether it is not ready at once.
async fn is_pending<F: Future>(future: F) -> bool {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

#[tokio::test]
async fn bytes_arrive_whole_whatever_the_pieces() {
    for (capacity, piece) in [(1 << 20, 300_000), (50_000, 70_001), (7_000, 16_385), (100, 3)] {
        let (client, mut server) = streams(capacity).await;
        let (mut from_server, mut to_server) = tokio::io::split(client);
        let sent = data(if piece == 3 { 20_000 } else { 3_000_000 });
        let writing = async {
            for piece in sent.chunks(piece) {
                to_server.write_all(piece).await.unwrap();
            }
            to_server.shutdown().await.unwrap();
        };
        let echoing = async {
            let mut got = Vec::new();
            server.read_to_end(&mut got).await.unwrap();
            // The other direction is open still.
            server.write_all(&got).await.unwrap();
            server.shutdown().await.unwrap();
        };
        let reading = async {
            let mut got = Vec::new();
            from_server.read_to_end(&mut got).await.unwrap();
            got
        };
        let ((), (), got) = tokio::join!(writing, echoing, reading);
        assert!(got == sent, "{capacity} {piece}");
    }
}

#[tokio::test]
async fn pieces_written_together_arrive_whole_and_in_order() {
    let (mut client, mut server) = streams(30_000).await;
    let sent = data(1_000_000);
    let writing = async {
        let (mut left, lens) = (&sent[..], [9, 16_384, 0, 9, 300, 70_000, 9, 8_192, 20_000, 1]);
        while !left.is_empty() {
            let mut after = left;
            let pieces = lens.map(|len| {
                let (piece, rest) = after.split_at(len.min(after.len()));
                after = rest;
                IoSlice::new(piece)
            });
            let written = client.write_vectored(&pieces).await.unwrap();
            assert!(written > 0);
            left = &left[written..];
        }
        client.shutdown().await.unwrap();
    };
    let mut got = Vec::new();
    let ((), read) = tokio::join!(writing, server.read_to_end(&mut got));
    read.unwrap();
    assert!(got == sent);
}

#[tokio::test]
async fn small_pieces_share_a_record() {
    const RECORD: usize = 22;
    let (mut client, _server) = streams(1 << 20).await;
    let (head, small, large) = (data(9), data(4_000), data(16_384));
    for (pieces, records) in [
        (vec![&head], 1),
        (vec![&head, &small], 1),
        (vec![&head, &large], 2),
        (vec![&head, &small, &head, &large, &head, &small], 3),
    ] {
        client.flush().await.unwrap();
        let slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let written = client.write_vectored(&slices).await.unwrap();
        assert_eq!(written, pieces.iter().map(|piece| piece.len()).sum::<usize>());
        assert_eq!(client.outgoing.len(), written + records * RECORD);
    }
}

#[tokio::test]
async fn small_reads_lose_nothing() {
    let (mut client, mut server) = streams(1 << 20).await;
    let sent = data(40_000);
    client.write_all(&sent).await.unwrap();
    client.shutdown().await.unwrap();
    let mut got = Vec::new();
    let mut buf = [0; 97];
    loop {
        match server.read(&mut buf).await.unwrap() {
            0 => break,
            n => got.extend_from_slice(&buf[..n]),
        }
    }
    assert!(got == sent);
    assert_eq!(server.read(&mut buf).await.unwrap(), 0, "the end stays the end");
}

#[tokio::test]
async fn a_cut_connection_is_no_end() {
    let (mut client, mut server) = streams(1 << 20).await;
    client.write_all(b"half of a ").await.unwrap();
    client.flush().await.unwrap();
    drop(client);
    let mut got = Vec::new();
    let error = server.read_to_end(&mut got).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(got, b"half of a ");
}

#[tokio::test]
async fn after_a_forged_record_nothing_is_read_or_written() {
    let (mut client, mut server) = streams(1 << 20).await;
    client.write_all(b"true").await.unwrap();
    client.flush().await.unwrap();
    // Application data that nobody has encrypted, and true bytes after it.
    let forged = [&[23, 3, 3, 0, 40][..], &[0; 40]].concat();
    client.get_mut().write_all(&forged).await.unwrap();
    client.write_all(b"too late").await.unwrap();
    client.flush().await.unwrap();
    let mut got = [0; 64];
    assert_eq!(server.read(&mut got).await.unwrap(), 4);
    for _ in 0..3 {
        assert_eq!(server.read(&mut got).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
    assert!(server.write_all(b"no").await.is_err());
    let error = client.read(&mut got).await.unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "the client is told: {error}");
}

#[tokio::test]
async fn what_is_asked_goes_out_when_the_answer_is_waited_for() {
    let (mut client, mut server) = streams(1 << 20).await;
    client.write_all(b"question").await.unwrap();
    let answering = async {
        let mut asked = [0; 8];
        server.read_exact(&mut asked).await.unwrap();
        server.write_all(&asked).await.unwrap();
        server.flush().await.unwrap();
    };
    let mut answer = [0; 8];
    let (read, ()) = tokio::join!(client.read_exact(&mut answer), answering);
    read.unwrap();
    assert_eq!(&answer, b"question");
}

#[tokio::test]
async fn a_stream_at_rest_has_no_buffers() {
    let (mut client, mut server) = streams(1 << 20).await;
    let sent = data(500_000);
    let reading = async {
        let mut got = vec![0; sent.len()];
        server.read_exact(&mut got).await.unwrap();
        got
    };
    let writing = async {
        client.write_all(&sent).await.unwrap();
        client.flush().await.unwrap();
    };
    let ((), got) = tokio::join!(writing, reading);
    assert!(got == sent);
    for stream in [&mut client, &mut server] {
        let mut more = [0; 1];
        assert!(is_pending(stream.read(&mut more)).await);
        stream.flush().await.unwrap();
        assert_eq!(stream.incoming.capacity() + stream.plain.capacity() + stream.outgoing.capacity(), 0);
    }
}

/// Other proxies renew keys in the middle, and end a handshake message in another record than it began in.
#[tokio::test]
async fn another_implementation_renews_its_keys_in_the_middle() {
    let (connector, acceptor) = ends();
    let theirs = tokio_rustls::TlsConnector::from(connector.config);
    let (a, b) = duplex(1 << 16);
    let dialling = async {
        let mut client = theirs.connect(server_name(SERVER).unwrap(), a).await.unwrap();
        let mut echoed = Vec::new();
        for round in 0..5u8 {
            client.get_mut().1.refresh_traffic_keys().unwrap();
            client.write_all(&[round; 20_000]).await.unwrap();
            client.flush().await.unwrap();
            let mut got = vec![0; 20_000];
            client.read_exact(&mut got).await.unwrap();
            echoed.extend(got);
        }
        client.shutdown().await.unwrap();
        echoed
    };
    let echoing = async {
        let mut server = acceptor.accept(b).await.unwrap();
        let mut buf = vec![0; 20_000];
        while let Ok(n) = server.read_exact(&mut buf).await {
            server.write_all(&buf[..n]).await.unwrap();
            server.flush().await.unwrap();
        }
    };
    let (echoed, ()) = tokio::join!(dialling, echoing);
    let wanted: Vec<u8> = (0..5u8).flat_map(|round| [round; 20_000]).collect();
    assert!(echoed == wanted);
}
