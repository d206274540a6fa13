use super::*;
use mesh_tls::{Authority, server_acceptor};
use tokio::net::TcpListener;

const DAY: Duration = Duration::from_secs(86_400);

/// An API server as far as a handshake goes, on loopback.
async fn serve(ca: &Authority, name: &str) -> SocketAddr {
    let pair = ca.issue_server(&[name], &["127.0.0.1".parse().unwrap()], DAY).unwrap();
    let acceptor = server_acceptor(&pair, None, &[]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(acceptor.accept(stream).await);
        }
    }));
    addr
}

#[tokio::test]
async fn an_api_server_is_reached_only_where_it_proves_to_be_the_right_one() {
    let ours = Authority::new_root("kubernetes", DAY).unwrap();
    let addr = serve(&ours, "kubernetes").await;
    assert!(api_server(&addr.to_string(), Some(&ours.cert_pem())).await.is_ok());
    let other = Authority::new_root("kubernetes", DAY).unwrap();
    assert!(api_server(&addr.to_string(), Some(&other.cert_pem())).await.is_err());
    let refused = api_server("127.0.0.1:1", None).await.unwrap_err();
    assert!(refused.contains("refused"), "{refused}");
}

#[tokio::test]
async fn a_gateway_given_by_name_is_resolved_where_it_is_tried() {
    let ca = Authority::new_root("root", DAY).unwrap();
    let bundle = TrustBundle::from_pem(&ca.cert_pem()).unwrap();
    let request = Request {
        gateways: vec![],
        probe_port: 1,
        probe_path: "/ready".into(),
        identity: "gateway.multi.serviceaccount.identity.linkerd.cluster.local".into(),
        api_servers: vec![],
        api_server_ca: None,
    };
    let link = as_link(&request);
    let attempts = gateway("localhost:1", &link, &bundle).await;
    assert!(attempts.iter().any(|a| a.address == "localhost:1 (127.0.0.1)"), "{attempts:?}");
    let unknown = gateway("no-such-host.invalid:4143", &link, &bundle).await;
    assert!(unknown[0].error.as_ref().unwrap().contains("cannot be resolved"), "{unknown:?}");
}
