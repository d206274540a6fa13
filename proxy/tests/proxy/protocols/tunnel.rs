//! Connections of bytes between two of our proxies: streams on connections that are kept.

use crate::app;
use crate::control::{anyone, detect, identities, server};
use crate::destinations::{meshed, opaque};
use crate::harness::{LIMIT, Mesh, Proxy, SERVER, Setup, read_all};
use crate::outbound::{VIRTUAL, WEB, client, pair_of, through};
use mesh_net::{OpenError, Refusal, TransportHeader, Tunnel};
use mesh_tls::Alpn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Labels of mutually authenticated connections that a proxy has accepted.
const ACCEPTED: [&str; 3] = ["direction=\"inbound\"", "peer=\"src\"", "tls=\"true\""];

/// A client's proxy and a server's in front of `app`, which speaks bytes.
async fn opaque_pair(app: SocketAddr) -> (Proxy, Proxy) {
    pair_of(opaque(WEB), app, &[]).await
}

/// One connection: says `what`, and gives what comes back.
async fn exchange(client: &Proxy, what: &str) -> String {
    let mut io = client.out().await;
    io.write_all(what.as_bytes()).await.unwrap();
    io.shutdown().await.unwrap();
    read_all(&mut io).await
}

/// Waits until so many streams have come to `server` on so many connections.
async fn carried(server: &Proxy, streams: usize, connections: usize) {
    let metric = "inbound_tcp_transport_header_connections_total";
    server.until_metric(metric, &[&format!("}} {streams}")]).await;
    let [direction, peer, tls] = ACCEPTED;
    server.until_metric("tcp_open_total", &[direction, peer, tls, &format!("}} {connections}")]).await;
}

/// How many mutually authenticated connections `server` has accepted.
async fn accepted(server: &Proxy) -> String {
    server.metric("tcp_open_total", &ACCEPTED).await
}

#[tokio::test]
async fn connections_that_follow_each_other_share_one_between_the_proxies() {
    let (client, server) = opaque_pair(app::tcp(false).await).await;
    for n in 1..=3 {
        let said = "x".repeat(n * 40_000);
        assert!(exchange(&client, &said).await == said);
        carried(&server, n, 1).await;
    }
}

#[tokio::test]
async fn connections_at_the_same_time_do_not_wait_for_each_other() {
    let (client, server) = opaque_pair(app::tcp(true).await).await;
    let mut all = Vec::new();
    for _ in 0..3 {
        let mut io = client.out().await;
        let mut six = [0; 6];
        io.read_exact(&mut six).await.unwrap();
        assert_eq!(&six, b"hello ");
        all.push(io);
    }
    carried(&server, 3, 3).await;
    for mut io in all {
        io.shutdown().await.unwrap();
        assert_eq!(read_all(&mut io).await, "");
    }
    assert_eq!(exchange(&client, "again").await, "hello again");
    carried(&server, 4, 3).await;
}

#[tokio::test]
async fn a_stream_that_breaks_off_takes_no_other_with_it() {
    let (listener, app) = app::bind().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut byte = [0];
            if stream.read_exact(&mut byte).await.is_ok() && byte == *b"!" {
                stream.set_zero_linger().unwrap();
                continue;
            }
            let _ = stream.write_all(&byte).await;
        }
    });
    let (client, server) = opaque_pair(app).await;
    assert_eq!(exchange(&client, "a").await, "a");
    assert_eq!(exchange(&client, "!").await, "");
    assert_eq!(exchange(&client, "b").await, "b");
    carried(&server, 3, 2).await;
}

#[tokio::test]
async fn where_an_application_does_not_listen_another_endpoint_is_tried() {
    let app = app::tcp(false).await;
    let (_kept, dead) = app::closed();
    let mesh = Mesh::new().await;
    let servers = [mesh.proxy(Setup { app: dead, ..Setup::default() }).await];
    let well = mesh.proxy(Setup { app, ..Setup::default() }).await;
    mesh.destinations.set_policy(VIRTUAL, opaque(WEB)).await;
    let endpoints = vec![through(&servers[0], dead), through(&well, app)];
    mesh.destinations.set_endpoints(WEB, endpoints).await;
    let client = client(&mesh).await;
    for _ in 0..20 {
        assert_eq!(exchange(&client, "bytes").await, "bytes");
    }
}

#[tokio::test]
async fn a_client_that_may_not_is_told_and_the_connection_stays() {
    let app = app::tcp(false).await;
    let (client, server_proxy) = opaque_pair(app).await;
    assert_eq!(exchange(&client, "bytes").await, "bytes");
    let policy = &server_proxy.mesh.policy;
    policy.set(app.port(), server(detect(vec![]), vec![identities(&["somebody.else"])])).await;
    server_proxy.until("closed", || async { exchange(&client, "bytes").await.is_empty() }).await;
    // The change may have cut a stream.
    assert_eq!(exchange(&client, "bytes").await, "");
    let before = accepted(&server_proxy).await;
    assert_eq!(exchange(&client, "bytes").await, "");
    server_proxy.until_metric("inbound_tcp_errors_total", &["error=\"forbidden\""]).await;
    client.until_metric("outbound_tcp_errors_total", &["error=\"forbidden\""]).await;
    policy.set(app.port(), server(detect(vec![]), vec![anyone()])).await;
    server_proxy.until("let in again", || async { exchange(&client, "bytes").await == "bytes" }).await;
    assert_eq!(accepted(&server_proxy).await, before);
}

#[tokio::test]
async fn nothing_is_kept_of_an_endpoint_that_is_gone() {
    let app = app::tcp(true).await;
    let (client, server) = opaque_pair(app).await;
    let mut lasting = client.out().await;
    let mut six = [0; 6];
    lasting.read_exact(&mut six).await.unwrap();
    assert_eq!(exchange(&client, "bytes").await, "hello bytes");
    carried(&server, 2, 2).await;
    server.mesh.destinations.set_endpoints(WEB, vec![]).await;
    client.until_metric("tcp_open_connections", &["peer=\"dst\"", "} 1"]).await;
    lasting.write_all(b"!").await.unwrap();
    lasting.shutdown().await.unwrap();
    assert_eq!(read_all(&mut lasting).await, "!");
    client.until_metric("tcp_open_connections", &["peer=\"dst\"", "} 0"]).await;
}

#[tokio::test]
async fn names_that_nobody_asked_for_make_no_series_and_end_the_connection() {
    let app = app::tcp(false).await;
    let (_client, server) = opaque_pair(app).await;
    let connector = server.mesh.trust.credentials(crate::harness::CLIENT).connector(Alpn::Tunnel).unwrap();
    let stream = TcpStream::connect(server.direct_addr()).await.unwrap();
    let name = mesh_tls::server_name(SERVER).unwrap();
    let mut tunnel = Tunnel::new(connector.connect(name, stream).await.unwrap());
    let mut refused = 0;
    loop {
        let name = Some(format!("made-up-{refused}.example.org"));
        match tunnel.open(&TransportHeader { port: 80, name, protocol: None }).await {
            Ok(()) => panic!("accepted"),
            Err(OpenError::Refused { refusal, reason }) => {
                assert!(refusal == Refusal::Forbidden && reason.contains("no gateway"), "{reason}");
                refused += 1;
            }
            Err(OpenError::Io(_)) => break,
        }
    }
    assert_eq!(refused, 16);
    assert!(!server.admin("/metrics").await.1.contains("made-up"));
}

#[tokio::test]
async fn a_server_that_stops_does_not_wait_for_connections_at_rest() {
    let (client, server) = opaque_pair(app::tcp(false).await).await;
    assert_eq!(exchange(&client, "bytes").await, "bytes");
    server.begin_stop();
    server.stopped().await.unwrap();
    client.until_metric("tcp_open_connections", &["peer=\"dst\"", "} 0"]).await;
}

#[tokio::test]
async fn new_trust_is_asked_for_by_a_new_connection() {
    let app = app::tcp(false).await;
    let (client, server) = opaque_pair(app).await;
    assert_eq!(exchange(&client, "bytes").await, "bytes");
    carried(&server, 1, 1).await;
    let mesh = Arc::clone(&server.mesh);
    let both = format!("{}{}", mesh.trust.root.cert_pem(), crate::harness::Trust::new().root.cert_pem());
    let new = mesh_tls::TrustBundle::from_pem(&both).unwrap().sha256().to_owned();
    mesh.anchors.bundle.send_replace(both);
    for proxy in [&client, &server] {
        proxy.until("trusting", || async { proxy.admin("/env.json").await.1.contains(&new) }).await;
    }
    assert_eq!(exchange(&client, "bytes").await, "bytes");
    carried(&server, 2, 2).await;
}

#[tokio::test]
async fn a_connection_from_which_nothing_comes_any_more_loses_nothing() {
    let app = app::tcp(false).await;
    let mesh = Mesh::new().await;
    let server = mesh.proxy(Setup { app, ..Setup::default() }).await;
    mesh.destinations.set_policy(VIRTUAL, opaque(WEB)).await;
    // Passes connections on to the server's proxy; the first one stands still when told to.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let relay = listener.local_addr().unwrap();
    let (accepted, stop) = (Arc::new(AtomicUsize::new(0)), tokio::sync::watch::Sender::new(false));
    let (count, stopped, to) = (Arc::clone(&accepted), stop.subscribe(), server.direct_addr());
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let (first, mut stopped) = (count.fetch_add(1, SeqCst) == 0, stopped.clone());
            tokio::spawn(async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                    _ = stopped.wait_for(|stop| *stop), if first => {}
                }
                std::future::pending::<()>().await;
            });
        }
    });
    let endpoint = meshed(SocketAddr::new(relay.ip(), app.port()), SERVER, relay.port());
    mesh.destinations.set_endpoints(WEB, vec![endpoint]).await;
    let client = client(&mesh).await;
    assert_eq!(exchange(&client, "bytes").await, "bytes");
    stop.send_replace(true);
    assert_eq!(tokio::time::timeout(LIMIT, exchange(&client, "more")).await.unwrap(), "more");
    assert_eq!(accepted.load(SeqCst), 2);
}
