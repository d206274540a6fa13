use super::*;
use socket2::SockRef;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream, duplex};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn one_side_may_finish_while_the_other_goes_on() {
    let (mut client, mut near) = duplex(16);
    let (mut far, mut server) = duplex(16);
    let copying = tokio::spawn(async move { copy_bidirectional(&mut near, &mut far).await });
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut asked = String::new();
    server.read_to_string(&mut asked).await.unwrap();
    assert_eq!(asked, "question");
    server.write_all(b"a long answer").await.unwrap();
    drop(server);
    let mut answered = String::new();
    client.read_to_string(&mut answered).await.unwrap();
    assert_eq!(answered, "a long answer");
    copying.await.unwrap().unwrap();
}

#[tokio::test]
async fn bulk_data_arrives_whole_while_buffers_grow() {
    let (mut client, mut near) = duplex(1 << 20);
    let (mut far, mut server) = duplex(1 << 20);
    let data: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let expected = data.clone();
    tokio::spawn(async move { copy_bidirectional(&mut near, &mut far).await });
    tokio::spawn(async move {
        client.write_all(&data).await.unwrap();
        client.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    server.read_to_end(&mut received).await.unwrap();
    assert!(received == expected);
}

#[tokio::test]
async fn a_failure_names_its_side() {
    let (mut client, mut near) = duplex(16);
    let (mut far, server) = duplex(16);
    drop(server);
    client.write_all(b"x").await.unwrap();
    let error = copy_bidirectional(&mut near, &mut far).await.unwrap_err();
    assert_eq!(error.end, End::Second);
}

/// A connection whose far end has said `part` and then broken it.
async fn broken() -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    far.write_all(b"part").await.unwrap();
    near.readable().await.unwrap();
    SockRef::from(&far).set_linger(Some(Duration::ZERO)).unwrap();
    drop(far);
    near.ready(tokio::io::Interest::ERROR).await.unwrap();
    near
}

#[tokio::test]
async fn what_a_stream_has_sent_before_it_broke_arrives_and_no_end() {
    // Whether something is to be written to it or not.
    for asked in [&b""[..], b"question"] {
        let (mut client, near) = duplex(64);
        client.write_all(asked).await.unwrap();
        let (mut near, mut far) = (BufStream::new(near), broken().await);
        let error = copy_bidirectional(&mut near, &mut far).await.unwrap_err();
        assert_eq!(error.end, End::Second, "{error}");
        let mut part = [0; 4];
        client.read_exact(&mut part).await.unwrap();
        assert_eq!(&part, b"part");
        let more = tokio::time::timeout(Duration::from_millis(50), client.read(&mut part)).await;
        assert!(more.is_err(), "an end was made of it: {more:?}");
    }
}
