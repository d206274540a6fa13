//! Requests that are lost on their way: which are made again, and where.

use crate::destinations::{endpoint, service, tiers};
use crate::failover::{ask, named};
use crate::harness::{Mesh, Setup, send};
use crate::outbound::{VIRTUAL, WEB, client, through};
use http::{Request, Version};
use http_body_util::Full;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Answers the first request on every connection, and closes the connection when the second one has come, as an
/// application does whose patience ended at that moment. Counts the requests that it read.
async fn closing_when_used_again() -> (SocketAddr, Arc<AtomicU64>) {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nkept";
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let addr = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
    let read = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&read);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                for turn in 0..2 {
                    let (mut head, mut buf) = (Vec::new(), [0; 1024]);
                    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                        match stream.read(&mut buf).await {
                            Ok(n @ 1..) => head.extend_from_slice(&buf[..n]),
                            _ => return,
                        }
                    }
                    count.fetch_add(1, Relaxed);
                    if turn == 0 && stream.write_all(ANSWER).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (addr, read)
}

#[tokio::test]
async fn a_kept_connection_that_closes_as_it_is_used_again_costs_no_request_that_may_be_repeated() {
    let mesh = Mesh::new().await;
    mesh.destinations.set_policy(VIRTUAL, service(WEB)).await;
    let (app, read) = closing_when_used_again().await;
    let server = mesh.proxy(Setup { app, ..Setup::default() }).await;
    let client = client(&mesh).await;
    for (repeats, endpoint) in [(2, endpoint(app)), (2, through(&server, app))] {
        mesh.destinations.set_endpoints(WEB, vec![endpoint]).await;
        let before = read.load(Relaxed);
        for _ in 0..6 {
            assert_eq!(ask(&client).await, "kept");
        }
        assert!(read.load(Relaxed) - before >= 6 + repeats, "no connection was used twice");
        // Whether an order was taken nobody knows, so it is not placed again.
        let mut answers = Vec::new();
        for _ in 0..2 {
            let request = Request::post("/").header("host", "catalog").body(Full::default()).unwrap();
            let response = send(client.out().await, Version::HTTP_11, request).await.unwrap();
            answers.push((response.status().as_u16(), response.headers().contains_key("isthmus-retry-safe")));
        }
        assert!(answers.contains(&(502, false)), "{answers:?}");
    }
}

/// Lets go of each new connection unread once a request has come, as the queue of a listener that is closed, but for the
/// one that follows a loss: that is answered. Counts the losses.
async fn closing_before_it_accepts() -> (SocketAddr, Arc<AtomicU64>) {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nnew";
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let addr = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
    let lost = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&lost);
    tokio::spawn(async move {
        let mut answers = false;
        while let Ok((mut stream, _)) = listener.accept().await {
            match stream.peek(&mut [0; 1024]).await {
                Ok(1..) if answers => {
                    let read = stream.read(&mut [0; 1024]).await;
                    answers = !matches!(read, Ok(1..)) || stream.write_all(ANSWER).await.is_err();
                }
                Ok(1..) => {
                    count.fetch_add(1, Relaxed);
                    answers = true;
                }
                _ => {}
            }
        }
    });
    (addr, lost)
}

#[tokio::test]
async fn a_request_that_a_closing_listener_drops_unread_is_made_again_if_it_may_be_repeated() {
    let mesh = Mesh::new().await;
    mesh.destinations.set_policy(VIRTUAL, service(WEB)).await;
    let (app, lost) = closing_before_it_accepts().await;
    let server = mesh.proxy(Setup { app, ..Setup::default() }).await;
    let client = client(&mesh).await;
    for endpoint in [endpoint(app), through(&server, app)] {
        mesh.destinations.set_endpoints(WEB, vec![endpoint]).await;
        let before = lost.load(Relaxed);
        for _ in 0..3 {
            assert_eq!(ask(&client).await, "new");
        }
        assert_eq!(lost.load(Relaxed) - before, 3);
        let request = Request::post("/").header("host", "catalog").body(Full::default()).unwrap();
        let response = send(client.out().await, Version::HTTP_11, request).await.unwrap();
        assert_eq!(response.status(), 502);
        assert_eq!(ask(&client).await, "new");
    }
}

/// Reads a request and is gone, as an application that was killed.
async fn dying() -> SocketAddr {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let addr = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move { stream.read(&mut [0; 1024]).await });
        }
    });
    addr
}

#[tokio::test]
async fn requests_lost_with_their_application_are_answered_by_the_next_tier_if_they_may_be_repeated() {
    let (near, far) = ("near.catalog:80", "far.catalog:80");
    for meshed in [false, true] {
        let mesh = Mesh::new().await;
        let app = dying().await;
        let server = mesh.proxy(Setup { app, ..Setup::default() }).await;
        let (other, _far) = named("far").await;
        let first = if meshed { through(&server, app) } else { endpoint(app) };
        mesh.destinations.set_policy(VIRTUAL, tiers(&[near, far])).await;
        mesh.destinations.set_endpoints(near, vec![first]).await;
        mesh.destinations.set_endpoints(far, vec![endpoint(other)]).await;
        let client = client(&mesh).await;
        assert_eq!(ask(&client).await, "far");
        let request = Request::post("/").header("host", "catalog").body(Full::default()).unwrap();
        let response = send(client.out().await, Version::HTTP_11, request).await.unwrap();
        assert_eq!(response.status(), 502);
        assert!(!response.headers().contains_key("isthmus-retry-safe"));
    }
}
