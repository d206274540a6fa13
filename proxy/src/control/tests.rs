use super::*;
use futures::FutureExt as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http2 as server;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_types::Authority;
use std::convert::Infallible;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tower::Service;

fn credentials() -> MeshTls {
    let root = mesh_tls::Authority::new_root("root", Duration::from_secs(3600)).unwrap();
    let bundle = mesh_tls::TrustBundle::from_pem(&root.cert_pem()).unwrap();
    MeshTls::new("web.shop".parse().unwrap(), bundle).unwrap()
}

fn channel(port: u16) -> ControlChannel {
    let target = ControlAddr { addr: Authority { host: "localhost".into(), port }, identity: None };
    ControlChannel::new(target, credentials(), Arc::new(Dns::new(&Registry::new())))
}

/// Answers requests on one connection with their URI, then is dropped when `connections` have been served.
async fn serve(listener: &TcpListener) {
    let (tcp, _) = listener.accept().await.unwrap();
    let answer = service_fn(|req: Request<Incoming>| async move {
        Ok::<_, Infallible>(Response::new(http_body_util::Full::new(bytes::Bytes::from(
            req.uri().to_string(),
        ))))
    });
    drop(server::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(tcp), answer).await);
}

fn request() -> Request<Body> {
    Request::builder().uri("/svc/Method").body(Body::empty()).unwrap()
}

async fn ask(channel: &mut ControlChannel) -> String {
    let response = channel.call(request()).await.unwrap();
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test(flavor = "local")]
async fn requests_get_the_services_authority_and_share_a_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut channel = channel(port);
    let server = tokio::spawn(async move { serve(&listener).await });
    for _ in 0..3 {
        assert_eq!(ask(&mut channel.clone()).await, format!("http://localhost:{port}/svc/Method"));
    }
    assert_eq!(ask(&mut channel).await, format!("http://localhost:{port}/svc/Method"));
    server.abort();
}

#[tokio::test(flavor = "local")]
async fn a_request_waits_for_a_control_plane_that_starts_later() {
    let reserved = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = reserved.local_addr().unwrap();
    drop(reserved);
    let mut channel = channel(addr.port());
    let asked = tokio::spawn(async move { ask(&mut channel).await });
    tokio::time::sleep(Duration::from_millis(150)).await;
    let listener = TcpListener::bind(addr).await.unwrap();
    let server = tokio::spawn(async move { serve(&listener).await });
    assert!(asked.await.unwrap().ends_with("/svc/Method"));
    server.abort();
}

#[tokio::test(flavor = "local")]
async fn a_lost_connection_is_made_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut channel = channel(listener.local_addr().unwrap().port());
    for _ in 0..2 {
        let asked = tokio::spawn({
            let mut channel = channel.clone();
            async move { ask(&mut channel).await }
        });
        tokio::select! {
            () = serve(&listener) => panic!("the connection ended first"),
            answer = asked => assert!(answer.unwrap().ends_with("/svc/Method")),
        }
        // The server side is dropped here; wait until the channel has seen it.
        while !channel.0.connection.is_lost() {
            tokio::task::yield_now().await;
        }
    }
    let _ = &mut channel;
}

/// Answers one request on a connection, which then takes no more.
async fn serve_one(listener: &TcpListener) {
    let (tcp, _) = listener.accept().await.unwrap();
    let answered = tokio::sync::Notify::new();
    let answer = service_fn(|_| {
        answered.notify_one();
        async { Ok::<_, Infallible>(Response::new(http_body_util::Full::new(bytes::Bytes::from("one")))) }
    });
    let connection = server::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(tcp), answer);
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return drop(ended),
        () = answered.notified() => connection.as_mut().graceful_shutdown(),
    }
    drop(connection.await);
}

#[tokio::test(flavor = "local")]
async fn a_service_that_leaves_in_order_fails_no_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut channel = channel(listener.local_addr().unwrap().port());
    let server = tokio::spawn(async move {
        loop {
            serve_one(&listener).await;
        }
    });
    for _ in 0..20 {
        assert_eq!(ask(&mut channel).await, "one");
    }
    server.abort();
}

#[tokio::test(flavor = "local")]
async fn a_request_that_nobody_waits_for_is_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut channel = channel(listener.local_addr().unwrap().port());
    let given_up = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(tcp).await.unwrap();
        let (_request, mut respond) = connection.accept().await.unwrap().unwrap();
        tokio::select! {
            reset = std::future::poll_fn(|cx| respond.poll_reset(cx)) => reset.unwrap(),
            other = connection.accept() => panic!("{other:?}"),
        }
    });
    let asking = channel.call(request());
    tokio::select! {
        answer = asking => panic!("{:?}", answer.map(|_| ())),
        () = tokio::time::sleep(Duration::from_millis(200)) => {}
    }
    assert_eq!(given_up.await.unwrap(), h2::Reason::CANCEL);
}

/// A control plane at `listener` that presents itself as `policy.mesh`, and a channel to it.
fn secured(listener: &TcpListener) -> (MeshTls, ControlChannel) {
    let hour = Duration::from_secs(3600);
    let root = mesh_tls::Authority::new_root("root", hour).unwrap();
    let bundle = mesh_tls::TrustBundle::from_pem(&root.cert_pem()).unwrap();
    let policy = MeshTls::new("policy.mesh".parse().unwrap(), bundle.clone()).unwrap();
    let request = policy.request().unwrap();
    let leaf = root.sign_csr(&request.csr_der, policy.identity(), hour, Duration::ZERO).unwrap();
    policy.set_leaf(request, leaf.leaf_der, leaf.intermediates_der, leaf.not_after).unwrap();
    let target = ControlAddr {
        addr: Authority { host: "localhost".into(), port: listener.local_addr().unwrap().port() },
        identity: Some("policy.mesh".parse().unwrap()),
    };
    let client = MeshTls::new("web.shop".parse().unwrap(), bundle).unwrap();
    (policy, ControlChannel::new(target, client, Arc::new(Dns::new(&Registry::new()))))
}

/// Asks, and gives up soon.
async fn ask_impatiently(channel: &mut ControlChannel) {
    let asked = timeout(Duration::from_millis(20), channel.call(request())).await;
    assert!(asked.is_err(), "the control plane is slow");
}

#[tokio::test(flavor = "local")]
async fn a_control_plane_that_is_slower_than_its_callers_are_patient_is_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (policy, mut channel) = secured(&listener);
    // It shakes hands once, when several callers have given up.
    let (given_up, mut seen) = watch::channel(0);
    let slow = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        seen.wait_for(|callers| *callers == 3).await.unwrap();
        let tls = policy.acceptor().unwrap().accept(tcp).await.unwrap();
        let answer = service_fn(|_| async {
            Ok::<_, Infallible>(Response::new(http_body_util::Full::new(bytes::Bytes::from("slow"))))
        });
        drop(server::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(tls), answer).await);
    });
    for callers in 1..=3 {
        ask_impatiently(&mut channel).await;
        given_up.send(callers).unwrap();
    }
    assert_eq!(ask(&mut channel).await, "slow");
    slow.abort();
}

#[tokio::test(flavor = "local")]
async fn nobody_connects_for_a_channel_that_is_gone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_policy, mut channel) = secured(&listener);
    ask_impatiently(&mut channel).await;
    let (mut tcp, _) = listener.accept().await.unwrap();
    let mut hello = vec![0; 16 * 1024];
    assert!(tcp.read(&mut hello).await.unwrap() > 0);
    // Another handle keeps it going.
    let other = channel.clone();
    drop(channel);
    assert!(timeout(Duration::from_millis(100), tcp.read(&mut hello)).await.is_err());
    drop(other);
    let closed = timeout(Duration::from_secs(1), tcp.read(&mut hello)).await;
    assert_eq!(closed.expect("long before the handshake is given up").unwrap(), 0);
}

/// Outside of a local runtime a connection cannot be carried: what was to make it panics, and all who wait learn that.
#[tokio::test]
async fn who_waits_for_a_connection_learns_that_nobody_makes_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let channel = channel(listener.local_addr().unwrap().port());
    for _ in 0..2 {
        let asked = futures::future::join_all((0..3).map(|_| channel.clone().call(request())));
        for answer in timeout(Duration::from_secs(5), asked).await.expect("told") {
            assert!(matches!(answer, Err(ControlError::Abandoned { .. })));
        }
    }
}

/// Nobody waits there, and nothing is locked for good.
#[test]
fn outside_of_a_runtime_a_channel_stays_usable() {
    let channel = channel(1);
    let call = || {
        let asking = std::panic::AssertUnwindSafe(channel.clone().call(request()));
        std::panic::catch_unwind(|| asking.now_or_never())
    };
    assert!(call().is_err() && call().is_err());
}
