use super::*;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn ask(addr: SocketAddr, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let text = format!("{request} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn admin_tells_liveness_readiness_and_metrics() {
    let shutdown = Shutdown::new();
    let state = AdminState::new(Arc::new(|| "up 1\n".to_owned()), None);
    let addr = serve(SocketAddr::from(([127, 0, 0, 1], 0)), state.clone(), &shutdown).await.unwrap();
    assert!(ask(addr, "GET /live").await.starts_with("HTTP/1.1 200"));
    assert!(ask(addr, "GET /ready").await.starts_with("HTTP/1.1 503"));
    state.set_ready(true);
    assert!(ask(addr, "GET /ready").await.starts_with("HTTP/1.1 200"));
    assert!(ask(addr, "GET /metrics").await.ends_with("up 1\n"));
    assert!(ask(addr, "POST /metrics").await.starts_with("HTTP/1.1 405"));
    assert!(ask(addr, "GET /nothing").await.starts_with("HTTP/1.1 404"));
    assert!(shutdown.drain(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let state = AdminState::new(Arc::new(String::new), None);
    let error = serve(addr, state, &Shutdown::new()).await.unwrap_err();
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
}
