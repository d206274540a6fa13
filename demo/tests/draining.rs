//! Services that are told to stop finish what they have begun.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use futures::channel::mpsc;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command};
use std::time::Duration;
use tokio::net::TcpStream;

type Piece = Result<Frame<Bytes>, Infallible>;
type Client = SendRequest<StreamBody<mpsc::UnboundedReceiver<Piece>>>;

/// A message of gRPC without content.
const BASKET: Bytes = Bytes::from_static(&[0; 5]);

/// A process that does not outlive the test.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

async fn eventually<T>(mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let repeated = async {
        loop {
            if let Some(outcome) = attempt().await {
                return outcome;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), repeated).await.unwrap()
}

/// Begins to ask for a quote: the body is for the caller to send, the outcome is that of the call.
fn ask(
    client: &mut Client,
) -> (mpsc::UnboundedSender<Piece>, tokio::task::JoinHandle<hyper::Result<String>>) {
    let (body, frames) = mpsc::unbounded();
    let request = hyper::Request::post("http://pricing/shop.Pricing/Quote")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let answer = client.send_request(request.body(StreamBody::new(frames)).unwrap());
    let status = tokio::spawn(async move {
        let answer = answer.await?.into_body().collect().await?;
        let trailers = answer.trailers().cloned().unwrap_or_default();
        Ok(trailers.get("grpc-status").map_or_else(String::new, |s| s.to_str().unwrap().to_owned()))
    });
    (body, status)
}

#[tokio::test]
async fn a_call_that_has_begun_is_answered_by_a_service_that_is_told_to_stop() {
    let listen = free_address();
    let binary = env!("CARGO_BIN_EXE_isthmus-demo");
    let service =
        Service(Command::new(binary).args(["pricing", "--listen", &listen.to_string()]).spawn().unwrap());
    let connected = eventually(async || TcpStream::connect(listen).await.ok()).await;
    let (mut client, connection) = handshake(TokioExecutor::new(), TokioIo::new(connected)).await.unwrap();
    tokio::spawn(connection);
    let (begun, outcome) = ask(&mut client);
    // One that is answered comes after it on the same connection: the service knows of both.
    let (whole, answered) = ask(&mut client);
    whole.unbounded_send(Ok(Frame::data(BASKET))).unwrap();
    drop(whole);
    assert_eq!(answered.await.unwrap().unwrap(), "0");

    assert!(Command::new("kill").args(["-TERM", &service.0.id().to_string()]).status().unwrap().success());
    eventually(async || TcpStream::connect(listen).await.err()).await;
    begun.unbounded_send(Ok(Frame::data(BASKET))).unwrap();
    drop(begun);
    assert_eq!(outcome.await.unwrap().unwrap(), "0");
}
