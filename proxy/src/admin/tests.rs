use super::*;
use mesh_tls::{Authority, TrustBundle};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn start(shutdown: bool) -> (SocketAddr, Readiness, Option<Arc<Notify>>) {
    let root = Authority::new_root("root", Duration::from_secs(60)).unwrap();
    let bundle = TrustBundle::from_pem(&root.cert_pem()).unwrap();
    let ready = Readiness::default();
    let shutdown = shutdown.then(Arc::<Notify>::default);
    let admin = Admin {
        ready: ready.clone(),
        registry: Registry::new(),
        env: [("LINKERD2_PROXY_LOG", "warn")].into_iter().collect(),
        tls: MeshTls::new("web.shop".parse().unwrap(), bundle).unwrap(),
        log: None,
        shutdown: shutdown.clone(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::task::spawn_local(serve(listener, admin));
    (addr, ready, shutdown)
}

async fn ask(addr: SocketAddr, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "local")]
async fn readiness_follows_the_proxy() {
    let (addr, ready, _) = start(false).await;
    assert!(ask(addr, "GET", "/live").await.starts_with("HTTP/1.1 200"));
    assert!(ask(addr, "GET", "/ready").await.starts_with("HTTP/1.1 503"));
    ready.set(true);
    assert!(ask(addr, "GET", "/ready").await.ends_with("ready\n"));
}

#[tokio::test(flavor = "local")]
async fn metrics_and_environment_are_shown() {
    let (addr, ..) = start(false).await;
    assert!(ask(addr, "GET", "/metrics").await.ends_with("# EOF\n"));
    let env = ask(addr, "GET", "/env.json").await;
    assert!(env.contains("\"LINKERD2_PROXY_LOG\": \"warn\"") && env.contains(BUNDLE_KEY), "{env}");
}

#[tokio::test(flavor = "local")]
async fn shutdown_works_only_where_enabled_and_by_post() {
    let (addr, ..) = start(false).await;
    assert!(ask(addr, "POST", "/shutdown").await.starts_with("HTTP/1.1 404"));
    let (addr, _, shutdown) = start(true).await;
    assert!(ask(addr, "GET", "/shutdown").await.starts_with("HTTP/1.1 405"));
    assert!(ask(addr, "POST", "/shutdown").await.starts_with("HTTP/1.1 200"));
    tokio::time::timeout(Duration::from_secs(5), shutdown.unwrap().notified()).await.unwrap();
}

#[tokio::test(flavor = "local")]
async fn the_probe_says_nothing_but_readiness() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let ready = Readiness::default();
    tokio::task::spawn_local(serve_probe(listener, ready.clone()));
    ready.set(true);
    assert!(ask(addr, "GET", "/ready").await.starts_with("HTTP/1.1 200"));
    for path in ["/metrics", "/env.json", "/shutdown", "/"] {
        assert!(ask(addr, "GET", path).await.starts_with("HTTP/1.1 404"), "{path}");
    }
}

#[tokio::test(flavor = "local")]
async fn idle_connections_do_not_take_all_descriptors() {
    let (addr, ..) = start(false).await;
    let mut idle = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        idle.push(TcpStream::connect(addr).await.unwrap());
    }
    // Accepted in order, so this one comes last.
    let mut one_more = TcpStream::connect(addr).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(30), one_more.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(closed, Ok(0) | Err(_)));
    drop(idle);
    let served = async {
        loop {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            let request = b"GET /live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            let mut answer = String::new();
            if stream.write_all(request).await.is_ok()
                && stream.read_to_string(&mut answer).await.is_ok_and(|n| n > 0)
            {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(30), served).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
