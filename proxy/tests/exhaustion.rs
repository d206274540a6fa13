//! Running out of file descriptors. A process of its own, because the limit is the process's.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "the harness serves other tests, too")]

#[path = "proxy/app.rs"]
mod app;
#[path = "proxy/control.rs"]
mod control;
#[path = "proxy/destinations.rs"]
mod destinations;
#[path = "proxy/harness.rs"]
mod harness;

use harness::{Proxy, get};
use http::Version;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::Duration;

/// Leaves this process `free` more descriptors than it has open.
fn leave(free: u64) {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let limit = Rlimit { current: Some(open + free), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[tokio::test]
async fn without_descriptors_a_proxy_waits_and_then_goes_on() {
    let settings = [("ISTHMUS_MAX_CONNECTIONS", "1000000")];
    let proxy = Proxy::start(app::http().await, &settings).await;
    assert_eq!(get(proxy.plain().await, Version::HTTP_11, "/").await.status(), 200);
    leave(10);
    // The clients take what is left; what they have opened then waits in the backlog.
    let to = ("127.0.0.1", proxy.inbound);
    let mut clients = Vec::new();
    while let Ok(client) = std::net::TcpStream::connect(to) {
        clients.push(client);
    }
    assert!(!clients.is_empty());
    // Long enough for thousands of tries by one that spins.
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(clients);
    proxy.until_metric("isthmus_tcp_accept_errors_total", &["too many open files"]).await;
    let (_, text) = proxy.admin("/metrics").await;
    let line = text
        .lines()
        .find(|line| line.starts_with("isthmus_tcp_accept_errors_total") && line.contains("too many open"));
    let failed: u64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(failed < 100, "{failed} tries");
    let served = || async {
        let stream = tokio::net::TcpStream::connect(to).await;
        match stream {
            Ok(stream) => {
                harness::try_get(stream, Version::HTTP_11, "/").await.is_ok_and(|r| r.status() == 200)
            }
            Err(_) => false,
        }
    };
    proxy.until("served again", served).await;
}
