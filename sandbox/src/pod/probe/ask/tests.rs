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

#[tokio::test]
async fn an_https_probe_asks_whoever_answers_and_reads_the_status() {
    let authority = mesh_tls::Authority::new_root("nobody knows it", Duration::from_secs(60)).unwrap();
    let pair = authority.issue_server(&["elsewhere.test"], &[], Duration::from_secs(60)).unwrap();
    let acceptor = mesh_tls::server_acceptor(&pair, None, &[b"http/1.1"]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let answer = service_fn(|request: Request<Incoming>| async move {
                let is_ready = request.uri().path() == "/ready";
                let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                Ok::<_, Infallible>(
                    Response::builder().status(status).body(Full::<Bytes>::default()).unwrap(),
                )
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer),
            );
        }
    });
    let get = |path: &str| json!({ "path": path, "scheme": "HTTPS" });
    assert_eq!(http_get(address, &get("/ready")).await, Ok(StatusCode::OK));
    assert_eq!(http_get(address, &get("/live")).await, Ok(StatusCode::SERVICE_UNAVAILABLE));
    let plain = http_get(address, &json!({ "path": "/ready" })).await.unwrap_err();
    assert!(plain.starts_with(&format!("Get \"http://{address}/ready\": ")), "{plain}");
}

#[tokio::test]
async fn an_https_probe_of_a_plain_server_says_that_the_handshake_failed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.unwrap();
        // Kept open: a reset would hide the answer.
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    });
    let refused = http_get(address, &json!({ "path": "/", "scheme": "HTTPS" })).await.unwrap_err();
    assert!(refused.starts_with(&format!("Get \"https://{address}/\": TLS handshake: ")), "{refused}");
}
