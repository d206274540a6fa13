use super::*;
use http_body_util::BodyExt;

async fn read(body: Body) -> Bytes {
    body.collect().await.unwrap().to_bytes()
}

fn keeping(limit: usize, memory: &Arc<Memory>) -> Keeping {
    Keeping { limit, memory: Arc::clone(memory), clock: None, frames: None }
}

fn replay(body: Body, limit: usize) -> Replay {
    Replay::new(body, || keeping(limit, &Memory::new(1000)))
}

#[tokio::test]
async fn a_body_within_the_limit_can_be_read_again() {
    let replay = replay(Body::full("hello"), 5);
    for _ in 0..3 {
        assert_eq!(read(replay.copy().unwrap()).await, "hello");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_can_be_read_once() {
    let replay = replay(Body::full("hello"), 4);
    assert_eq!(read(replay.copy().unwrap()).await, "hello");
    assert!(replay.copy().is_none());
}

#[tokio::test]
async fn trailers_are_sent_again() {
    let trailers = HeaderMap::from_iter([("a".parse().unwrap(), "b".parse().unwrap())]);
    let replay = replay(Body::Trailers(Box::new(trailers.clone())), 10);
    for _ in 0..2 {
        let collected = replay.copy().unwrap().collect().await.unwrap();
        assert_eq!(collected.trailers(), Some(&trailers));
    }
}

#[tokio::test]
async fn an_unread_body_knows_its_length() {
    let unread = replay(Body::full("hello"), 10);
    let body = unread.copy().unwrap();
    assert_eq!(body.size_hint().exact(), Some(5));
    assert!(!body.is_end_stream());
    drop(read(body).await);
    assert_eq!(unread.copy().unwrap().size_hint().exact(), Some(5));
    assert!(replay(Body::Empty, 10).copy().unwrap().is_end_stream());
}

#[tokio::test]
async fn bodies_together_keep_no_more_than_the_memory_there_is_and_give_it_back() {
    let memory = Memory::new(8);
    let first = Replay::new(Body::full("hello"), || keeping(64, &memory));
    let second = Replay::new(Body::full("world"), || keeping(64, &memory));
    assert_eq!(read(first.copy().unwrap()).await, "hello");
    assert_eq!(memory.used(), 5);
    assert_eq!(read(second.copy().unwrap()).await, "world", "it passes all the same");
    assert!(second.copy().is_none(), "and cannot be sent again");
    assert_eq!(memory.used(), 5);
    drop(first);
    assert_eq!(memory.used(), 0);
}

#[tokio::test]
async fn a_body_of_which_a_piece_was_read_is_whole_again() {
    let trailers = HeaderMap::from_iter([("a".parse().unwrap(), "b".parse().unwrap())]);
    for rest in [Body::full("world"), Body::Empty, Body::Trailers(Box::new(trailers))] {
        let with_trailers = matches!(rest, Body::Trailers(_));
        let expected = if matches!(rest, Body::Full(_)) { "helloworld" } else { "hello" };
        let read = resumed(Bytes::from_static(b"hello"), rest, &Memory::new(0)).collect().await.unwrap();
        assert_eq!(read.trailers().is_some(), with_trailers);
        assert_eq!(read.to_bytes(), expected);
    }
}

#[tokio::test]
async fn a_body_larger_than_a_policy_allows_is_not_sent_again_by_it() {
    let replay = replay(Body::full("hello"), 64);
    assert_eq!(read(replay.copy().unwrap()).await, "hello");
    assert!(replay.can_copy(5) && !replay.can_copy(4));
}
