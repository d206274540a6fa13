use super::*;
use crate::streaming::spdy::control;
use crate::streaming::spdy::testing::{Client, Said};

#[tokio::test]
async fn pings_come_back_and_what_calls_for_nothing_is_passed_over() {
    let (mut client, io) = Client::new();
    let (mut frames, outlet, _) = start(io);
    client.send(&control(9, 0, &[0; 8])).await;
    client.send(&Writer::pong(7)).await;
    client.send(&Writer::pong(2)).await;
    client.open(1, &[("streamtype", "data")]).await;
    let Some(Frame::Open { stream: 1, headers, .. }) = frames.next().await else { panic!("no stream") };
    assert_eq!(headers, [("streamtype".to_owned(), "data".to_owned())]);
    frames.accept(1).await.unwrap();
    outlet.copy(1, &b"out"[..]).await.unwrap();
    assert_eq!(client.said().await, Some(Said::Pong(7)), "the server's own ping is not sent back");
    assert_eq!(client.said().await, Some(Said::Accepted(1)));
    assert_eq!(client.said().await, Some(Said::Data(1, b"out".to_vec(), false)));
    assert_eq!(client.said().await, Some(Said::Data(1, Vec::new(), true)));
    client.hang_up().await;
    assert_eq!(frames.next().await, None);
    drop((frames, outlet));
    assert_eq!(client.said().await, None);
}

#[tokio::test]
async fn a_client_that_makes_no_sense_is_told_and_left() {
    for numbers in [&[2][..], &[3, 3], &[5, 3]] {
        let (mut client, io) = Client::new();
        let (mut frames, outlet, _) = start(io);
        for number in numbers {
            client.open(*number, &[]).await;
        }
        for _ in 1..numbers.len() {
            assert!(frames.next().await.is_some());
        }
        assert_eq!(frames.next().await, None, "{numbers:?}");
        drop((frames, outlet));
        assert_eq!(client.rest().await, [Said::GoAway(true)]);
    }
    let (mut client, io) = Client::new();
    let (mut frames, _outlet, _) = start(io);
    client.send(b"GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(frames.next().await, None);
    assert_eq!(client.said().await, Some(Said::GoAway(true)));
}
