//! The inbound side, end to end.

use crate::app;
use crate::control::{anyone, detect, identities, server};
use crate::harness::{CLIENT, Proxy, get, read_all, send, text};
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use mesh_api::http_route::{HttpRouteMatch, PathMatch, path_match};
use mesh_api::inbound as api;
use mesh_net::{SessionProtocol, TransportHeader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn header(port: u16, protocol: Option<SessionProtocol>) -> TransportHeader {
    TransportHeader { port, name: None, protocol }
}

#[tokio::test]
async fn mesh_tls_ends_here_and_the_application_learns_the_client() {
    let proxy = Proxy::start(app::http().await, &[]).await;
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let response = get(proxy.meshed(CLIENT).await, version, "/a?b=c").await;
        assert_eq!(response.headers()["x-seen-l5d-client-id"], CLIENT);
        assert!(text(response).await.starts_with(&format!("{version:?} ")));
    }
    proxy.until_metric("request_total", &["direction=\"inbound\"", CLIENT, "tls=\"true\""]).await;
    proxy.until_metric("response_total", &["status_code=\"200\"", "classification=\"success\""]).await;
}

#[tokio::test]
async fn what_concerns_one_connection_is_not_passed_on() {
    let proxy = Proxy::start(app::http().await, &[]).await;
    let request = Request::builder().uri("/").header("host", "web").header("connection", "close, x-hop");
    let request = request.header("x-hop", "1").header("x-app", "1").body(Full::default()).unwrap();
    let response = send(proxy.plain().await, Version::HTTP_11, request).await.unwrap();
    assert_eq!(response.headers()["x-seen-x-app"], "1");
    assert!(!response.headers().contains_key("x-seen-x-hop"));
    assert!(!response.headers().contains_key("x-seen-connection"));
}

#[tokio::test]
async fn plaintext_is_served_without_a_name() {
    let proxy = Proxy::start(app::http().await, &[]).await;
    let request = Request::builder().uri("/").header("host", "web").header("l5d-client-id", "forged");
    let response =
        send(proxy.plain().await, Version::HTTP_11, request.body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(!response.headers().contains_key("x-seen-l5d-client-id"));
}

#[tokio::test]
async fn bodies_and_trailers_pass() {
    let proxy = Proxy::start(app::http().await, &[]).await;
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let body = "x".repeat(300_000);
        let request = Request::post("/echo")
            .header("host", "web")
            .header("te", "trailers")
            .body(Full::from(body.clone()));
        let response = send(proxy.meshed(CLIENT).await, version, request.unwrap()).await.unwrap();
        let collected = response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().map(|t| t["x-trailer"].clone()).unwrap(), "end", "{version:?}");
        assert!(collected.to_bytes() == body);
    }
}

#[tokio::test]
async fn http1_carried_over_http2_reaches_the_application_as_http1() {
    let proxy = Proxy::start(app::http().await, &[]).await;
    let request = Request::builder().uri("/x").header("l5d-orig-proto", "HTTP/1.1").body(Full::default());
    let response = send(proxy.meshed(CLIENT).await, Version::HTTP_2, request.unwrap()).await.unwrap();
    assert_eq!(response.headers()["l5d-orig-proto"], "HTTP/1.1");
    assert_eq!(response.headers()["x-seen-host"], "web.shop");
    assert_eq!(text(response).await, "HTTP/1.1 /x");
}

#[tokio::test]
async fn upgrades_turn_into_bytes() {
    let app = app::http().await;
    let proxy = Proxy::start(app, &[]).await;
    let request = Request::builder().uri("/upgrade").header("host", "web");
    let request = request.header("connection", "upgrade").header("upgrade", "echo").body(Full::default());
    let response = send(proxy.meshed(CLIENT).await, Version::HTTP_11, request.unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    io.write_all(b"ping").await.unwrap();
    let mut four = [0; 4];
    io.read_exact(&mut four).await.unwrap();
    assert_eq!(&four, b"ping");
    proxy.mesh.policy.set(app.port(), server(detect(vec![]), vec![identities(&["somebody.else"])])).await;
    assert_eq!(read_all(&mut io).await, "", "cut when access is withdrawn");
}

#[tokio::test]
async fn a_server_that_speaks_first_is_reached_through_an_opaque_port() {
    let app = app::tcp(true).await;
    let port = app.port().to_string();
    let proxy = Proxy::start(app, &[("INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", &port)]).await;
    let mut stream = proxy.plain().await;
    let mut six = [0; 6];
    stream.read_exact(&mut six).await.unwrap();
    assert_eq!(&six, b"hello ");
}

#[tokio::test]
async fn other_tls_passes_through_untouched() {
    let proxy = Proxy::start(app::tcp(false).await, &[]).await;
    let connector = proxy.mesh.trust.credentials(CLIENT).connector(mesh_tls::Alpn::None).unwrap();
    let name = mesh_tls::server_name("somebody.else").unwrap();
    // The application echoes our ClientHello, which is no ServerHello: the proxy did not answer for it.
    let error = connector.connect(name, proxy.plain().await).await.unwrap_err();
    assert!(!error.to_string().contains("certificate"), "{error}");
    proxy.until_metric("inbound_tcp_authz_allow_total", &["tls=\"opaque\""]).await;
}

#[tokio::test]
async fn direct_connections_reach_the_port_their_header_names() {
    let app = app::http().await;
    let proxy = Proxy::start(app, &[]).await;
    for (session, version) in
        [(SessionProtocol::Http1, Version::HTTP_11), (SessionProtocol::Http2, Version::HTTP_2)]
    {
        let io = proxy.direct(Some(header(app.port(), Some(session)))).await;
        let response = get(io, version, "/").await;
        assert_eq!(response.headers()["x-seen-l5d-client-id"], CLIENT);
    }
    let echo = app::tcp(false).await;
    let mut io = proxy.direct(Some(header(echo.port(), None))).await;
    io.write_all(b"bytes").await.unwrap();
    io.shutdown().await.unwrap();
    assert_eq!(read_all(&mut io).await, "bytes");
}

#[tokio::test]
async fn direct_connections_need_mutual_tls_and_a_header() {
    let app = app::http().await;
    let proxy = Proxy::start(app, &[]).await;
    let mut plain = proxy.direct_plain().await;
    plain.write_all(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n").await.unwrap();
    assert_eq!(read_all(&mut plain).await, "");
    let mut headless = proxy.direct(None).await;
    headless.write_all(b"GET / HTTP/1.1\r\nhost: a.very.long.name\r\n\r\n").await.unwrap();
    assert_eq!(read_all(&mut headless).await, "");
    let named = TransportHeader { port: app.port(), name: Some("web.shop".into()), protocol: None };
    assert_eq!(read_all(&mut proxy.direct(Some(named)).await).await, "");
}

#[tokio::test]
async fn who_is_not_authorized_is_told_so() {
    let app = app::http().await;
    let proxy = Proxy::start(app, &[("INBOUND_DEFAULT_POLICY", "all-authenticated")]).await;
    let response = get(proxy.plain().await, Version::HTTP_11, "/").await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert!(response.headers()["l5d-proxy-error"].to_str().unwrap().contains("unauthorized"));
    let request = Request::post("/p.S/M").header("content-type", "application/grpc").body(Full::default());
    let response = send(proxy.plain().await, Version::HTTP_2, request.unwrap()).await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["grpc-status"]),
        (StatusCode::OK, &"7".parse().unwrap())
    );
    assert_eq!(get(proxy.meshed(CLIENT).await, Version::HTTP_11, "/").await.status(), StatusCode::OK);
    proxy.until_metric("inbound_http_authz_deny_total", &["all-authenticated"]).await;
}

#[tokio::test]
async fn policy_changes_reach_open_connections() {
    let app = app::tcp(false).await;
    let proxy = Proxy::start(app, &[]).await;
    let mut stream = proxy.meshed(CLIENT).await;
    stream.write_all(b"\0one").await.unwrap();
    let mut four = [0; 4];
    stream.read_exact(&mut four).await.unwrap();
    proxy.mesh.policy.set(app.port(), server(detect(vec![]), vec![identities(&[CLIENT])])).await;
    proxy.mesh.policy.set(app.port(), server(detect(vec![]), vec![identities(&["somebody.else"])])).await;
    assert_eq!(read_all(&mut stream).await, "");
    proxy.until_metric("inbound_tcp_authz_terminate_total", &["srv_name=\"test\""]).await;
    let mut refused = proxy.meshed(CLIENT).await;
    refused.write_all(b"\0one").await.unwrap();
    assert_eq!(read_all(&mut refused).await, "");
}

#[tokio::test]
async fn probe_paths_are_open_while_the_rest_is_not() {
    let app = app::http().await;
    let proxy = Proxy::start(app, &[("INBOUND_DEFAULT_POLICY", "deny")]).await;
    let path = |kind| HttpRouteMatch { path: Some(PathMatch { kind: Some(kind) }), ..Default::default() };
    let route = |matches, authorizations| api::HttpRoute {
        metadata: None,
        hosts: vec![],
        authorizations,
        rules: vec![api::http_route::Rule { matches: vec![matches], filters: vec![] }],
    };
    let routes = vec![
        route(path(path_match::Kind::Exact("/ready".into())), vec![anyone()]),
        route(path(path_match::Kind::Prefix("/".into())), vec![]),
    ];
    proxy.mesh.policy.set(app.port(), server(detect(routes), vec![identities(&[CLIENT])])).await;
    let open =
        || async { get(proxy.plain().await, Version::HTTP_11, "/ready").await.status() == StatusCode::OK };
    proxy.until("probed", open).await;
    assert_eq!(get(proxy.plain().await, Version::HTTP_11, "/").await.status(), StatusCode::FORBIDDEN);
    assert_eq!(get(proxy.meshed(CLIENT).await, Version::HTTP_11, "/").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_dead_application_is_a_bad_gateway() {
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = Proxy::start(dead, &[]).await;
    let response = get(proxy.meshed(CLIENT).await, Version::HTTP_11, "/").await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert!(response.headers()["l5d-proxy-error"].to_str().unwrap().contains("connect to"));
    proxy.until_metric("inbound_http_errors_total", &["error=\"i/o\""]).await;
}
