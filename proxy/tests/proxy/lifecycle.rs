//! Starting, being ready, and stopping.

use crate::app;
use crate::harness::{CLIENT, Mesh, Proxy, Setup, get, text};
use http::Version;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_proxy_is_ready_once_it_is_certified() {
    let proxy = Mesh::new().await.unready(Setup { token: b"forged", ..Setup::default() }).await;
    proxy.until("live", || async { proxy.admin("/live").await.0 == 200 }).await;
    assert_eq!(proxy.admin("/ready").await.0, 503);
    let proxy = Proxy::start(app::http().await, &[]).await;
    proxy.until_metric("control_identity_cert_refreshes_total", &[" 1"]).await;
    let (_, env) = proxy.admin("/env.json").await;
    assert!(env.contains("ISTHMUS_TRUST_BUNDLE_SHA256") && !env.contains("BEGIN CERTIFICATE"), "{env}");
}

#[tokio::test]
async fn every_worker_serves() {
    let proxy = Proxy::start(app::http().await, &[("CORES", "2")]).await;
    for _ in 0..8 {
        let response = get(proxy.meshed(CLIENT).await, Version::HTTP_11, "/").await;
        assert_eq!(text(response).await, "HTTP/1.1 /");
    }
}

#[tokio::test]
async fn a_stopped_proxy_lets_connections_finish() {
    let proxy = Proxy::start(app::tcp(false).await, &[]).await;
    let mut stream = proxy.plain().await;
    stream.write_all(b"\0one").await.unwrap();
    let mut four = [0; 4];
    stream.read_exact(&mut four).await.unwrap();
    proxy.begin_stop();
    proxy.until("unready", || async { proxy.admin("/ready").await.0 != 200 }).await;
    stream.write_all(b"\0two").await.unwrap();
    stream.read_exact(&mut four).await.unwrap();
    assert_eq!(&four, b"\0two");
    drop(stream);
    proxy.stopped().await.unwrap();
}
