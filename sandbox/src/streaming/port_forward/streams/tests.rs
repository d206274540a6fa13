use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::streaming::spdy::testing::{Client, Said, said, write};

/// Every port leads to a listener that echoes, but for port 9, which refuses.
async fn echo() -> Dial {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.into_split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    Arc::new(move |port| {
        Box::pin(async move {
            if port == 9 {
                Err(std::io::ErrorKind::ConnectionRefused.into())
            } else {
                TcpStream::connect(address).await
            }
        })
    })
}

async fn open_pair(client: &mut Client, first: u32, port: &str) {
    let request = first.to_string();
    for (stream, kind) in [(first, "error"), (first + 2, "data")] {
        client.open(stream, &[("streamtype", kind), ("port", port), ("requestid", &request)]).await;
        assert_eq!(client.said().await, Some(Said::Accepted(stream)));
    }
}

#[tokio::test]
async fn connections_are_carried_side_by_side_and_end_on_their_own() {
    let (mut client, io) = Client::new();
    let serving = tokio::spawn(serve(io, echo().await));
    open_pair(&mut client, 1, "80").await;
    open_pair(&mut client, 5, "81").await;
    client.data(7, b"second", false).await;
    assert_eq!(client.said().await, Some(Said::Data(7, b"second".to_vec(), false)));
    client.data(3, b"first", true).await;
    assert_eq!(client.said().await, Some(Said::Data(3, b"first".to_vec(), false)));
    assert_eq!(client.said().await, Some(Said::Data(3, Vec::new(), true)));
    assert_eq!(client.said().await, Some(Said::Data(1, Vec::new(), true)), "no error to tell");
    client.data(7, b"goes on", false).await;
    assert_eq!(client.said().await, Some(Said::Data(7, b"goes on".to_vec(), false)));
    client.hang_up().await;
    serving.await.unwrap();
    assert_eq!(client.said().await, None, "nothing is left open");
}

#[tokio::test]
async fn a_refused_port_is_told_on_the_error_stream() {
    let (mut client, io) = Client::new();
    tokio::spawn(serve(io, echo().await));
    open_pair(&mut client, 1, "9").await;
    let Some(Said::Data(1, reason, true)) = client.said().await else { panic!("no reason") };
    let reason = String::from_utf8(reason).unwrap();
    assert!(reason.starts_with("failed to connect to port 9 inside the pod: "), "{reason}");
    assert_eq!(client.said().await, Some(Said::Data(3, Vec::new(), true)));
}

#[tokio::test]
async fn streams_with_headers_that_make_no_sense_are_reset() {
    let (mut client, io) = Client::new();
    tokio::spawn(serve(io, echo().await));
    let mistaken = [
        [("streamtype", "data"), ("port", "http")],
        [("streamtype", "data"), ("port", "0")],
        [("streamtype", "other"), ("port", "80")],
    ];
    for (stream, headers) in (1..).step_by(2).zip(&mistaken) {
        client.open(stream, headers).await;
        assert_eq!(client.said().await, Some(Said::Reset(stream, 1)), "{headers:?}");
    }
}

#[tokio::test]
async fn much_in_both_directions_at_once_does_not_stop_itself() {
    const SIZE: usize = 16 << 20;
    let (mut client, io) = Client::new();
    tokio::spawn(serve(io, echo().await));
    open_pair(&mut client, 1, "80").await;
    let (mut reader, mut writer) = client.split();
    let sending = tokio::spawn(async move {
        let piece = vec![7; 64 * 1024];
        for _ in 0..SIZE / piece.len() {
            write(&mut writer, 3, &piece, false).await;
        }
        write(&mut writer, 3, &[], true).await;
        writer
    });
    let mut received = 0;
    let reading = async {
        loop {
            match said(&mut reader).await.unwrap() {
                Said::Data(3, data, is_last) => {
                    received += data.len();
                    if is_last {
                        return;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading).await.expect("the tunnel goes on");
    assert_eq!(received, SIZE);
    let mut writer = sending.await.unwrap();
    writer.shutdown().await.unwrap();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).await.unwrap();
}
