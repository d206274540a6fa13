use super::*;
use crate::copy_bidirectional;
use proptest::prelude::*;
use tokio::io::{DuplexStream, duplex};

const PORT: u16 = 5432;

fn header() -> TransportHeader {
    TransportHeader { port: PORT, name: Some("db.shop".into()), protocol: None }
}

type Ends = (Tunnel<DuplexStream>, Tunnel<DuplexStream>);

/// A client and a server on pipes that hold so many bytes.
fn ends(capacity: usize) -> Ends {
    let (a, b) = duplex(capacity);
    (Tunnel::new(a), Tunnel::new(b))
}

/// Opens the next stream.
async fn opened((client, server): &mut Ends) {
    let accepting = async {
        assert!(server.asked().await.unwrap());
        assert_eq!(server.header().await.unwrap(), header());
        assert!(server.is_offered());
        server.accept();
        server.flush().await.unwrap();
    };
    let header = header();
    let (result, ()) = tokio::join!(client.open(&header), accepting);
    result.unwrap();
}

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8).collect()
}

#[tokio::test]
async fn streams_follow_each_other_on_one_connection_whatever_the_pieces() {
    for (capacity, piece) in [(1 << 20, 300_000), (7_000, 1_024), (3, 1), (5, 1_500), (64, 7)] {
        let mut ends = ends(capacity);
        for round in 0..3 {
            opened(&mut ends).await;
            let (client, server) = &mut ends;
            let sent = data(piece * 5 + round);
            let asking = async {
                for piece in sent.chunks(piece) {
                    client.write_all(piece).await.unwrap();
                }
                client.shutdown().await.unwrap();
                let mut answer = Vec::new();
                client.read_to_end(&mut answer).await.unwrap();
                answer
            };
            let answering = async {
                let mut got = Vec::new();
                server.read_to_end(&mut got).await.unwrap();
                server.write_all(&got).await.unwrap();
                server.shutdown().await.unwrap();
            };
            let (answer, ()) = tokio::join!(asking, answering);
            assert!(answer == sent);
            assert!(client.is_at_rest() && client.is_quiet());
            assert!(server.is_at_rest());
        }
    }
}

#[tokio::test]
async fn a_server_may_speak_first_and_a_way_may_end_before_the_other() {
    let mut ends = ends(64);
    opened(&mut ends).await;
    let (client, server) = &mut ends;
    server.write_all(b"220 ready").await.unwrap();
    server.shutdown().await.unwrap();
    let mut greeting = String::new();
    client.read_to_string(&mut greeting).await.unwrap();
    assert_eq!(greeting, "220 ready");
    assert!(!client.is_at_rest());
    client.write_all(b"bye").await.unwrap();
    client.shutdown().await.unwrap();
    let mut last = String::new();
    server.read_to_string(&mut last).await.unwrap();
    assert_eq!(last, "bye");
    assert!(client.is_at_rest() && server.is_at_rest());
}

#[tokio::test]
async fn a_refusal_leaves_the_connection_at_rest() {
    let mut ends = ends(64);
    for refusal in [Refusal::Unreachable, Refusal::Forbidden] {
        let (client, server) = &mut ends;
        let refusing = async {
            assert!(server.asked().await.unwrap());
            server.header().await.unwrap();
            server.refuse(refusal, &"é".repeat(600)).await.unwrap();
        };
        let header = header();
        let (result, ()) = tokio::join!(client.open(&header), refusing);
        let Err(OpenError::Refused { refusal: said, reason }) = result else { panic!("{result:?}") };
        assert_eq!((said, reason), (refusal, "é".repeat(255)));
        assert!(client.is_at_rest() && server.is_at_rest());
    }
    opened(&mut ends).await;
}

#[tokio::test]
async fn a_stream_is_accepted_when_it_is_first_used() {
    for capacity in [64, 2] {
        let (mut client, mut server) = ends(capacity);
        let (mut application, mut far) = duplex(64);
        let serving = async {
            assert!(server.asked().await.unwrap());
            server.header().await.unwrap();
            copy_bidirectional(&mut server, &mut application).await.unwrap();
            assert!(server.is_at_rest());
        };
        let using = async {
            client.open(&header()).await.unwrap();
            client.shutdown().await.unwrap();
            assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
            far.shutdown().await.unwrap();
            assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
            assert!(client.is_at_rest());
        };
        tokio::join!(serving, using);
    }
}

#[tokio::test]
async fn the_end_of_a_connection_is_told_from_the_end_of_a_stream() {
    let mut ends = ends(64);
    opened(&mut ends).await;
    let (mut client, server) = ends;
    drop(server);
    assert_eq!(client.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert!(!client.is_at_rest());

    let (mut client, server) = self::ends(64);
    assert!(client.is_quiet());
    drop(server);
    assert!(!client.is_quiet());
    assert!(matches!(client.open(&header()).await, Err(OpenError::Io(_))));

    let (client, mut server) = self::ends(64);
    drop(client);
    assert!(!server.asked().await.unwrap());
}

#[tokio::test]
async fn frames_that_do_not_belong_are_refused() {
    for bytes in [&[OPEN, 0, 0, 0][..], &[ACCEPT, 0, 0, 0], &[END, 0, 0, 1], &[9, 0, 0, 0]] {
        let mut ends = ends(64);
        opened(&mut ends).await;
        let (mut client, mut server) = ends;
        server.io.write_all(bytes).await.unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::InvalidData, "{bytes:?}");
    }
    for bytes in [&[DATA, 0, 0, 0][..], &[OPEN, 0xff, 0xff, 0xff], &[OPEN, 0, 0, 0]] {
        let (mut client, mut server) = ends(64);
        client.io.write_all(bytes).await.unwrap();
        assert!(server.asked().await.unwrap());
        server.header().await.unwrap_err();
    }
    for bytes in [&[REFUSE, 0, 0, 0][..], &[REFUSE, 0, 0xff, 0xff], &[ACCEPT, 0, 0, 1], &[DATA, 0, 0, 0]] {
        let (mut client, mut server) = ends(64);
        server.io.write_all(bytes).await.unwrap();
        assert!(matches!(client.open(&header()).await, Err(OpenError::Io(_))), "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn whatever_comes_nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut ends = ends(256);
            opened(&mut ends).await;
            let (mut client, mut server) = ends;
            server.io.write_all(&bytes).await.unwrap();
            drop(server);
            let mut read = Vec::new();
            let _ = client.read_to_end(&mut read).await;
            prop_assert!(read.len() <= bytes.len());
            Ok(())
        })?;
    }
}
