use super::*;
use crate::http::replay::Replay;
use http_body_util::{BodyExt, StreamBody};

#[tokio::test(start_paused = true)]
async fn a_body_that_ends_in_time_is_not_touched() {
    let limit = Duration::from_secs(1);
    let body = Body::Limited(Box::new(Limited::new(Body::full("hello"), Instant::now() + limit, limit)));
    assert_eq!(body.collect().await.unwrap().to_bytes(), "hello");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_fails_at_the_deadline() {
    let (a, b) = tokio::io::duplex(1024);
    let serve = async move {
        let answer = hyper::service::service_fn(|_| async {
            let frames = futures::stream::pending::<Result<Frame<Bytes>, std::convert::Infallible>>();
            Ok::<_, std::convert::Infallible>(http::Response::new(StreamBody::new(frames)))
        });
        let io = hyper_util::rt::TokioIo::new(a);
        drop(hyper::server::conn::http1::Builder::new().serve_connection(io, answer).await);
    };
    let ask = async move {
        let io = hyper_util::rt::TokioIo::new(b);
        let (mut sender, connection) = hyper::client::conn::http1::handshake::<_, Body>(io).await.unwrap();
        let request = http::Request::new(Replay::new(Body::Empty, 0).copy().unwrap());
        let exchange = async {
            let response = sender.send_request(request).await.unwrap();
            let (start, limit) = (Instant::now(), Duration::from_secs(3));
            let limited = Limited::new(Body::from(response.into_body()), start + limit, limit);
            let error = Body::Limited(Box::new(limited)).collect().await.unwrap_err();
            assert!(matches!(error, Error::RequestTimeout(_)));
            assert_eq!(start.elapsed(), limit);
        };
        tokio::select! {
            () = exchange => {}
            _ = connection => panic!("the connection ended"),
        }
    };
    tokio::select! {
        () = serve => panic!("the server ended"),
        () = ask => {}
    }
}
