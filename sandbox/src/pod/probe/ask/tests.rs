use std::convert::Infallible;

use http::{HeaderMap, Response};
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use serde_json::json;
use tokio::net::TcpListener;

use super::*;

/// A health server that says SERVING for the service `up` and NOT_SERVING for the rest.
async fn health_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = service_fn(|request: Request<Incoming>| async {
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                let asked = request.into_body().collect().await.unwrap().to_bytes();
                let state = if asked.ends_with(b"up") { SERVING } else { 2 };
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", "0".parse().unwrap());
                let frames = [
                    Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 0x08, state]))),
                    Ok(Frame::trailers(trailers)),
                ];
                let body = StreamBody::new(futures::stream::iter(frames));
                Ok::<_, Infallible>(
                    Response::builder().header("content-type", "application/grpc").body(body).unwrap(),
                )
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), answer));
        }
    });
    address
}

#[tokio::test]
async fn grpc_health_is_serving_or_not() {
    let address = health_server().await;
    assert_eq!(grpc_health(address, "up").await, Ok(()));
    assert!(grpc_health(address, "down").await.unwrap_err().contains("is not SERVING"));
    assert!(grpc_health(address, "").await.is_err());
}

#[test]
fn health_requests_are_framed_protobuf() {
    assert_eq!(&health_request("")[..], [0; 5]);
    assert_eq!(&health_request("up")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'u', b'p']);
}

#[tokio::test]
async fn an_http_probe_sends_its_headers_and_reads_the_status() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let answer = service_fn(|request: Request<Incoming>| async move {
            let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
            let seen =
                (header("host"), header("x-probe"), header("user-agent"), request.uri().path().to_owned());
            let expected = ("example.com".into(), "1".into(), USER_AGENT.into(), "/ready".into());
            let status = if seen == expected { StatusCode::NO_CONTENT } else { StatusCode::BAD_REQUEST };
            Ok::<_, Infallible>(Response::builder().status(status).body(Full::<Bytes>::default()).unwrap())
        });
        let _ =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
    });
    let get = json!({ "path": "ready", "httpHeaders": [
        { "name": "Host", "value": "example.com" }, { "name": "X-Probe", "value": "1" },
    ] });
    assert_eq!(http_get(address, &get).await.unwrap(), StatusCode::NO_CONTENT);
}
