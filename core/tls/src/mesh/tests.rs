use super::*;
use crate::{Authority, server_name};
use std::time::Duration;

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

/// Answers with the client identity and whether the transport protocol was agreed on, as the server saw them.
async fn connect(
    client: &MeshTls,
    server: &MeshTls,
    expect: &str,
    alpn: Alpn,
) -> Result<(Option<Identity>, bool), String> {
    let (a, b) = tokio::io::duplex(64 * 1024);
    let connector = client.connector(alpn).unwrap();
    let dial = connector.connect(server_name(expect).unwrap(), b);
    let (accepted, connected) = tokio::join!(server.acceptor().unwrap().accept(a), dial);
    connected.map_err(|e| e.to_string())?;
    let accepted = accepted.map_err(|e| e.to_string())?;
    let connection = accepted.get_ref().1;
    Ok((client_identity(connection), negotiated_transport(connection)))
}

#[tokio::test]
async fn both_sides_learn_each_others_identity() {
    let ca = Ca::new();
    let (web, db) = (ca.proxy("web.shop"), ca.proxy("db.shop"));
    let seen = connect(&web, &db, "db.shop", Alpn::None).await.unwrap();
    assert_eq!(seen, (Some("web.shop".parse().unwrap()), false));
    let seen = connect(&web, &db, "db.shop", Alpn::Transport).await.unwrap();
    assert_eq!(seen, (Some("web.shop".parse().unwrap()), true));
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
