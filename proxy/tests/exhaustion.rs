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

use destinations::{endpoint, opaque};
use harness::{CLIENT, Mesh, Proxy, Setup, get};
use http::Version;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{Read as _, Write as _};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// The limit is the process's: held by the test that changes it.
static TURN: Mutex<()> = Mutex::const_new(());

/// The limit as it was, which comes back in the end.
struct Limited {
    before: Rlimit,
    taken: Vec<std::fs::File>,
}

impl Drop for Limited {
    fn drop(&mut self) {
        self.taken.clear();
        setrlimit(Resource::Nofile, self.before).unwrap();
    }
}

/// Leaves this process `free` more descriptors than it has open.
fn leave(free: usize) -> Limited {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(open + 100), ..before }).unwrap();
    // The limit is on the numbers of descriptors, some of which are free: all are taken, and some given back.
    let mut taken = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        taken.push(file);
    }
    taken.truncate(taken.len() - free);
    Limited { before, taken }
}

#[tokio::test]
async fn without_descriptors_a_proxy_waits_and_then_goes_on() {
    let _turn = TURN.lock().await;
    let settings = [("ISTHMUS_MAX_CONNECTIONS", "1000000")];
    let proxy = Proxy::start(app::http().await, &settings).await;
    assert_eq!(get(proxy.plain().await, Version::HTTP_11, "/").await.status(), 200);
    let _limited = leave(10);
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

#[tokio::test]
async fn without_descriptors_connections_without_a_request_give_way() {
    let _turn = TURN.lock().await;
    let proxy = Proxy::start(app::http().await, &[("ISTHMUS_MAX_CONNECTIONS", "1000000")]).await;
    let mut kept = Vec::new();
    for _ in 0..20 {
        let mut client = proxy.plain().await;
        client.write_all(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'H');
        kept.push(client);
    }
    // For a client; the proxy has none for what it accepts.
    let _limited = leave(1);
    let connecting = async {
        loop {
            if let Ok(client) = TcpStream::connect(("127.0.0.1", proxy.inbound)).await {
                break client;
            }
            tokio::task::yield_now().await;
        }
    };
    let response = get(timeout(harness::LIMIT, connecting).await.unwrap(), Version::HTTP_11, "/");
    assert_eq!(timeout(harness::LIMIT, response).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_connection_waits_for_a_descriptor_to_go_on_with() {
    let _turn = TURN.lock().await;
    let proxy = to_an_opaque_application().await;
    assert_eq!(exchange(proxy.out().await).await.unwrap(), b'!');
    // One for the client and one for what the proxy accepts, so that it has none to go on with. What earlier exchanges give
    // back late comes on top: then it goes on at once, and nothing is learned.
    let mut waited = false;
    for _ in 0..50 {
        let limited = leave(2);
        let Ok(client) = TcpStream::connect(("127.0.0.1", proxy.outbound)).await else { continue };
        let exchange = tokio::spawn(exchange(client));
        let used_up = || async { exchange.is_finished() || std::fs::File::open("/dev/null").is_err() };
        proxy.until("out of descriptors, or done", used_up).await;
        // Ample for a proxy that does not wait.
        tokio::time::sleep(Duration::from_millis(50)).await;
        waited = !exchange.is_finished();
        drop(limited);
        assert_eq!(exchange.await.unwrap().unwrap(), b'!');
        if waited {
            break;
        }
    }
    assert!(waited, "the proxy never ran out of descriptors");
}

#[tokio::test]
async fn an_endpoint_is_not_ejected_for_the_want_of_descriptors_here() {
    let _turn = TURN.lock().await;
    let proxy = to_an_opaque_application().await;
    assert_eq!(exchange(proxy.out().await).await.unwrap(), b'!');
    // One for the client and one for what the proxy accepts, so that it has none to go on with. What earlier exchanges give
    // back late comes on top, and the application may take one: then nothing is learned.
    let mut failed = false;
    for _ in 0..50 {
        let limited = leave(2);
        if let Ok(client) = TcpStream::connect(("127.0.0.1", proxy.outbound)).await {
            failed = matches!(timeout(Duration::from_secs(3), exchange(client)).await, Ok(Err(_)));
        }
        drop(limited);
        if failed {
            break;
        }
    }
    assert!(failed, "the proxy never ran out of descriptors");
    assert_eq!(exchange(proxy.out().await).await.unwrap(), b'!');
}

/// A proxy whose clients are sent on to an application that is opaque, and answers each byte.
async fn to_an_opaque_application() -> Proxy {
    const WEB: &str = "web.shop.svc.cluster.local:80";
    const VIRTUAL: &str = "10.43.0.9:80";
    let app = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = app.local_addr().unwrap();
    // It wants descriptors of the same process, and tries again where there are none.
    std::thread::spawn(move || {
        app.incoming().flatten().for_each(|client| answer(client).unwrap_or_default())
    });
    let mesh = Mesh::new().await;
    mesh.destinations.set_policy(VIRTUAL, opaque(WEB)).await;
    mesh.destinations.set_endpoints(WEB, vec![endpoint(address)]).await;
    let outbound = VIRTUAL.parse().unwrap();
    mesh.proxy(Setup { identity: CLIENT, outbound, ..Setup::default() }).await
}

/// What a client does: one byte, and its answer.
async fn exchange(mut client: TcpStream) -> std::io::Result<u8> {
    client.write_all(b"?").await?;
    client.read_u8().await
}

/// An application's answer to one byte.
fn answer(mut client: std::net::TcpStream) -> std::io::Result<()> {
    client.read_exact(&mut [0])?;
    client.write_all(b"!")
}
