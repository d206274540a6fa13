use super::*;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http2 as server;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_types::Authority;
use std::convert::Infallible;
use tokio::net::TcpListener;
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

async fn ask(channel: &mut ControlChannel) -> String {
    let request = Request::builder().uri("/svc/Method").body(Body::empty()).unwrap();
    let response = channel.call(request).await.unwrap();
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
        loop {
            let closed = channel.0.state.lock().await.connection.as_ref().is_some_and(Connection::is_closed);
            if closed {
                break;
            }
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
    let request = Request::builder().uri("/svc/Method").body(Body::empty()).unwrap();
    let asking = channel.call(request);
    tokio::select! {
        answer = asking => panic!("{:?}", answer.map(|_| ())),
        () = tokio::time::sleep(Duration::from_millis(200)) => {}
    }
    assert_eq!(given_up.await.unwrap(), h2::Reason::CANCEL);
}
