//! Certification over TLS, and renewal.

use crate::control::{PolicyService, Signer, TrustService, serve};
use crate::destinations::Destinations;
use crate::harness::{CLIENT, LIMIT, Mesh, Proxy, SERVER, Setup, Trust, get};
use mesh_metrics::Registry;
use mesh_proxy::config::{ControlAddr, Identities};
use mesh_proxy::control::{ControlChannel, Dns};
use mesh_proxy::identity::Certifier;
use mesh_tls::{MeshTls, TrustBundle};
use mesh_types::Authority;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

const IDENTITY: &str = "linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local";

/// An identity service behind mesh TLS as `name`, as it is behind its own sidecar; gives its port.
async fn identity_service(trust: &Trust, name: &str) -> u16 {
    let signer = Signer { issuer: Arc::clone(&trust.issuer), lifetime: Duration::from_secs(60) };
    let service =
        serve(signer, TrustService::default(), PolicyService::default(), Destinations::default()).await;
    let acceptor = Arc::new(trust.credentials(name).acceptor().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = Arc::clone(&acceptor);
            tokio::spawn(async move {
                let mut client = acceptor.accept(stream).await?;
                let mut server = TcpStream::connect(service).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    port
}

/// Credentials that a certifier keeps fresh, renewed every 50 ms with the token in the file.
fn certified(trust: &Trust, port: u16, token: &std::path::Path) -> MeshTls {
    let bundle = TrustBundle::from_pem(&trust.root.cert_pem()).unwrap();
    let tls = MeshTls::new(CLIENT.parse().unwrap(), bundle).unwrap();
    let service = ControlAddr {
        addr: Authority { host: "127.0.0.1".into(), port },
        identity: Some(IDENTITY.parse().unwrap()),
    };
    let config = Identities {
        local: tls.identity().clone(),
        trust_anchors: trust.root.cert_pem(),
        token_file: token.to_owned(),
        dir: None,
        service: service.clone(),
        min_refresh: Duration::from_millis(50),
        max_refresh: Duration::from_millis(50),
    };
    let dns = Arc::new(Dns::new(&Registry::new()));
    let channel = ControlChannel::new(service, tls.clone(), dns);
    tokio::spawn(Certifier::new(config, tls.clone(), channel, &Registry::new()).run());
    tls
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("never {what}"));
}

#[tokio::test(flavor = "local")]
async fn certificates_are_renewed_and_a_refusal_keeps_the_old_one() {
    mesh_tls::install_provider();
    let trust = Trust::new();
    let files = tempfile::tempdir().unwrap();
    let token = files.path().join("token");
    std::fs::write(&token, "valid\n").unwrap();
    let tls = certified(&trust, identity_service(&trust, IDENTITY).await, &token);
    until("renewed", || tls.generation() >= 3).await;
    std::fs::write(&token, "forged").unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(tls.is_ready(), "the old certificate stays");
    let before = tls.generation();
    std::fs::write(&token, "valid").unwrap();
    until("renewed again", || tls.generation() > before).await;
}

#[tokio::test(flavor = "local")]
async fn an_impostor_gets_no_token() {
    mesh_tls::install_provider();
    let trust = Trust::new();
    let files = tempfile::tempdir().unwrap();
    let token = files.path().join("token");
    std::fs::write(&token, "valid").unwrap();
    // Certified by the same authority, but not the identity service.
    let tls = certified(&trust, identity_service(&trust, CLIENT).await, &token);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!tls.is_ready());
}

#[tokio::test(flavor = "local")]
async fn trust_anchors_change_without_a_restart() {
    let mesh = Mesh::new().await;
    let app = crate::app::http().await;
    let proxy: Proxy = mesh.proxy(Setup { identity: SERVER, app, ..Setup::default() }).await;
    let old = TrustBundle::from_pem(&mesh.trust.root.cert_pem()).unwrap();
    let mut held = mesh.anchors.held.subscribe();
    let says =
        |wanted: String| move |held: &mesh_api::trust::Held| held.sha256 == wanted && held.instance == "web";
    tokio::time::timeout(LIMIT, held.wait_for(says(old.sha256().to_owned()))).await.unwrap().unwrap();
    // A client of another authority is a stranger, until its root is among the anchors.
    let other = Trust::new();
    let both = format!("{}{}", mesh.trust.root.cert_pem(), other.root.cert_pem());
    let new = TrustBundle::from_pem(&both).unwrap().sha256().to_owned();
    mesh.anchors.bundle.send_replace(both.clone());
    tokio::time::timeout(LIMIT, held.wait_for(says(new.clone()))).await.unwrap().unwrap();
    assert!(proxy.admin("/env.json").await.1.contains(&new));
    let stranger = other.credentials(CLIENT);
    stranger.set_bundle(TrustBundle::from_pem(&both).unwrap()).unwrap();
    let connector = stranger.connector(mesh_tls::Alpn::None).unwrap();
    let name = mesh_tls::server_name(SERVER).unwrap();
    let stream = connector.connect(name, proxy.plain().await).await.unwrap();
    let response = get(stream, http::Version::HTTP_11, "/").await;
    assert_eq!(response.headers()["x-seen-l5d-client-id"], CLIENT);
}

#[tokio::test(flavor = "local")]
async fn a_proxy_that_runs_goes_on_renewing() {
    let mesh = Mesh::new().await;
    let often = &[("IDENTITY_MIN_REFRESH", "50ms"), ("IDENTITY_MAX_REFRESH", "50ms")];
    let proxy = mesh.proxy(Setup { settings: often, ..Setup::default() }).await;
    let renewed = || async {
        let (_, metrics) = proxy.admin("/metrics").await;
        let count = metrics.lines().find_map(|line| line.strip_prefix("identity_cert_refresh_count{} "));
        count.is_some_and(|count| count.parse::<f64>().unwrap() >= 4.0)
    };
    proxy.until("renewed several times", renewed).await;
}
