use super::*;
use http_body_util::BodyExt;

async fn read(body: Body) -> Bytes {
    body.collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn a_body_within_the_limit_can_be_read_again() {
    let replay = Replay::new(Body::full("hello"), 5);
    for _ in 0..3 {
        assert_eq!(read(replay.copy().unwrap()).await, "hello");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_can_be_read_once() {
    let replay = Replay::new(Body::full("hello"), 4);
    assert_eq!(read(replay.copy().unwrap()).await, "hello");
    assert!(replay.copy().is_none());
}

#[tokio::test]
async fn trailers_are_sent_again() {
    let trailers = HeaderMap::from_iter([("a".parse().unwrap(), "b".parse().unwrap())]);
    let replay = Replay::new(Body::Trailers(Box::new(trailers.clone())), 10);
    for _ in 0..2 {
        let collected = replay.copy().unwrap().collect().await.unwrap();
        assert_eq!(collected.trailers(), Some(&trailers));
    }
}

#[tokio::test]
async fn an_unread_body_knows_its_length() {
    let replay = Replay::new(Body::full("hello"), 10);
    let body = replay.copy().unwrap();
    assert_eq!(body.size_hint().exact(), Some(5));
    assert!(!body.is_end_stream());
    drop(read(body).await);
    assert_eq!(replay.copy().unwrap().size_hint().exact(), Some(5));
    assert!(Replay::new(Body::Empty, 10).copy().unwrap().is_end_stream());
}
