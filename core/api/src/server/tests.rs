use super::*;
use futures::StreamExt as _;

#[tokio::test]
async fn slow_reader_receives_only_the_latest_view() {
    let (tx, rx) = watch::channel(Arc::new(0));
    let stream =
        latest(rx, std::future::pending(), |last: Option<&i32>, now: &i32| Ok(vec![(last.copied(), *now)]));
    let mut stream = Box::pin(stream);
    assert_eq!(stream.next().await.map(Result::unwrap), Some((None, 0)));
    for n in 1..=100 {
        tx.send_replace(Arc::new(n));
    }
    assert_eq!(stream.next().await.map(Result::unwrap), Some((Some(0), 100)));
}

#[tokio::test]
async fn views_that_render_to_nothing_are_not_sent() {
    let (tx, rx) = watch::channel(Arc::new(1));
    let changed = |last: Option<&i32>, now: &i32| Ok(if last == Some(now) { vec![] } else { vec![*now] });
    let mut stream = Box::pin(latest(rx, std::future::pending(), changed));
    assert_eq!(stream.next().await.map(Result::unwrap), Some(1));
    tx.send_replace(Arc::new(1));
    assert!(futures::poll!(stream.next()).is_pending());
    tx.send_replace(Arc::new(2));
    assert_eq!(stream.next().await.map(Result::unwrap), Some(2));
}

#[tokio::test]
async fn a_stream_ends_when_the_server_drains() {
    let (_tx, rx) = watch::channel(Arc::new(1));
    let stream = latest(rx, std::future::ready(()), |_: Option<&i32>, now: &i32| Ok(vec![*now]));
    assert_eq!(stream.collect::<Vec<_>>().await.len(), 1);
}

#[tokio::test]
async fn a_refusal_ends_the_stream() {
    let (_tx, rx) = watch::channel(Arc::new(1));
    let refuse = |_: Option<&i32>, _: &i32| Err::<Vec<i32>, _>(Status::not_found("gone"));
    let all = latest(rx, std::future::pending(), refuse).collect::<Vec<_>>().await;
    assert_eq!(all.len(), 1);
    assert!(all[0].is_err());
}
