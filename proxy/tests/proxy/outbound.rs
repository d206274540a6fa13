//! The outbound side, end to end: from one application through two proxies to another.

use crate::app;
use crate::destinations::{endpoint, gateway, meshed, opaque, service, tiers};
use crate::harness::{CLIENT, Mesh, Proxy, SERVER, Setup, get, read_all, text};
use http::{StatusCode, Version};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PATH: &str = "web.shop.svc.cluster.local:80";
/// Where the client's connections were going; nothing listens there.
const VIRTUAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 9, 9, 9)), 80);

async fn client(mesh: &Arc<Mesh>) -> Proxy {
    mesh.proxy(Setup { identity: CLIENT, outbound: VIRTUAL, ..Setup::default() }).await
}

async fn server(mesh: &Arc<Mesh>, app: SocketAddr) -> Proxy {
    mesh.proxy(Setup { identity: SERVER, app, ..Setup::default() }).await
}

/// The address of `app` that its proxy takes direct connections for.
fn behind(app: SocketAddr) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 2], app.port()))
}

#[tokio::test]
async fn plain_endpoints_are_reached_in_plaintext() {
    let mesh = Mesh::new().await;
    let proxy = client(&mesh).await;
    mesh.destinations.set_policy(&VIRTUAL.to_string(), service(PATH)).await;
    mesh.destinations.set_endpoints(PATH, vec![endpoint(app::http().await)]).await;
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let response = get(proxy.out().await, version, "/x").await;
        assert!(text(response).await.starts_with(&format!("{version:?} ")));
    }
}

#[tokio::test]
async fn meshed_endpoints_learn_the_clients_identity() {
    let mesh = Mesh::new().await;
    let (proxy, app) = (client(&mesh).await, app::http().await);
    let server = server(&mesh, app).await;
    mesh.destinations.set_policy(&VIRTUAL.to_string(), service(PATH)).await;
    let endpoint = meshed(behind(app), SERVER, server.inbound);
    mesh.destinations.set_endpoints(PATH, vec![endpoint]).await;
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let response = get(proxy.out().await, version, "/x").await;
        assert_eq!(response.headers()["x-seen-l5d-client-id"], CLIENT);
        assert!(!response.headers().contains_key("l5d-orig-proto"));
        // HTTP/1 was carried over HTTP/2 in between, and is HTTP/1 again.
        assert!(text(response).await.starts_with(&format!("{version:?} ")));
    }
    proxy.until_metric("request_total", &["direction=\"outbound\"", "tls=\"true\""]).await;
    server.until_metric("inbound_tcp_transport_header_connections_total", &["http/2", CLIENT]).await;
}

#[tokio::test]
async fn opaque_bytes_pass_both_proxies() {
    let mesh = Mesh::new().await;
    let (proxy, app) = (client(&mesh).await, app::tcp(true).await);
    let server = server(&mesh, app).await;
    mesh.destinations.set_policy(&VIRTUAL.to_string(), opaque(PATH)).await;
    mesh.destinations.set_endpoints(PATH, vec![meshed(behind(app), SERVER, server.inbound)]).await;
    let mut stream = proxy.out().await;
    let mut greeting = [0; 6];
    stream.read_exact(&mut greeting).await.unwrap();
    stream.write_all(b"bytes").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_all(&mut stream).await, "bytes");
}

#[tokio::test]
async fn an_endpoint_with_another_identity_gets_nothing() {
    let mesh = Mesh::new().await;
    let (proxy, app) = (client(&mesh).await, app::http().await);
    let server = server(&mesh, app).await;
    mesh.destinations.set_policy(&VIRTUAL.to_string(), service(PATH)).await;
    let other = "other.shop.serviceaccount.identity.linkerd.cluster.local";
    mesh.destinations.set_endpoints(PATH, vec![meshed(behind(app), other, server.inbound)]).await;
    let response = get(proxy.out().await, Version::HTTP_11, "/").await;
    assert!(response.status().is_server_error(), "{}", response.status());
    assert!(response.headers().contains_key("l5d-proxy-error"));
}

#[tokio::test]
async fn a_service_without_endpoints_is_unavailable_with_the_reason() {
    let mesh = Mesh::new().await;
    let proxy = client(&mesh).await;
    mesh.destinations.set_policy(&VIRTUAL.to_string(), service(PATH)).await;
    mesh.destinations.set_endpoints(PATH, vec![]).await;
    let response = get(proxy.out().await, Version::HTTP_11, "/").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("l5d-proxy-error"));
}

#[tokio::test]
async fn the_next_tier_serves_while_the_first_has_nobody() {
    let mesh = Mesh::new().await;
    let proxy = client(&mesh).await;
    let (near, far) = (app::http().await, app::http().await);
    let paths = ["local.web-federated.shop.svc.cluster.local:80", "west.web-federated.shop.svc.cluster.local:80"];
    mesh.destinations.set_policy(&VIRTUAL.to_string(), tiers(&paths)).await;
    mesh.destinations.set_endpoints(paths[0], vec![]).await;
    mesh.destinations.set_endpoints(paths[1], vec![endpoint(far)]).await;
    let response = get(proxy.out().await, Version::HTTP_11, "/").await;
    assert_eq!(response.status(), StatusCode::OK);
    proxy.until_metric("request_total", &[&far.to_string()]).await;
    mesh.destinations.set_endpoints(paths[0], vec![endpoint(near)]).await;
    let back = || async {
        get(proxy.out().await, Version::HTTP_11, "/").await;
        proxy.admin("/metrics").await.1.contains(&near.to_string())
    };
    proxy.until("served by the near tier again", back).await;
}

#[tokio::test]
async fn a_proxy_that_is_no_gateway_refuses_names() {
    let mesh = Mesh::new().await;
    let (proxy, app) = (client(&mesh).await, app::http().await);
    let server = server(&mesh, app).await;
    mesh.destinations.set_policy(&VIRTUAL.to_string(), service(PATH)).await;
    mesh.destinations.set_endpoints(PATH, vec![gateway(server.direct_addr(), SERVER, PATH)]).await;
    let response = get(proxy.out().await, Version::HTTP_11, "/").await;
    assert!(response.status().is_server_error(), "{}", response.status());
}
