use crate::{Authority, Error, TrustBundle, certificate_info};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn bundle_hash_ignores_order_and_repeats() {
    let a = Authority::new_root("a", DAY).unwrap().cert_pem();
    let b = Authority::new_root("b", DAY).unwrap().cert_pem();
    let one = TrustBundle::from_pem(&format!("{a}{b}")).unwrap();
    let two = TrustBundle::from_pem(&format!("{b}{a}{b}")).unwrap();
    assert_eq!(one, two);
    assert_eq!(one.sha256(), two.sha256());
    assert_eq!(TrustBundle::from_pem(&one.to_pem()).unwrap(), one);
}

#[test]
fn bundle_refuses_empty_and_broken_text() {
    assert!(matches!(TrustBundle::from_pem(""), Err(Error::Missing { .. })));
    let broken = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
    assert!(matches!(TrustBundle::from_pem(broken), Err(Error::Pem { .. })));
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(TrustBundle::from_pem(nonsense), Err(Error::Certificate(_))));
}

#[test]
fn certificate_info_reads_what_people_ask_for() {
    let root = Authority::new_root("root.example", DAY).unwrap();
    let info = certificate_info(root.cert_pem().as_bytes()).unwrap();
    assert_eq!((info.subject.as_str(), info.is_ca), ("root.example", true));
    assert_eq!(info.key_algorithm, "ECDSA P-256");
    assert!(info.not_after > std::time::SystemTime::now());
}
