use super::*;
use crate::{Authority, certificate_info, server_name};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

const DAY: Duration = Duration::from_secs(86_400);

struct Ca {
    root: Authority,
    issuer: Authority,
}

impl Ca {
    fn new() -> Self {
        let root = Authority::new_root("root", DAY).unwrap();
        let issuer = root.issue_authority("issuer", DAY).unwrap();
        Self { root, issuer }
    }

    fn bundle(&self) -> TrustBundle {
        TrustBundle::from_pem(&self.root.cert_pem()).unwrap()
    }

    fn certify(&self, tls: &MeshTls) {
        let request = tls.request().unwrap();
        let leaf = self.issuer.sign_csr(&request.csr_der, tls.identity(), DAY, Duration::ZERO).unwrap();
        tls.set_leaf(request, leaf.leaf_der, leaf.intermediates_der, leaf.not_after).unwrap();
    }

    fn proxy(&self, name: &str) -> MeshTls {
        let tls = MeshTls::new(name.parse().unwrap(), self.bundle()).unwrap();
        self.certify(&tls);
        tls
    }
}

/// Both ends of a connection, the server's first, after a byte went each way.
async fn pair(
    connector: &Connector,
    server: &MeshTls,
    expect: &str,
) -> Result<(TlsStream<DuplexStream>, TlsStream<DuplexStream>), String> {
    let (a, b) = tokio::io::duplex(64 * 1024);
    let acceptor = server.acceptor().unwrap();
    let accepting = async {
        let mut server = acceptor.accept(a).await?;
        let byte = server.read_u8().await?;
        server.write_u8(byte).await?;
        server.flush().await?;
        Ok(server)
    };
    let dialling = async {
        let mut client = connector.connect(server_name(expect).unwrap(), b).await?;
        client.write_u8(7).await?;
        client.read_u8().await?;
        Ok(client)
    };
    tokio::try_join!(accepting, dialling).map_err(|error: std::io::Error| error.to_string())
}

/// Answers with the client identity and what was agreed on, as the server saw them.
async fn connect(
    client: &MeshTls,
    server: &MeshTls,
    expect: &str,
    alpn: Alpn,
) -> Result<(Option<Identity>, Alpn), String> {
    let (server, _client) = pair(&client.connector(alpn).unwrap(), server, expect).await?;
    Ok((server.peer_identity(), server.negotiated()))
}

/// Connects with the sessions of earlier connections; says whether one was resumed. Both sides must agree on it, and know
/// each other in any case.
async fn resumes(sessions: &Sessions, client: &MeshTls, server: &MeshTls) -> bool {
    let connector = client.connector_to(sessions, Alpn::Transport).unwrap();
    let name = server.identity().as_str();
    let (accepted, connected) = pair(&connector, server, name).await.unwrap();
    assert_eq!(accepted.peer_identity().as_ref(), Some(client.identity()));
    assert_eq!(connected.peer_identity().as_ref(), Some(server.identity()));
    assert_eq!((accepted.negotiated(), connected.negotiated()), (Alpn::Transport, Alpn::Transport));
    assert_eq!(accepted.is_resumed(), connected.is_resumed());
    connected.is_resumed()
}

#[tokio::test]
async fn both_sides_learn_each_others_identity() {
    let ca = Ca::new();
    let (web, db) = (ca.proxy("web.shop"), ca.proxy("db.shop"));
    for alpn in [Alpn::None, Alpn::Transport, Alpn::Tunnel] {
        let seen = connect(&web, &db, "db.shop", alpn).await.unwrap();
        assert_eq!(seen, (Some("web.shop".parse().unwrap()), alpn));
    }
}

#[tokio::test]
async fn a_server_of_another_name_is_refused() {
    let ca = Ca::new();
    let (web, db) = (ca.proxy("web.shop"), ca.proxy("db.shop"));
    assert!(connect(&web, &db, "ledger.shop", Alpn::None).await.is_err());
}

#[tokio::test]
async fn proxies_of_another_root_are_refused_until_the_bundle_is_swapped() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let (web, db) = (ours.proxy("web.shop"), theirs.proxy("db.shop"));
    assert!(connect(&web, &db, "db.shop", Alpn::None).await.is_err());
    let both = format!("{}{}", ours.root.cert_pem(), theirs.root.cert_pem());
    let both = TrustBundle::from_pem(&both).unwrap();
    let before = web.generation();
    web.set_bundle(both.clone()).unwrap();
    assert_eq!(web.generation(), before + 1);
    db.set_bundle(both.clone()).unwrap();
    assert!(connect(&web, &db, "db.shop", Alpn::None).await.is_ok());
    web.set_bundle(both).unwrap();
    assert_eq!(web.generation(), before + 1, "the same bundle changes nothing");
}

#[test]
fn a_certificate_for_another_key_is_refused_and_the_old_one_stays() {
    let ca = Ca::new();
    let tls = ca.proxy("web.shop");
    let before = tls.not_after();
    let (mine, other) = (tls.request().unwrap(), tls.request().unwrap());
    let leaf = ca.issuer.sign_csr(&other.csr_der, tls.identity(), DAY, Duration::ZERO).unwrap();
    assert!(tls.set_leaf(mine, leaf.leaf_der, vec![], leaf.not_after).is_err());
    assert_eq!(tls.not_after(), before);
}

#[test]
fn without_a_certificate_only_control_connections_are_possible() {
    let ca = Ca::new();
    let tls = MeshTls::new("web.shop".parse().unwrap(), ca.bundle()).unwrap();
    assert!(matches!(tls.connector(Alpn::None), Err(Error::NoCertificate)));
    assert!(matches!(tls.acceptor(), Err(Error::NoCertificate)));
    let _ = tls.control_connector();
    ca.certify(&tls);
    assert!(tls.is_ready());
}

#[tokio::test]
async fn a_resumed_session_knows_the_identities_and_is_used_once() {
    let ca = Ca::new();
    let (web, db) = (ca.proxy("web.shop"), ca.proxy("db.shop"));
    let sessions = Sessions::default();
    assert!(!resumes(&sessions, &web, &db).await, "there is nothing to resume");
    // Each brings the ticket for the next.
    for _ in 0..3 {
        assert!(resumes(&sessions, &web, &db).await);
    }
    assert!(!resumes(&Sessions::default(), &web, &db).await, "another place has other sessions");
    let connector = web.connector_to(&sessions, Alpn::Transport).unwrap();
    assert!(pair(&connector, &ca.proxy("ledger.shop"), "db.shop").await.is_err(), "the name is checked");
    let other = ca.proxy("db.shop");
    assert!(!resumes(&sessions, &web, &other).await, "another proxy of that name knows nothing of them");
}

#[tokio::test]
async fn a_new_certificate_on_either_side_ends_all_sessions() {
    let ca = Ca::new();
    let (web, db) = (ca.proxy("web.shop"), ca.proxy("db.shop"));
    let sessions = Sessions::default();
    for side in [&web, &db] {
        resumes(&sessions, &web, &db).await;
        assert!(resumes(&sessions, &web, &db).await);
        ca.certify(side);
        assert!(!resumes(&sessions, &web, &db).await, "{}", side.identity());
    }
}

#[tokio::test]
async fn a_new_bundle_on_either_side_ends_all_sessions() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let (web, db) = (ours.proxy("web.shop"), ours.proxy("db.shop"));
    let sessions = Sessions::default();
    let both = TrustBundle::from_pem(&format!("{}{}", ours.root.cert_pem(), theirs.root.cert_pem())).unwrap();
    for side in [&web, &db] {
        resumes(&sessions, &web, &db).await;
        assert!(resumes(&sessions, &web, &db).await);
        side.set_bundle(both.clone()).unwrap();
        assert!(!resumes(&sessions, &web, &db).await, "{}", side.identity());
    }
    // Trusted until now, and by a session that was made then.
    assert!(resumes(&sessions, &web, &db).await);
    db.set_bundle(theirs.bundle()).unwrap();
    let connector = web.connector_to(&sessions, Alpn::Transport).unwrap();
    assert!(pair(&connector, &db, "db.shop").await.is_err(), "the server trusts the client no more");
}

#[tokio::test]
async fn a_session_does_not_outlive_the_certificates() {
    let ca = Ca::new();
    let (web, db) = (ca.proxy("web.shop"), ca.proxy("db.shop"));
    let sessions = Sessions::default();
    let second = Duration::from_secs(1);
    let request = web.request().unwrap();
    let leaf = ca.issuer.sign_csr(&request.csr_der, web.identity(), second, Duration::ZERO).unwrap();
    let ends = certificate_info(&leaf.leaf_der).unwrap().not_after;
    web.set_leaf(request, leaf.leaf_der, leaf.intermediates_der, leaf.not_after).unwrap();
    assert!(!resumes(&sessions, &web, &db).await);
    // Its end is a whole second, which is part of it.
    let over = ends + second;
    tokio::time::sleep(over.duration_since(SystemTime::now()).unwrap_or_default()).await;
    let connector = web.connector_to(&sessions, Alpn::Transport).unwrap();
    assert!(pair(&connector, &db, "db.shop").await.is_err());
}

#[test]
fn aes_of_128_bits_is_first_where_the_processor_has_it() {
    let first = mesh_provider().cipher_suites[0].suite();
    let wanted = if has_aes() {
        CipherSuite::TLS13_AES_128_GCM_SHA256
    } else {
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
    };
    assert_eq!(first, wanted);
    assert_eq!(mesh_provider().cipher_suites.len(), provider().cipher_suites.len());
}

#[tokio::test]
async fn who_knows_no_tunnels_is_met_with_a_transport_header() {
    let ca = Ca::new();
    let (web, db) = (ca.proxy("web.shop"), ca.proxy("db.shop"));
    let mut acceptor = db.acceptor().unwrap();
    Arc::make_mut(&mut acceptor.config).alpn_protocols = vec![headers::TRANSPORT_ALPN.to_vec()];
    let (a, b) = tokio::io::duplex(1 << 16);
    let connector = web.connector(Alpn::Tunnel).unwrap();
    let name = crate::server_name("db.shop").unwrap();
    let dialling = async {
        let mut client = connector.connect(name, a).await.unwrap();
        client.flush().await.unwrap();
        client
    };
    let (client, server) = tokio::join!(dialling, acceptor.accept(b));
    assert_eq!((client.negotiated(), server.unwrap().negotiated()), (Alpn::Transport, Alpn::Transport));
}
