//! From a client in one cluster through a gateway to a server in another.

use crate::app;
use crate::destinations::{
    endpoint, forbidden, gateway as gateway_endpoint, meshed, opaque, patient, service, tiers,
};
use crate::harness::{CLIENT, Mesh, Proxy, SERVER, Setup, get, read_all, send, text};
use http::{Request, StatusCode, Version};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use mesh_net::{SessionProtocol, TransportHeader};
use mesh_proxy::config::{Config, Env};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const GATEWAY: &str = "linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local";
/// What the client's control plane calls the mirrored service.
const MIRROR: &str = "web-west.shop.svc.cluster.local:80";
/// What the gateway's control plane calls the exported service.
const EXPORTED: &str = "web.shop.svc.cluster.local:80";
const VIRTUAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 9, 9, 9)), 80);

/// Two clusters on one control plane: a client here, a gateway, a server and its application there.
struct Clusters {
    mesh: Arc<Mesh>,
    client: Proxy,
    gateway: Proxy,
    _server: Proxy,
}

async fn gateway(mesh: &Arc<Mesh>) -> Proxy {
    let settings =
        [("INBOUND_GATEWAY_SUFFIXES", "svc.cluster.local."), ("INBOUND_DEFAULT_POLICY", "all-authenticated")];
    let env: Env = complete(&settings);
    let factory = mesh_gateway::factory(&Config::parse(&env).unwrap());
    assert!(factory.is_some());
    mesh.proxy(Setup { identity: GATEWAY, settings: &settings, gateway: factory, ..Setup::default() }).await
}

/// An environment that says no more than the settings, to make a gateway from.
fn complete(settings: &[(&str, &str)]) -> Env {
    let required = [
        ("IDENTITY_LOCAL_NAME", GATEWAY),
        ("IDENTITY_TRUST_ANCHORS", "-----BEGIN CERTIFICATE-----"),
        ("IDENTITY_TOKEN_FILE", "/token"),
        ("IDENTITY_SVC_ADDR", "localhost:1"),
        ("DESTINATION_SVC_ADDR", "localhost:1"),
        ("POLICY_SVC_ADDR", "localhost:1"),
        ("POLICY_WORKLOAD", "{}"),
    ];
    required.iter().chain(settings).map(|(key, value)| (format!("LINKERD2_PROXY_{key}"), *value)).collect()
}

impl Clusters {
    async fn new(app: SocketAddr) -> Self {
        let mesh = Mesh::new().await;
        let client = mesh.proxy(Setup { identity: CLIENT, outbound: VIRTUAL, ..Setup::default() }).await;
        let gateway = gateway(&mesh).await;
        let server = mesh.proxy(Setup { identity: SERVER, app, ..Setup::default() }).await;
        let destinations = &mesh.destinations;
        destinations.set_policy(&VIRTUAL.to_string(), service(MIRROR)).await;
        let remote = gateway_endpoint(gateway.direct_addr(), GATEWAY, EXPORTED);
        destinations.set_endpoints(MIRROR, vec![remote]).await;
        destinations.set_policy(EXPORTED, service(EXPORTED)).await;
        let behind = SocketAddr::from(([127, 0, 0, 2], app.port()));
        destinations.set_endpoints(EXPORTED, vec![meshed(behind, SERVER, server.inbound)]).await;
        Self { mesh, client, gateway, _server: server }
    }
}

#[tokio::test]
async fn requests_cross_and_the_server_learns_the_client() {
    let clusters = Clusters::new(app::http().await).await;
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let request =
            Request::builder().uri("/x").header("host", "web.shop").header("forwarded", "for=forged");
        let request = request.body(Full::default()).unwrap();
        let response = send(clusters.client.out().await, version, request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{:?}", response.headers());
        let forwarded = response.headers()["x-seen-forwarded"].to_str().unwrap();
        assert_eq!(forwarded, format!("by={GATEWAY};for={CLIENT};host={EXPORTED};proto=https"));
        assert_eq!(response.headers()["x-seen-l5d-client-id"], GATEWAY);
        assert!(text(response).await.starts_with(&format!("{version:?} ")));
    }
}

#[tokio::test]
async fn bytes_cross() {
    let clusters = Clusters::new(app::tcp(true).await).await;
    clusters.mesh.destinations.set_policy(&VIRTUAL.to_string(), opaque(MIRROR)).await;
    clusters.mesh.destinations.set_policy(EXPORTED, opaque(EXPORTED)).await;
    let mut stream = clusters.client.out().await;
    let mut greeting = [0; 6];
    stream.read_exact(&mut greeting).await.unwrap();
    stream.write_all(b"bytes").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_all(&mut stream).await, "bytes");
}

#[tokio::test]
async fn upgraded_connections_cross_and_are_cut_with_the_export() {
    let clusters = Clusters::new(app::http().await).await;
    let request = Request::builder().uri("/upgrade").header("host", "web");
    let request = request.header("connection", "upgrade").header("upgrade", "echo").body(Full::default());
    let response = send(clusters.client.out().await, Version::HTTP_11, request.unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    io.write_all(b"ping").await.unwrap();
    let mut four = [0; 4];
    io.read_exact(&mut four).await.unwrap();
    assert_eq!(&four, b"ping");
    clusters.mesh.destinations.set_policy(EXPORTED, forbidden()).await;
    assert_eq!(read_all(&mut io).await, "");
}

#[tokio::test]
async fn what_is_not_exported_is_forbidden() {
    let clusters = Clusters::new(app::http().await).await;
    clusters.mesh.destinations.set_policy(EXPORTED, forbidden()).await;
    let response = get(clusters.client.out().await, Version::HTTP_11, "/").await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert!(response.headers()["l5d-proxy-error"].to_str().unwrap().contains("not exported"));
}

#[tokio::test]
async fn withdrawing_an_export_cuts_open_streams() {
    let clusters = Clusters::new(app::tcp(true).await).await;
    clusters.mesh.destinations.set_policy(&VIRTUAL.to_string(), opaque(MIRROR)).await;
    clusters.mesh.destinations.set_policy(EXPORTED, opaque(EXPORTED)).await;
    let mut stream = clusters.client.out().await;
    let mut greeting = [0; 6];
    stream.read_exact(&mut greeting).await.unwrap();
    clusters.mesh.destinations.set_policy(EXPORTED, forbidden()).await;
    assert_eq!(read_all(&mut stream).await, "");
}

#[tokio::test]
async fn without_endpoints_the_answer_says_that_a_retry_is_safe() {
    let clusters = Clusters::new(app::http().await).await;
    clusters.mesh.destinations.set_endpoints(EXPORTED, vec![]).await;
    let header = TransportHeader {
        port: 80,
        name: Some("web.shop.svc.cluster.local".into()),
        protocol: Some(SessionProtocol::Http2),
    };
    let io = clusters.gateway.direct(Some(header.clone())).await;
    let response = get(io, Version::HTTP_2, "/").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["isthmus-retry-safe"], "true");
    let request = Request::post("/p.S/M").header("content-type", "application/grpc").body(Full::default());
    let io = clusters.gateway.direct(Some(header)).await;
    let response = send(io, Version::HTTP_2, request.unwrap()).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "14");
    assert_eq!(response.headers()["isthmus-retry-safe"], "true");
}

#[tokio::test]
async fn a_client_falls_over_to_another_tier_when_the_gateway_has_nobody() {
    let clusters = Clusters::new(app::http().await).await;
    let spare = "spare.shop.svc.cluster.local:80";
    clusters.mesh.destinations.set_endpoints(spare, vec![endpoint(app::http().await)]).await;
    clusters.mesh.destinations.set_policy(&VIRTUAL.to_string(), tiers(&[MIRROR, spare])).await;
    clusters.mesh.destinations.set_endpoints(EXPORTED, vec![]).await;
    let response = get(clusters.client.out().await, Version::HTTP_11, "/").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(!response.headers().contains_key("isthmus-retry-safe"));
}

#[tokio::test]
async fn so_does_a_connection_of_bytes() {
    let clusters = Clusters::new(app::tcp(false).await).await;
    let spare = "spare.shop.svc.cluster.local:80";
    let destinations = &clusters.mesh.destinations;
    destinations.set_endpoints(spare, vec![endpoint(app::tcp(false).await)]).await;
    destinations.set_policy(&VIRTUAL.to_string(), tiers(&[MIRROR, spare])).await;
    destinations.set_policy(EXPORTED, opaque(EXPORTED)).await;
    destinations.set_endpoints(EXPORTED, vec![]).await;
    let mut stream = clusters.client.out().await;
    stream.write_all(b"bytes").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_all(&mut stream).await, "bytes");
    clusters.gateway.until_metric("inbound_tcp_errors_total", &["error=\"failfast\""]).await;
}

#[tokio::test]
async fn a_gateway_waits_a_second_for_its_endpoints_and_its_client_does_not_wait_once_more() {
    let clusters = Clusters::new(app::http().await).await;
    let (_closed, nobody) = app::closed();
    clusters.mesh.destinations.set_endpoints(EXPORTED, vec![endpoint(nobody)]).await;
    clusters.mesh.destinations.set_policy(EXPORTED, patient(service(EXPORTED))).await;
    let began = std::time::Instant::now();
    let response = get(clusters.client.out().await, Version::HTTP_11, "/").await;
    let passed = began.elapsed().as_secs();
    assert!((1..20).contains(&passed), "{passed} s");
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let reason = response.headers()["l5d-proxy-error"].to_str().unwrap();
    assert!(reason.starts_with("connect to"), "{reason}");
    let shut = "outbound_http_balancer_queue_gate_shut_total";
    clusters.gateway.until_metric(shut, &[EXPORTED, "} 1"]).await;
    clusters.client.until_metric("outbound_http_balancer_queue_requests_total", &[MIRROR, "} 0"]).await;
}

#[tokio::test]
async fn names_outside_of_the_cluster_and_other_gateways_are_refused() {
    let clusters = Clusters::new(app::http().await).await;
    let header = |name: &str| TransportHeader {
        port: 80,
        name: Some(name.to_owned()),
        protocol: Some(SessionProtocol::Http2),
    };
    let mut io = clusters.gateway.direct(Some(header("example.org"))).await;
    assert_eq!(read_all(&mut io).await, "");
    let mut io = clusters.gateway.direct_as(GATEWAY, Some(header("web.shop.svc.cluster.local"))).await;
    assert_eq!(read_all(&mut io).await, "");
    clusters.gateway.until_metric("inbound_tcp_errors_total", &["error=\"gateway loop\""]).await;
    clusters.gateway.until_metric("inbound_tcp_errors_total", &["error=\"gateway domain invalid\""]).await;
}

/// Passes connections on to a gateway until packets begin to vanish.
async fn relay(to: SocketAddr) -> (SocketAddr, tokio::sync::watch::Sender<bool>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let cut = tokio::sync::watch::Sender::new(false);
    let state = cut.subscribe();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut state = state.clone();
            tokio::spawn(async move {
                let mut far = tokio::net::TcpStream::connect(to).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                    _ = state.wait_for(|cut| *cut) => {}
                }
                // Both connections stay open, and nothing moves on them any more.
                std::future::pending::<()>().await;
            });
        }
    });
    (addr, cut)
}

#[tokio::test]
async fn a_gateway_from_which_nothing_comes_any_more_is_found_out_within_seconds() {
    const LIMIT: std::time::Duration = std::time::Duration::from_secs(15);
    let clusters = Clusters::new(app::http().await).await;
    let (addr, cut) = relay(clusters.gateway.direct_addr()).await;
    clusters.mesh.destinations.set_endpoints(MIRROR, vec![gateway_endpoint(addr, GATEWAY, EXPORTED)]).await;
    let ask = || async { get(clusters.client.out().await, Version::HTTP_11, "/").await.status() };
    assert_eq!(ask().await, StatusCode::OK);
    cut.send_replace(true);
    let answer = tokio::time::timeout(LIMIT, ask()).await.expect("an answer");
    assert!(answer.is_server_error(), "{answer}");
    cut.send_replace(false);
    let healed = async { while ask().await != StatusCode::OK {} };
    tokio::time::timeout(LIMIT, healed).await.expect("it works again");
}

#[tokio::test]
async fn a_request_that_hangs_on_a_partitioned_gateway_moves_to_the_next_tier_if_it_may_be_repeated() {
    const LIMIT: std::time::Duration = std::time::Duration::from_secs(20);
    let clusters = Clusters::new(app::http().await).await;
    let (addr, cut) = relay(clusters.gateway.direct_addr()).await;
    let spare = "spare.shop.svc.cluster.local:80";
    let destinations = &clusters.mesh.destinations;
    destinations.set_endpoints(MIRROR, vec![gateway_endpoint(addr, GATEWAY, EXPORTED)]).await;
    destinations.set_endpoints(spare, vec![endpoint(app::http().await)]).await;
    destinations.set_policy(&VIRTUAL.to_string(), tiers(&[MIRROR, spare])).await;
    let ask = |method: &'static str| {
        let client = &clusters.client;
        async move {
            let request = Request::builder().method(method).uri("/x").header("host", "web.shop");
            let request = request.body(Full::default()).unwrap();
            let response = send(client.out().await, Version::HTTP_11, request);
            tokio::time::timeout(LIMIT, response).await.expect("an answer").unwrap()
        }
    };
    let through = ask("GET").await;
    assert!(through.headers().contains_key("x-seen-forwarded"), "the gateway is the first choice");
    cut.send_replace(true);
    // Both go to the gateway, before anybody knows that nothing comes back any more.
    let (read, write) = tokio::join!(ask("GET"), ask("POST"));
    assert_eq!(read.status(), StatusCode::OK);
    assert!(!read.headers().contains_key("x-seen-forwarded"), "the next tier has answered");
    assert!(write.status().is_server_error(), "nobody knows whether it was carried out: {}", write.status());
}
