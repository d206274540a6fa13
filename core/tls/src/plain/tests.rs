use crate::*;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

async fn handshake(
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    name: &str,
) -> (
    std::io::Result<tokio_rustls::server::TlsStream<tokio::io::DuplexStream>>,
    std::io::Result<tokio_rustls::client::TlsStream<tokio::io::DuplexStream>>,
) {
    let (a, b) = tokio::io::duplex(64 * 1024);
    let name = server_name(name).unwrap();
    let client = async { connector.connect(name, b).await };
    tokio::join!(acceptor.accept(a), client)
}

#[tokio::test]
async fn client_certificate_names_user_and_groups() {
    let ca = Authority::new_root("ca", DAY).unwrap();
    let bundle = TrustBundle::from_pem(&ca.cert_pem()).unwrap();
    let server = ca.issue_server(&["api"], &["127.0.0.1".parse().unwrap()], DAY).unwrap();
    let client = ca.issue_client("admin", &["system:masters", "ops"], DAY).unwrap();
    let acceptor = server_acceptor(&server, Some(&bundle), &[b"h2"]).unwrap();
    let connector = client_connector(&bundle, Some(&client), &[b"h2"]).unwrap();
    let (s, c) = handshake(acceptor.clone(), connector, "127.0.0.1").await;
    c.unwrap();
    let subject = peer_subject(&s.unwrap()).unwrap();
    assert_eq!(subject.common_name, "admin");
    assert_eq!(subject.organizations, ["system:masters", "ops"]);
    let anonymous = client_connector(&bundle, None, &[]).unwrap();
    let (s, c) = handshake(acceptor, anonymous, "api").await;
    c.unwrap();
    assert_eq!(peer_subject(&s.unwrap()), None);
}

#[tokio::test]
async fn strangers_are_refused_on_both_sides() {
    let ca = Authority::new_root("ca", DAY).unwrap();
    let other = Authority::new_root("other", DAY).unwrap();
    let bundle = TrustBundle::from_pem(&ca.cert_pem()).unwrap();
    let foreign = TrustBundle::from_pem(&other.cert_pem()).unwrap();
    let server = ca.issue_server(&["api"], &[], DAY).unwrap();
    let acceptor = server_acceptor(&server, Some(&bundle), &[]).unwrap();
    let (_, c) = handshake(acceptor.clone(), client_connector(&foreign, None, &[]).unwrap(), "api").await;
    assert!(c.is_err());
    let stranger = other.issue_client("admin", &["system:masters"], DAY).unwrap();
    let (s, _) = handshake(acceptor, client_connector(&bundle, Some(&stranger), &[]).unwrap(), "api").await;
    assert!(s.is_err());
}
