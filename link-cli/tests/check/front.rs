//! An API server that stands before a test's and gives some answers of its own.

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use mesh_testkit::{Cluster, Http};
use serde_json::Value;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;

/// An answer for a method and a path, or none of its own.
pub(crate) type Answer = fn(&Method, &str) -> Option<(StatusCode, Value)>;

/// Serves until the test ends; answers a kubeconfig that leads to it.
pub(crate) async fn before(cluster: &Cluster, answer: Answer) -> PathBuf {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = std::fs::read_to_string(cluster.kubeconfig_path()).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let path = cluster.directory().join("front");
    std::fs::write(&path, config.replace(cluster.url(), &url)).unwrap();
    let behind = Arc::new(cluster.http().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let behind = Arc::clone(&behind);
            let service = service_fn(move |request| {
                let behind = Arc::clone(&behind);
                async move { Ok::<_, Infallible>(respond(&behind, answer, request).await) }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    path
}

async fn respond(behind: &Http, answer: Answer, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, text) = match answer(request.method(), request.uri().path()) {
        Some((status, body)) => (status, body.to_string()),
        None => {
            let (mut head, body) = request.into_parts();
            head.headers.remove("host");
            let body = body.collect().await.unwrap().to_bytes();
            let reply = behind.send(Request::from_parts(head, Full::new(body))).await.unwrap();
            (reply.status, reply.text)
        }
    };
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(Full::new(Bytes::from(text))).unwrap()
}
