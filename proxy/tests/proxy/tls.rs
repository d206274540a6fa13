//! TLS routes: the server name of a connection that the proxy has no part in picks where it goes.

use crate::destinations::{backend, endpoint, named, opaque, policy};
use crate::harness::{CLIENT, LIMIT, Mesh, Proxy, Setup};
use crate::outbound::{VIRTUAL, WEB, client, client_with, through};
use crate::protocols::tcp::client_hello;
use mesh_api::opaque_route::{Forbidden, Invalid};
use mesh_api::outbound::proxy_protocol::{Kind, Tls};
use mesh_api::outbound::{OutboundPolicy, TlsRoute, tls_route};
use mesh_api::tls_route::{SniMatch, sni_match};
use mesh_tls::Alpn;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const ONE: &str = "one.shop.svc.cluster.local:443";
const TWO: &str = "two.shop.svc.cluster.local:443";

fn sni(name: &str) -> SniMatch {
    let r#match = match name.strip_prefix("*.") {
        Some(suffix) => sni_match::Match::Suffix(sni_match::Suffix {
            reverse_labels: suffix.rsplit('.').map(ToOwned::to_owned).collect(),
        }),
        None => sni_match::Match::Exact(name.to_owned()),
    };
    SniMatch { r#match: Some(r#match) }
}

fn weighted(path: &str, weight: u32) -> tls_route::WeightedRouteBackend {
    let backend = tls_route::RouteBackend { backend: Some(backend(path)), filters: Vec::new() };
    tls_route::WeightedRouteBackend { backend: Some(backend), weight }
}

/// A route named as its first server name; `*.` makes a suffix of one.
fn split(snis: &[&str], backends: Vec<tls_route::WeightedRouteBackend>) -> TlsRoute {
    use tls_route::distribution::{Kind, RandomAvailable};
    let kind = Kind::RandomAvailable(RandomAvailable { backends });
    let backends = Some(tls_route::Distribution { kind: Some(kind) });
    TlsRoute {
        metadata: Some(named(snis.first().unwrap_or(&"any"))),
        snis: snis.iter().map(|name| sni(name)).collect(),
        rules: vec![tls_route::Rule { backends, filters: Vec::new() }],
    }
}

/// A route to the endpoints of one path.
fn route(snis: &[&str], path: &str) -> TlsRoute {
    split(snis, vec![weighted(path, 1)])
}

fn filtered(mut route: TlsRoute, kind: tls_route::filter::Kind) -> TlsRoute {
    route.rules[0].filters = vec![tls_route::Filter { kind: Some(kind) }];
    route
}

fn forbidden(route: TlsRoute) -> TlsRoute {
    filtered(route, tls_route::filter::Kind::Forbidden(Forbidden {}))
}

fn tls(routes: Vec<TlsRoute>) -> OutboundPolicy {
    policy(Kind::Tls(Tls { routes }))
}

/// An application that says `tag`, then gives back what it gets.
async fn app(tag: &'static str) -> SocketAddr {
    let (listener, addr) = crate::app::bind().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_all(tag.as_bytes()).await?;
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await?;
                write.shutdown().await
            });
        }
    });
    addr
}

/// A mesh in which [`ONE`] and [`TWO`] have an endpoint each that says so.
async fn mesh(routes: Vec<TlsRoute>) -> Arc<Mesh> {
    let mesh = Mesh::new().await;
    mesh.destinations.set_endpoints(ONE, vec![endpoint(app("one").await)]).await;
    mesh.destinations.set_endpoints(TWO, vec![endpoint(app("two").await)]).await;
    mesh.destinations.set_policy(VIRTUAL, tls(routes)).await;
    mesh
}

/// All that comes back for these bytes until the connection ends, in whatever way.
async fn answer(client: &Proxy, bytes: &[u8]) -> Vec<u8> {
    let mut io = client.out().await;
    // The proxy may have closed it already.
    let _ = io.write_all(bytes).await;
    let _ = io.shutdown().await;
    rest(&mut io).await
}

async fn rest(io: &mut TcpStream) -> Vec<u8> {
    let (mut all, mut buf) = (Vec::new(), [0; 1024]);
    let reading = async {
        while let Ok(n @ 1..) = io.read(&mut buf).await {
            all.extend_from_slice(&buf[..n]);
        }
    };
    timeout(LIMIT, reading).await.expect("the connection stays open");
    all
}

/// Who answers a client that asks for this name; nobody if the connection is closed.
async fn answers(client: &Proxy, name: &str) -> Option<&'static str> {
    let hello = client_hello(name);
    let answer = answer(client, &hello).await;
    let tag = ["one", "two"].into_iter().find(|tag| answer.starts_with(tag.as_bytes()));
    match tag {
        Some(tag) => assert_eq!(answer[tag.len()..], hello, "the bytes pass as they are"),
        None => assert!(answer.is_empty(), "{answer:?}"),
    }
    tag
}

/// A connection that is open to who answers for this name.
async fn open(client: &Proxy, name: &str) -> TcpStream {
    let mut io = client.out().await;
    let hello = client_hello(name);
    io.write_all(&hello).await.unwrap();
    let mut buf = vec![0; "one".len() + hello.len()];
    timeout(LIMIT, io.read_exact(&mut buf)).await.unwrap().unwrap();
    io
}

/// A ClientHello of a client that names no server.
fn nameless() -> Vec<u8> {
    let mut hello = client_hello("");
    // An extension of a kind that nobody knows in place of the name.
    let at = hello.windows(4).position(|four| four == [0, 0, 0, 5]).unwrap();
    hello[at..at + 2].copy_from_slice(&[0xfa, 0xfa]);
    hello
}

/// A proxy that has had TLS connections of both ends.
pub(crate) async fn busy() -> Proxy {
    let mesh = mesh(vec![route(&["one.example"], ONE), forbidden(route(&["two.example"], TWO))]).await;
    let client = client_with(&mesh, &[("OUTBOUND_METRICS_HOSTNAME_LABELS", "true")]).await;
    assert_eq!(answers(&client, "one.example").await, Some("one"));
    assert_eq!(answers(&client, "two.example").await, None);
    client
}

#[tokio::test]
async fn the_server_name_picks_the_backend_and_metrics_tell() {
    let client = client(&mesh(vec![route(&["one.example"], ONE), route(&["two.example"], TWO)]).await).await;
    for _ in 0..3 {
        assert_eq!(answers(&client, "two.example").await, Some("two"));
    }
    assert_eq!(answers(&client, "one.example").await, Some("one"));
    assert_eq!(answers(&client, "ONE.example").await, Some("one"));
    for (route, count) in [("one.example", "} 2"), ("two.example", "} 3")] {
        let route = format!("route_name=\"{route}\"");
        let parts = ["parent_name=\"web\"", "route_kind=\"default\"", &route, count];
        client.until_metric("outbound_tls_route_open_total", &parts).await;
        let ended = [&parts[..], &["error=\"\""]].concat();
        client.until_metric("outbound_tls_route_close_total", &ended).await;
    }
    let parts = ["protocol=\"tls\"", "parent_name=\"web\"", "} 5"];
    client.until_metric("outbound_tcp_protocol_connections_total", &parts).await;
    let backend = format!("backend_name=\"{TWO}\"");
    let parts = [&backend, "endpoint_state=\"ready\"", "} 1"];
    client.until_metric("outbound_tls_balancer_endpoints", &parts).await;
    let (_, metrics) = client.admin("/metrics").await;
    assert!(
        !metrics.contains("hostname="),
        "names that clients choose are labels where that is asked for only"
    );
}

#[tokio::test]
async fn the_most_specific_name_wins_whatever_the_order() {
    let routes = vec![
        route(&[], TWO),
        route(&["*.example"], ONE),
        route(&["*.shop.example"], TWO),
        route(&["web.shop.example", "elsewhere.test"], ONE),
    ];
    let reversed = routes.iter().rev().cloned().collect();
    for routes in [routes, reversed] {
        let client = client(&mesh(routes).await).await;
        for (name, who) in [
            ("web.shop.example", "one"),
            ("elsewhere.test", "one"),
            ("api.shop.example", "two"),
            ("a.b.shop.example", "two"),
            ("shop.example", "one"),
            ("example", "two"),
            ("test", "two"),
        ] {
            assert_eq!(answers(&client, name).await, Some(who), "{name}");
        }
    }
}

#[tokio::test]
async fn a_name_that_no_route_is_for_is_closed_with_the_reason() {
    let client = client(&mesh(vec![route(&["one.example", "*.two.example"], ONE)]).await).await;
    for name in ["three.example", "two.example", "one.example.test"] {
        assert_eq!(answers(&client, name).await, None, "{name}");
    }
    let parts = ["error=\"no tls route\"", VIRTUAL, "} 3"];
    client.until_metric("outbound_tcp_errors_total", &parts).await;
}

#[tokio::test]
async fn a_client_that_does_not_speak_tls_is_closed() {
    let client = client(&mesh(vec![route(&[], ONE)]).await).await;
    let hello = client_hello("one.example");
    let cut = &hello[..hello.len() - 1];
    for bytes in [b"GET / HTTP/1.1\r\nhost: one.example\r\n\r\n", cut, &[0x16, 3, 1, 0, 1, 2]] {
        assert_eq!(answer(&client, bytes).await, b"");
    }
    client.until_metric("outbound_tcp_errors_total", &["error=\"not tls\"", VIRTUAL, "} 3"]).await;
}

#[tokio::test]
async fn a_client_that_says_nothing_in_time_is_closed() {
    let mesh = mesh(vec![route(&[], ONE)]).await;
    let client = client_with(&mesh, &[("OUTBOUND_DETECT_TIMEOUT", "100ms")]).await;
    assert_eq!(rest(&mut client.out().await).await, b"");
    client.until_metric("outbound_tcp_errors_total", &["error=\"tls detection timeout\"", VIRTUAL]).await;
}

#[tokio::test]
async fn a_client_that_names_no_server_takes_routes_for_all_only() {
    let mesh = mesh(vec![route(&["one.example", "*.example"], ONE)]).await;
    let client = client(&mesh).await;
    assert_eq!(answer(&client, &nameless()).await, b"");
    client.until_metric("outbound_tcp_errors_total", &["error=\"no tls route\"", VIRTUAL]).await;
    mesh.destinations.set_policy(VIRTUAL, tls(vec![route(&["one.example"], ONE), route(&[], TWO)])).await;
    let passes = || async { answer(&client, &nameless()).await.starts_with(b"two") };
    client.until("taken by the route for all", passes).await;
}

#[tokio::test]
async fn a_client_hello_may_come_in_pieces() {
    let client = client(&mesh(vec![route(&["one.example"], ONE), route(&[], TWO)]).await).await;
    let (hello, mut io) = (client_hello("one.example"), client.out().await);
    for (begin, end) in [(0, 1), (1, 5), (5, 60)] {
        io.write_all(&hello[begin..end]).await.unwrap();
        let read = format!("}} {end}");
        client.until_metric("tcp_read_bytes_total", &["direction=\"outbound\"", "peer=\"src\"", &read]).await;
    }
    io.write_all(&hello[60..]).await.unwrap();
    io.shutdown().await.unwrap();
    assert_eq!(rest(&mut io).await, [b"one", &hello[..]].concat());
}

#[tokio::test]
async fn a_forbidden_route_is_closed_and_counted_by_route() {
    let mesh = mesh(vec![route(&["*.example"], ONE), forbidden(route(&["two.example"], TWO))]).await;
    let client = client_with(&mesh, &[("OUTBOUND_METRICS_HOSTNAME_LABELS", "true")]).await;
    assert_eq!(answers(&client, "two.example").await, None);
    assert_eq!(answers(&client, "one.example").await, Some("one"));
    let refused = ["route_name=\"two.example\"", "hostname=\"two.example\"", "} 1"];
    client.until_metric("outbound_tls_route_open_total", &refused).await;
    let refused = [&refused[..], &["error=\"forbidden\""]].concat();
    client.until_metric("outbound_tls_route_close_total", &refused).await;
    let passed = ["route_name=\"*.example\"", "hostname=\"one.example\"", "error=\"\"", "} 1"];
    client.until_metric("outbound_tls_route_close_total", &passed).await;
    client.until_metric("outbound_tcp_errors_total", &["error=\"forbidden\"", VIRTUAL, "} 1"]).await;
}

#[tokio::test]
async fn an_open_connection_is_cut_when_its_own_route_is_forbidden() {
    let mesh = mesh(vec![route(&["one.example"], ONE), route(&["two.example"], TWO)]).await;
    let client = client(&mesh).await;
    let (mut one, mut two) = (open(&client, "one.example").await, open(&client, "two.example").await);
    let routes = vec![forbidden(route(&["one.example"], ONE)), route(&["two.example"], TWO)];
    mesh.destinations.set_policy(VIRTUAL, tls(routes)).await;
    assert_eq!(rest(&mut one).await, b"");
    two.write_all(b"more").await.unwrap();
    two.shutdown().await.unwrap();
    assert_eq!(rest(&mut two).await, b"more");
    let parts = ["route_name=\"one.example\"", "error=\"forbidden\"", "} 1"];
    client.until_metric("outbound_tls_route_close_total", &parts).await;
}

#[tokio::test]
async fn a_backend_that_cannot_be_used_refuses_its_share_and_leaves_the_rest() {
    let invalid = |weight| {
        let mut backend = weighted(TWO, weight);
        let kind = tls_route::filter::Kind::Invalid(Invalid { message: "Service not found".to_owned() });
        backend.backend.as_mut().unwrap().filters = vec![tls_route::Filter { kind: Some(kind) }];
        backend
    };
    let nowhere = |weight| {
        let mut backend = weighted(TWO, weight);
        backend.backend.as_mut().unwrap().backend.as_mut().unwrap().kind = None;
        backend
    };
    let routes = vec![
        split(&["fine.example"], vec![invalid(0), weighted(ONE, 1), nowhere(0)]),
        split(&["invalid.example"], vec![weighted(ONE, 0), invalid(1)]),
        split(&["nowhere.example"], vec![nowhere(1), weighted(ONE, 0)]),
        split(&["half.example"], vec![weighted(ONE, 1), invalid(1)]),
    ];
    let client = client(&mesh(routes).await).await;
    for _ in 0..10 {
        assert_eq!(answers(&client, "fine.example").await, Some("one"));
    }
    for name in ["invalid.example", "nowhere.example"] {
        assert_eq!(answers(&client, name).await, None);
        let parts = [&format!("route_name=\"{name}\""), "error=\"invalid_backend\"", "} 1"];
        client.until_metric("outbound_tls_route_close_total", &parts).await;
    }
    let mut refused = 0;
    for _ in 0..100 {
        refused += u32::from(answers(&client, "half.example").await.is_none());
    }
    // 1 in 10^9 that chance leads outside.
    assert!((20..=80).contains(&refused), "{refused} of 100");
}

#[tokio::test]
async fn a_route_without_endpoints_is_closed_and_the_reason_is_counted() {
    let mesh = mesh(vec![route(&["one.example"], ONE)]).await;
    mesh.destinations.set_endpoints(ONE, vec![]).await;
    let client = client(&mesh).await;
    assert_eq!(answers(&client, "one.example").await, None);
    client.until_metric("outbound_tls_route_close_total", &["error=\"unexpected\"", "} 1"]).await;
    client.until_metric("outbound_tcp_errors_total", &["error=\"failfast\"", VIRTUAL, "} 1"]).await;
}

#[tokio::test]
async fn a_handshake_through_both_proxies_is_the_client_s_and_the_application_s() {
    const LEDGER: &str = "ledger.shop.serviceaccount.identity.linkerd.cluster.local";
    let mesh = Mesh::new().await;
    let (listener, app) = crate::app::bind().await;
    let acceptor = mesh.trust.credentials(LEDGER).acceptor().unwrap();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut io = acceptor.accept(stream).await.unwrap();
        io.write_all(b"hello").await.unwrap();
        io.shutdown().await.unwrap();
        io.peer_identity()
    });
    let server = mesh.proxy(Setup { app, ..Setup::default() }).await;
    let routes = vec![route(&["*.shop.serviceaccount.identity.linkerd.cluster.local"], WEB)];
    mesh.destinations.set_policy(VIRTUAL, tls(routes)).await;
    mesh.destinations.set_endpoints(WEB, vec![through(&server, app)]).await;
    let client = client(&mesh).await;
    // Not the identity of any proxy here.
    let user = "user.shop.serviceaccount.identity.linkerd.cluster.local";
    let connector = mesh.trust.credentials(user).connector(Alpn::None).unwrap();
    let name = mesh_tls::server_name(LEDGER).unwrap();
    let mut io = timeout(LIMIT, connector.connect(name, client.out().await)).await.unwrap().unwrap();
    let mut said = String::new();
    timeout(LIMIT, io.read_to_string(&mut said)).await.unwrap().unwrap();
    assert_eq!(said, "hello");
    assert_eq!(serving.await.unwrap().map(|identity| identity.to_string()), Some(user.to_owned()));
    server.until_metric("inbound_tcp_transport_header_connections_total", &[CLIENT]).await;
}

#[tokio::test]
async fn what_a_destination_takes_may_change() {
    let mesh = mesh(vec![route(&["one.example"], ONE)]).await;
    let client = client(&mesh).await;
    assert_eq!(answer(&client, b"bytes").await, b"");
    mesh.destinations.set_policy(VIRTUAL, opaque(TWO)).await;
    let opaque = || async { answer(&client, b"bytes").await == b"twobytes" };
    client.until("opaque", opaque).await;
    mesh.destinations.set_policy(VIRTUAL, tls(vec![route(&["one.example"], ONE)])).await;
    let again = || async { answers_quietly(&client, "one.example").await };
    client.until("TLS only again", again).await;
    let response = crate::harness::try_get(client.out().await, http::Version::HTTP_11, "/");
    assert!(timeout(LIMIT, response).await.unwrap().is_err());
}

async fn answers_quietly(client: &Proxy, name: &str) -> bool {
    answer(client, &client_hello(name)).await.starts_with(b"one")
}
