use super::*;
use http_body_util::BodyExt;
use std::cell::RefCell;
use std::rc::Rc;

#[derive(Default)]
struct Log(Rc<RefCell<Vec<String>>>);

impl Observe for Log {
    fn data(&mut self, len: usize) {
        self.0.borrow_mut().push(format!("data {len}"));
    }
    fn end(&mut self, end: End<'_>) {
        self.0.borrow_mut().push(match end {
            End::Complete(trailers) => format!("complete {}", trailers.is_some()),
            End::Failed(error) => format!("failed {error}"),
            End::Dropped => "dropped".into(),
        });
    }
}

#[tokio::test]
async fn observer_sees_data_and_one_end() {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let body = Body::full("hello").observed(Log(seen.clone()));
    assert_eq!(body.size_hint().exact(), Some(5));
    assert_eq!(body.collect().await.unwrap().to_bytes(), "hello");
    assert_eq!(*seen.borrow(), ["data 5", "complete false"]);
}

#[tokio::test]
async fn observer_sees_trailers() {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let body = Body::Trailers(Box::new(trailers)).observed(Log(seen.clone()));
    let collected = body.collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(*seen.borrow(), ["complete true"]);
}

#[test]
fn an_unread_body_ends_as_dropped() {
    let seen = Rc::new(RefCell::new(Vec::new()));
    drop(Body::full("hello").observed(Log(seen.clone())));
    assert_eq!(*seen.borrow(), ["dropped"]);
}

#[test]
fn an_empty_body_ends_at_once() {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let body = Body::full("").observed(Log(seen.clone()));
    assert!(matches!(body, Body::Empty));
    assert_eq!(*seen.borrow(), ["complete false"]);
}
