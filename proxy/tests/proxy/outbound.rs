//! The outbound side: from an application through the proxy to endpoints, meshed and not.

use crate::app;
use crate::destinations::{endpoint, forbidden, meshed, opaque, service};
use crate::harness::{CLIENT, LIMIT, Mesh, Proxy, SERVER, Setup, get, send, text};
use http::{Request, Version};
use http_body_util::Full;
use hyper::body::Bytes;
use mesh_api::outbound::OutboundPolicy;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

pub(crate) const WEB: &str = "web.shop.svc.cluster.local:80";
/// The cluster IP that the application connects to.
pub(crate) const VIRTUAL: &str = "10.43.0.9:80";

/// A client's proxy whose application connects to [`VIRTUAL`].
pub(crate) async fn client(mesh: &Arc<Mesh>) -> Proxy {
    client_with(mesh, &[]).await
}

/// As [`client`], with settings.
pub(crate) async fn client_with(mesh: &Arc<Mesh>, settings: &[(&str, &str)]) -> Proxy {
    let outbound = VIRTUAL.parse().unwrap();
    mesh.proxy(Setup { identity: CLIENT, outbound, settings, ..Setup::default() }).await
}

/// A client's proxy and a server's with these settings, whose application is `app`, as the only endpoint of [`WEB`].
pub(crate) async fn pair_of(
    policy: OutboundPolicy,
    app: SocketAddr,
    settings: &[(&str, &str)],
) -> (Proxy, Proxy) {
    let mesh = Mesh::new().await;
    let server = mesh.proxy(Setup { app, settings, ..Setup::default() }).await;
    mesh.destinations.set_policy(VIRTUAL, policy).await;
    mesh.destinations.set_endpoints(WEB, vec![through(&server, app)]).await;
    (client(&mesh).await, server)
}

async fn pair(app: SocketAddr) -> (Proxy, Proxy) {
    pair_of(service(WEB), app, &[]).await
}

/// The endpoint of an application behind a proxy.
pub(crate) fn through(server: &Proxy, app: SocketAddr) -> mesh_api::destination::WeightedAddr {
    let direct = server.direct_addr();
    meshed(SocketAddr::new(direct.ip(), app.port()), SERVER, direct.port())
}

#[tokio::test]
async fn http1_reaches_the_application_over_mutual_tls_as_http1() {
    let (client, server) = pair(app::http().await).await;
    let response = get(client.out().await, Version::HTTP_11, "/a?b").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.version(), Version::HTTP_11);
    assert_eq!(response.headers()["x-seen-host"], "web.shop");
    assert_eq!(response.headers()["x-seen-l5d-client-id"], CLIENT);
    assert!(response.headers().get("x-seen-l5d-orig-proto").is_none());
    assert_eq!(text(response).await, "HTTP/1.1 /a?b");
    server.until_metric("request_total", &["tls=\"true\"", CLIENT]).await;
    client
        .until_metric("response_total", &["direction=\"outbound\"", SERVER, "classification=\"success\""])
        .await;
    client
        .until_metric("outbound_http_route_backend_response_statuses_total", &["http_status=\"200\""])
        .await;
}

#[tokio::test]
async fn http2_reaches_the_application_with_trailers() {
    let (client, _server) = pair(app::http().await).await;
    let request = Request::post("/echo").body(Full::from("hello")).unwrap();
    let response = send(client.out().await, Version::HTTP_2, request).await.unwrap();
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-trailer"], "end");
    assert_eq!(body.to_bytes(), "hello");
}

#[tokio::test]
async fn many_requests_share_connections() {
    let (client, _server) = pair(app::http().await).await;
    for _ in 0..20 {
        assert_eq!(get(client.out().await, Version::HTTP_11, "/").await.status(), 200);
    }
    client.until_metric("tcp_open_total", &["peer=\"dst\"", "tls=\"true\"", "} 1"]).await;
}

#[tokio::test]
async fn upgrades_pass_through_both_proxies() {
    let (client, _server) = pair(app::http().await).await;
    let request = Request::get("/upgrade")
        .header("host", "web.shop")
        .header("connection", "upgrade")
        .header("upgrade", "echo");
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let response = send(client.out().await, Version::HTTP_11, request).await.unwrap();
    assert_eq!(response.status(), 101);
    let mut io = hyper_util::rt::TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    io.write_all(b"ping").await.unwrap();
    let mut buf = [0; 4];
    io.read_exact(&mut buf).await.unwrap();
    assert_eq!(&buf, b"ping");
}

#[tokio::test]
async fn opaque_bytes_reach_the_application_with_half_close() {
    let app = app::tcp(true).await;
    let mesh = Mesh::new().await;
    let server = mesh
        .proxy(Setup {
            app,
            settings: &[("INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", "1-65535")],
            ..Setup::default()
        })
        .await;
    mesh.destinations.set_policy(VIRTUAL, opaque(WEB)).await;
    mesh.destinations.set_endpoints(WEB, vec![through(&server, app)]).await;
    let client = client(&mesh).await;
    let mut io = client.out().await;
    let mut buf = [0; 6];
    io.read_exact(&mut buf).await.unwrap();
    assert_eq!(&buf, b"hello ", "the server speaks first");
    io.write_all(b"bytes").await.unwrap();
    io.shutdown().await.unwrap();
    let mut rest = String::new();
    io.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "bytes");
}

#[tokio::test]
async fn destinations_nobody_knows_are_reached_in_plaintext() {
    let mesh = Mesh::new().await;
    let app = app::http().await;
    mesh.destinations.set_policy(VIRTUAL, service(WEB)).await;
    mesh.destinations.set_endpoints(WEB, vec![endpoint(app)]).await;
    let client = client(&mesh).await;
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let response = get(client.out().await, version, "/x").await;
        assert!(response.headers().get("x-seen-l5d-client-id").is_none());
        assert!(text(response).await.starts_with(&format!("{version:?}")));
    }
}

#[tokio::test]
async fn no_endpoints_is_told_at_once_with_the_reason() {
    let mesh = Mesh::new().await;
    mesh.destinations.set_policy(VIRTUAL, service(WEB)).await;
    mesh.destinations.set_endpoints(WEB, vec![]).await;
    let client = client(&mesh).await;
    let response = get(client.out().await, Version::HTTP_11, "/").await;
    assert_eq!(response.status(), 503);
    let reason = response.headers()["l5d-proxy-error"].to_str().unwrap();
    assert!(reason.contains(WEB) && reason.contains("0 of 0 ready"), "{reason}");
}

#[tokio::test]
async fn an_endpoint_that_refuses_connections_is_left_for_one_that_does_not() {
    let mesh = Mesh::new().await;
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let app = app::http().await;
    mesh.destinations.set_policy(VIRTUAL, service(WEB)).await;
    mesh.destinations.set_endpoints(WEB, vec![endpoint(dead), endpoint(app)]).await;
    let client = client(&mesh).await;
    for _ in 0..20 {
        assert_eq!(get(client.out().await, Version::HTTP_11, "/").await.status(), 200);
    }
}

#[tokio::test]
async fn an_endpoint_with_another_identity_gets_nothing() {
    let mesh = Mesh::new().await;
    let app = app::http().await;
    let server = mesh.proxy(Setup { app, ..Setup::default() }).await;
    let direct = server.direct_addr();
    let other = "ledger.shop.serviceaccount.identity.linkerd.cluster.local";
    let wrong = meshed(SocketAddr::new(direct.ip(), app.port()), other, direct.port());
    mesh.destinations.set_policy(VIRTUAL, service(WEB)).await;
    mesh.destinations.set_endpoints(WEB, vec![wrong]).await;
    let client = client(&mesh).await;
    let response = get(client.out().await, Version::HTTP_11, "/").await;
    assert!(response.status().is_server_error());
    assert!(response.headers().contains_key("l5d-proxy-error"));
}

#[tokio::test]
async fn forbidden_destinations_answer_403_and_open_bytes_are_cut_when_access_is_withdrawn() {
    let mesh = Mesh::new().await;
    let app = app::tcp(false).await;
    mesh.destinations.set_policy(VIRTUAL, opaque(WEB)).await;
    mesh.destinations.set_endpoints(WEB, vec![endpoint(app)]).await;
    let client = client(&mesh).await;
    let mut io = client.out().await;
    io.write_all(b"hello").await.unwrap();
    let mut buf = [0; 5];
    io.read_exact(&mut buf).await.unwrap();
    mesh.destinations.set_policy(VIRTUAL, forbidden()).await;
    let cut = tokio::time::timeout(LIMIT, io.read(&mut buf)).await;
    assert!(matches!(cut.expect("still open"), Ok(0) | Err(_)));
    let response = get(client.out().await, Version::HTTP_11, "/").await;
    assert_eq!(response.status(), 403);
}
