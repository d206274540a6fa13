//! Bytes, TLS of others, detection, IPv6.

use super::pair;
use crate::app;
use crate::destinations::{endpoint, opaque, service};
use crate::harness::{Mesh, Proxy, Setup, get, read_all, text};
use crate::outbound::{VIRTUAL, WEB};
use http::Version;
use std::net::{Ipv6Addr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn either_side_may_close_first() {
    // The application says all it has to say and closes its side, then goes on reading.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = listener.local_addr().unwrap();
    let reading = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"bye").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).await.unwrap();
        all
    });
    let port = app.port().to_string();
    let proxy = Proxy::start(app, &[("INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", &port)]).await;
    let mut io = proxy.plain().await;
    assert_eq!(read_all(&mut io).await, "bye");
    io.write_all(b"late").await.unwrap();
    io.shutdown().await.unwrap();
    assert_eq!(reading.await.unwrap(), "late");
}

#[tokio::test]
async fn a_silent_client_is_waited_for_once_and_that_shows() {
    let settings = [("INBOUND_DETECT_TIMEOUT", "500ms")];
    let proxy = Proxy::start(app::tcp(true).await, &settings).await;
    let mut io = proxy.plain().await;
    let mut six = [0; 6];
    io.read_exact(&mut six).await.unwrap();
    assert_eq!(&six, b"hello ");
    proxy.until_metric("inbound_tcp_detect_http_results_total", &["result=\"read_timeout\""]).await;
    proxy.until_metric("isthmus_inbound_tls_accepts_total", &["result=\"read_timeout\""]).await;
    // HTTP was not waited for after TLS was.
    proxy.until_metric("inbound_tcp_detect_http_duration_seconds_sum", &["} 0.5"]).await;
}

#[tokio::test]
async fn detection_s_results_and_duration_show() {
    let proxy = Proxy::start(app::http().await, &[]).await;
    get(proxy.plain().await, Version::HTTP_11, "/").await;
    get(proxy.meshed(crate::harness::CLIENT).await, Version::HTTP_2, "/").await;
    for result in ["http/1", "http/2"] {
        proxy.until_metric("inbound_tcp_detect_http_results_total", &[&format!("result=\"{result}\"")]).await;
    }
    proxy.until_metric("inbound_tcp_detect_http_duration_seconds_count", &["srv_name", "} 2"]).await;
    for result in ["plaintext", "established"] {
        proxy.until_metric("isthmus_inbound_tls_accepts_total", &[&format!("result=\"{result}\"")]).await;
    }
}

#[tokio::test]
async fn a_handshake_that_fails_is_counted() {
    let proxy = Proxy::start(app::http().await, &[]).await;
    let stranger = crate::harness::Trust::new().credentials(crate::harness::CLIENT);
    let connector = stranger.connector(mesh_tls::Alpn::None).unwrap();
    let name = mesh_tls::server_name(crate::harness::SERVER).unwrap();
    assert!(connector.connect(name, proxy.plain().await).await.is_err());
    proxy.until_metric("isthmus_inbound_tls_accepts_total", &["result=\"failed\""]).await;
    proxy.until_metric("inbound_tcp_errors_total", &["error=\"tls\""]).await;
}

/// An address of the application on IPv6 loopback.
fn v6(app: SocketAddr) -> SocketAddr {
    SocketAddr::from((Ipv6Addr::LOCALHOST, app.port()))
}

#[tokio::test]
async fn ipv6_is_served_on_every_side() {
    let app = v6(app::http().await);
    let mesh = Mesh::new().await;
    let virtual_v6: SocketAddr = "[fd00:43::9]:80".parse().unwrap();
    mesh.destinations.set_policy(&format!("{}:{}", virtual_v6.ip(), virtual_v6.port()), service(WEB)).await;
    mesh.destinations.set_endpoints(WEB, vec![endpoint(app)]).await;
    let proxy = mesh.proxy(Setup { app, outbound: virtual_v6, ..Setup::default() }).await;
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let response = get(proxy.out_v6().await, version, "/").await;
        assert_eq!(
            text(response).await,
            format!("{version:?} {}/", if version == Version::HTTP_2 { "http://web.shop" } else { "" })
        );
    }
    let response = get(proxy.plain_v6().await, Version::HTTP_11, "/").await;
    assert_eq!(text(response).await, "HTTP/1.1 /");
    proxy.until_metric("request_total", &["direction=\"inbound\"", "target_ip=\"::1\""]).await;
    proxy.until_metric("request_total", &["direction=\"outbound\"", "target_ip=\"::1\""]).await;
}

#[tokio::test]
async fn ipv4_on_a_dual_stack_listener_is_ipv4() {
    let proxy = Proxy::start(
        app::http().await,
        &[("INBOUND_DEFAULT_POLICY", "cluster-unauthenticated"), ("POLICY_CLUSTER_NETWORKS", "127.0.0.0/8")],
    )
    .await;
    assert_eq!(get(proxy.plain().await, Version::HTTP_11, "/").await.status(), 200);
    assert_eq!(get(proxy.plain_v6().await, Version::HTTP_11, "/").await.status(), 403);
}

#[tokio::test]
async fn opaque_bytes_go_to_ipv6_endpoints() {
    let app = v6(app::tcp(false).await);
    let mesh = Mesh::new().await;
    mesh.destinations.set_policy(VIRTUAL, opaque(WEB)).await;
    mesh.destinations.set_endpoints(WEB, vec![endpoint(app)]).await;
    let proxy = mesh.proxy(Setup { outbound: VIRTUAL.parse().unwrap(), ..Setup::default() }).await;
    let mut io = proxy.out().await;
    io.write_all(b"bytes").await.unwrap();
    io.shutdown().await.unwrap();
    assert_eq!(read_all(&mut io).await, "bytes");
}

#[tokio::test]
async fn a_port_that_speaks_tls_of_its_own_is_passed_through_both_proxies() {
    // An application that echoes: what looks like a ClientHello for another name comes back as it was.
    let (client, _server) = pair(app::tcp(false).await).await;
    let hello = client_hello("somebody.else");
    let mut io = client.out().await;
    io.write_all(&hello).await.unwrap();
    let mut back = vec![0; hello.len()];
    io.read_exact(&mut back).await.unwrap();
    assert_eq!(back, hello);
}

/// A ClientHello with this server name, as rustls makes it.
pub(crate) fn client_hello(name: &str) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0]);
    let host = name.as_bytes();
    let len = u16::try_from(host.len()).unwrap();
    let mut extension = vec![0, 0];
    extension.extend((len + 5).to_be_bytes());
    extension.extend((len + 3).to_be_bytes());
    extension.push(0);
    extension.extend(len.to_be_bytes());
    extension.extend(host);
    body.extend(u16::try_from(extension.len()).unwrap().to_be_bytes());
    body.extend(extension);
    let mut record = vec![0x16, 3, 1];
    record.extend(u16::try_from(body.len() + 4).unwrap().to_be_bytes());
    record.extend([1, 0]);
    record.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    record.extend(body);
    record
}
