//! The outbound side when the last endpoint refuses: requests and connections wait for news of endpoints.

use crate::accrual::consecutive;
use crate::app;
use crate::destinations::{endpoint, opaque, patient, service, tiers, with_backends};
use crate::failover::{ask, named};
use crate::harness::{LIMIT, Mesh, Proxy, Setup, get, read_all, send, text};
use crate::outbound::{VIRTUAL, WEB, client, client_with, through};
use crate::scripted::{accruing, backoff, changed, duration};
use http::{Request, Response, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use mesh_api::http_route::Timeouts;
use mesh_api::outbound::{OutboundPolicy, backend};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

/// How long a request waits in these tests where it is to wait in vain.
const FAILFAST: Duration = Duration::from_millis(500);
const HTTP_LENGTH: &str = "outbound_http_balancer_queue_length";
const HTTP_QUEUED: &str = "outbound_http_balancer_queue_requests_total";
const TCP_QUEUED: &str = "outbound_tcp_balancer_queue_requests_total";

/// Begins to serve HTTP.
fn open(socket: TcpSocket, name: &'static str) -> JoinHandle<()> {
    crate::failover::serve_named(socket.listen(64).unwrap(), name)
}

/// A mesh where [`WEB`] is one endpoint at `addr`, bare or behind the proxy of its pod, and a client's proxy in it.
async fn refusing(
    policy: OutboundPolicy,
    addr: SocketAddr,
    meshed: bool,
) -> (Arc<Mesh>, Proxy, Option<Proxy>) {
    let mesh = Mesh::new().await;
    mesh.destinations.set_policy(VIRTUAL, policy).await;
    let server = if meshed { Some(mesh.proxy(Setup { app: addr, ..Setup::default() }).await) } else { None };
    let only = server.as_ref().map_or_else(|| endpoint(addr), |server| through(server, addr));
    mesh.destinations.set_endpoints(WEB, vec![only]).await;
    let client = client(&mesh).await;
    (mesh, client, server)
}

fn order(io: TcpStream, version: Version) -> JoinHandle<Response<Incoming>> {
    let kind = if version == Version::HTTP_2 { "application/grpc" } else { "text/plain" };
    let request = Request::post("/echo").header("host", "web.shop").header("content-type", kind);
    let request = request.body(Full::from("order")).unwrap();
    tokio::spawn(async move { send(io, version, request).await.unwrap() })
}

fn reason(response: &Response<Incoming>) -> &str {
    response.headers().get("l5d-proxy-error").map_or("", |reason| reason.to_str().unwrap())
}

#[tokio::test]
async fn a_request_that_the_last_endpoint_refuses_waits_for_the_next_one() {
    for meshed in [false, true] {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let (_closed, old) = app::closed();
            let (mesh, client, _server) = refusing(patient(service(WEB)), old, meshed).await;
            let response = order(client.out().await, version);
            client.until_metric(HTTP_LENGTH, &["} 1"]).await;
            mesh.destinations.set_endpoints(WEB, vec![endpoint(app::http().await)]).await;
            let response = tokio::time::timeout(LIMIT, response).await.unwrap().unwrap();
            assert_eq!(response.status(), 200, "{:?}", response.headers());
            assert_eq!(text(response).await, "order");
            client.until_metric(HTTP_LENGTH, &["} 0"]).await;
        }
    }
}

#[tokio::test]
async fn requests_wait_out_a_replacement_that_is_told_late() {
    let mesh = Mesh::new().await;
    let (old, serving) = named("old").await;
    let (new, _new) = named("new").await;
    mesh.destinations.set_policy(VIRTUAL, patient(service(WEB))).await;
    mesh.destinations.set_endpoints(WEB, vec![endpoint(old)]).await;
    let client = client(&mesh).await;
    assert_eq!(ask(&client).await, "old");
    // Its listener is closed, and so is the connection that was kept.
    serving.abort();
    let _ = serving.await;
    let (reading, writing) = (client.out().await, client.out().await);
    let reading = tokio::spawn(get(reading, Version::HTTP_11, "/"));
    let writing = order(writing, Version::HTTP_11);
    client.until_metric(HTTP_LENGTH, &["} 2"]).await;
    mesh.destinations.set_endpoints(WEB, vec![endpoint(new)]).await;
    for response in [reading, writing] {
        let response = tokio::time::timeout(LIMIT, response).await.unwrap().unwrap();
        assert_eq!(text(response).await, "new");
    }
}

#[tokio::test]
async fn a_request_that_waits_is_served_by_the_same_endpoint_once_that_is_back() {
    for meshed in [false, true] {
        let (socket, addr) = app::closed();
        let (_mesh, client, _server) = refusing(patient(service(WEB)), addr, meshed).await;
        let io = client.out().await;
        let response = tokio::spawn(get(io, Version::HTTP_11, "/"));
        client.until_metric(HTTP_LENGTH, &["} 1"]).await;
        let _app = open(socket, "back");
        let response = tokio::time::timeout(LIMIT, response).await.unwrap().unwrap();
        assert_eq!(response.status(), 200, "{:?}", response.headers());
        assert_eq!(text(response).await, "back");
    }
}

#[tokio::test]
async fn a_request_that_waits_counts_once_against_the_endpoint_it_waits_for() {
    let (socket, addr) = app::closed();
    let kind = consecutive(2, backoff(LIMIT, LIMIT));
    let (_mesh, client, _server) = refusing(accruing(patient(service(WEB)), kind, None), addr, true).await;
    let response = tokio::spawn(get(client.out().await, Version::HTTP_11, "/"));
    client.until_metric(HTTP_LENGTH, &["} 1"]).await;
    client
        .until("asked for the third time", || async {
            let asked = client.metric("outbound_http_route_backend_requests_total", &[]).await;
            asked.parse::<u32>().unwrap() >= 3
        })
        .await;
    let _app = open(socket, "back");
    let response = tokio::time::timeout(LIMIT, response).await.unwrap().unwrap();
    assert_eq!(response.status(), 200, "{:?}", response.headers());
}

#[tokio::test]
async fn a_request_that_waits_does_not_take_up_the_endpoint_it_waits_for() {
    let (socket, addr) = app::closed();
    let mesh = Mesh::new().await;
    mesh.destinations.set_policy(VIRTUAL, patient(service(WEB))).await;
    let server = mesh.proxy(Setup { app: addr, ..Setup::default() }).await;
    mesh.destinations.set_endpoints(WEB, vec![through(&server, addr)]).await;
    let client = client_with(&mesh, &[("ISTHMUS_OUTBOUND_MAX_IN_FLIGHT_PER_ENDPOINT", "1")]).await;
    let response = tokio::spawn(get(client.out().await, Version::HTTP_11, "/"));
    client.until_metric(HTTP_LENGTH, &["} 1"]).await;
    let _app = open(socket, "back");
    let response = tokio::time::timeout(LIMIT, response).await.unwrap().unwrap();
    assert_eq!(response.status(), 200, "{:?}", response.headers());
}

#[tokio::test]
async fn a_wait_in_vain_ends_with_what_the_endpoint_said_and_the_next_requests_do_not_wait() {
    for meshed in [false, true] {
        let (socket, addr) = app::closed();
        let (_mesh, client, _server) = refusing(service(WEB), addr, meshed).await;
        let began = Instant::now();
        let response = get(client.out().await, Version::HTTP_11, "/").await;
        assert!(began.elapsed() >= FAILFAST, "{:?}", began.elapsed());
        assert_eq!(response.status(), 502);
        let (said, cause) = (reason(&response), format!(":{}: Connection refused", addr.port()));
        assert!(said.starts_with("connect to") && said.contains(&cause), "{said}");
        client.until_metric("outbound_http_balancer_queue_gate_shut_total", &["} 1"]).await;
        let waits = client.metric(HTTP_QUEUED, &[]).await;
        for _ in 0..3 {
            let response = get(client.out().await, Version::HTTP_11, "/").await;
            // The proxy of a pod is asked each time; an endpoint that cannot be connected to is not.
            let expected = if meshed { (502, "connect to") } else { (503, "0 of 1 ready) is in failfast") };
            assert_eq!(response.status(), expected.0);
            assert!(reason(&response).contains(expected.1), "{}", reason(&response));
        }
        assert_eq!(client.metric(HTTP_QUEUED, &[]).await, waits);
        client.until_metric("outbound_http_balancer_queue_gate_open_total", &["} 0"]).await;
        let _app = open(socket, "late");
        let served = || async { get(client.out().await, Version::HTTP_11, "/").await.status() == 200 };
        client.until("served", served).await;
        client.until_metric("outbound_http_balancer_queue_gate_open_total", &["} 1"]).await;
    }
}

#[tokio::test]
async fn the_next_tier_serves_without_a_wait() {
    let (near, far) = ("near.catalog:80", "far.catalog:80");
    let mesh = Mesh::new().await;
    let (_near, near_addr) = app::closed();
    let (spare, _spare) = named("far").await;
    mesh.destinations.set_policy(VIRTUAL, patient(tiers(&[near, far]))).await;
    mesh.destinations.set_endpoints(near, vec![endpoint(near_addr)]).await;
    mesh.destinations.set_endpoints(far, vec![endpoint(spare)]).await;
    let client = client(&mesh).await;
    assert_eq!(ask(&client).await, "far");
    for tier in [near, far] {
        client.until_metric(HTTP_QUEUED, &[tier, "} 0"]).await;
    }
}

#[tokio::test]
async fn with_no_tier_left_news_of_any_will_do() {
    let (near, far) = ("near.catalog:80", "far.catalog:80");
    let mesh = Mesh::new().await;
    let ((_near, near_addr), (_far, far_addr)) = (app::closed(), app::closed());
    mesh.destinations.set_policy(VIRTUAL, patient(tiers(&[near, far]))).await;
    mesh.destinations.set_endpoints(near, vec![endpoint(near_addr)]).await;
    mesh.destinations.set_endpoints(far, vec![endpoint(far_addr)]).await;
    let client = client(&mesh).await;
    let io = client.out().await;
    let response = tokio::spawn(get(io, Version::HTTP_11, "/"));
    client.until_metric(HTTP_LENGTH, &["} 1"]).await;
    let (spare, _spare) = named("far").await;
    mesh.destinations.set_endpoints(far, vec![endpoint(spare)]).await;
    let response = tokio::time::timeout(LIMIT, response).await.unwrap().unwrap();
    assert_eq!(text(response).await, "far");
}

#[tokio::test]
async fn the_limit_of_a_route_ends_the_wait() {
    let (_closed, addr) = app::closed();
    let timeouts = Timeouts { request: duration(FAILFAST / 2), ..Timeouts::default() };
    let policy = changed(patient(service(WEB)), |rule| rule.timeouts = Some(timeouts));
    let (_mesh, client, _server) = refusing(policy, addr, false).await;
    let response = get(client.out().await, Version::HTTP_11, "/").await;
    assert_eq!(response.status(), 504);
    assert!(reason(&response).contains("request timeout"), "{}", reason(&response));
}

#[tokio::test]
async fn an_address_of_which_there_is_no_news_refuses_at_once() {
    let (_closed, addr) = app::closed();
    let policy = with_backends(patient(service(WEB)), |backend| {
        backend.kind = Some(backend::Kind::Forward(endpoint(addr)));
    });
    let (_mesh, client, _server) = refusing(policy, addr, false).await;
    let response = get(client.out().await, Version::HTTP_11, "/").await;
    assert_eq!(response.status(), 502);
    client.until_metric(HTTP_QUEUED, &["} 0"]).await;
}

#[tokio::test]
async fn opaque_connections_wait_likewise() {
    let ((_closed, old), (socket, later)) = (app::closed(), app::closed());
    let (mesh, client, _server) = refusing(patient(opaque(WEB)), old, false).await;
    let mut io = client.out().await;
    client.until_metric("outbound_tcp_balancer_queue_length", &["} 1"]).await;
    mesh.destinations.set_endpoints(WEB, vec![endpoint(app::tcp(true).await)]).await;
    let mut greeting = [0; 6];
    tokio::time::timeout(LIMIT, io.read_exact(&mut greeting)).await.unwrap().unwrap();
    assert_eq!(&greeting, b"hello ");
    // The same address.
    let (_mesh, client, _server) = refusing(patient(opaque(WEB)), later, false).await;
    let mut io = client.out().await;
    client.until_metric("outbound_tcp_balancer_queue_length", &["} 1"]).await;
    let listener = socket.listen(8).unwrap();
    tokio::spawn(async move {
        while let Ok((mut io, _)) = listener.accept().await {
            // The first one is the proxy's own, to see that it is back.
            let _ = io.write_all(b"back").await;
        }
    });
    assert_eq!(read_all(&mut io).await, "back");
}

#[tokio::test]
async fn an_opaque_connection_that_waits_in_vain_is_closed_and_the_next_ones_at_once() {
    let (_closed, addr) = app::closed();
    let (_mesh, client, _server) = refusing(opaque(WEB), addr, false).await;
    let began = Instant::now();
    assert_eq!(read_all(&mut client.out().await).await, "");
    assert!(began.elapsed() >= FAILFAST, "{:?}", began.elapsed());
    client.until_metric("outbound_tcp_errors_total", &["error=\"i/o\"", "} 1"]).await;
    for _ in 0..3 {
        assert_eq!(read_all(&mut client.out().await).await, "");
    }
    client.until_metric(TCP_QUEUED, &["} 1"]).await;
    client.until_metric("outbound_tcp_errors_total", &["error=\"failfast\"", "} 3"]).await;
}
