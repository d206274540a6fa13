use super::*;

const DAY: Duration = Duration::from_secs(86_400);
const SKEW: Duration = Duration::from_secs(20);

fn name(s: &str) -> Identity {
    s.parse().unwrap()
}

#[test]
fn issuer_below_the_root_verifies_and_a_stranger_does_not() {
    let root = Authority::new_root("root", DAY).unwrap();
    let issuer = root.issue_authority("issuer", DAY).unwrap();
    let bundle = TrustBundle::from_pem(&root.cert_pem()).unwrap();
    issuer.verify(&bundle).unwrap();
    root.verify(&bundle).unwrap();
    let stranger = Authority::new_root("root", DAY).unwrap().issue_authority("issuer", DAY).unwrap();
    assert!(matches!(stranger.verify(&bundle), Err(Error::Untrusted { .. })));
}

#[test]
fn authority_survives_pem_and_refuses_a_foreign_key() {
    let root = Authority::new_root("root", DAY).unwrap();
    let issuer = root.issue_authority("issuer", DAY).unwrap();
    let again = Authority::from_pem(&issuer.chain_pem(), &issuer.key_pem()).unwrap();
    assert_eq!(again.info(), issuer.info());
    let wrong = Authority::from_pem(&issuer.chain_pem(), &root.key_pem());
    assert!(matches!(wrong, Err(Error::KeyMismatch(_))), "{wrong:?}");
}

#[test]
fn leaf_certificate_is_no_authority() {
    let root = Authority::new_root("root", DAY).unwrap();
    let leaf = root.issue_server(&["web"], &[], DAY).unwrap();
    assert!(matches!(Authority::from_pem(&leaf.cert_pem, &leaf.key_pem), Err(Error::NotAuthority(_))));
}

#[test]
fn csr_is_signed_for_exactly_the_expected_name() {
    let root = Authority::new_root("root", DAY).unwrap();
    let issuer = root.issue_authority("issuer", DAY).unwrap();
    let id = name("web.shop.serviceaccount.identity.linkerd.cluster.local");
    let (_, csr) = generate_csr(&id).unwrap();
    let leaf = issuer.sign_csr(&csr, &id, Duration::from_secs(3600), SKEW).unwrap();
    let info = certificate_info(&leaf.leaf_der).unwrap();
    assert_eq!(info.dns_names, [id.as_str()]);
    assert!(!info.is_ca);
    assert_eq!(leaf.intermediates_der.len(), 1);
    let other = issuer.sign_csr(&csr, &name("other.example"), DAY, SKEW);
    assert!(matches!(other, Err(CsrError::Rule(_))), "{other:?}");
    assert!(matches!(issuer.sign_csr(b"junk", &id, DAY, SKEW), Err(CsrError::Malformed(_))));
}

#[test]
fn leaf_never_outlives_its_issuer() {
    let issuer = Authority::new_root("root", Duration::from_secs(600)).unwrap();
    let id = name("a.b");
    let (_, csr) = generate_csr(&id).unwrap();
    let leaf = issuer.sign_csr(&csr, &id, DAY, SKEW).unwrap();
    assert_eq!(leaf.not_after, issuer.not_after());
}

#[test]
fn csr_with_several_or_other_names_is_refused() {
    let issuer = Authority::new_root("root", DAY).unwrap();
    let id = name("a.b");
    let key = KeyPair::generate().unwrap();
    let sign = |sans: Vec<String>, cn: Option<&str>| {
        let mut params = CertificateParams::new(sans).unwrap();
        params.distinguished_name = DistinguishedName::new();
        if let Some(cn) = cn {
            params.distinguished_name.push(DnType::CommonName, cn);
        }
        let csr = params.serialize_request(&key).unwrap();
        issuer.sign_csr(csr.der(), &id, DAY, SKEW)
    };
    assert!(sign(vec!["a.b".into()], None).is_ok());
    assert!(sign(vec!["a.b".into()], Some("a.b")).is_ok());
    assert!(matches!(sign(vec!["a.b".into(), "c.d".into()], None), Err(CsrError::Rule(_))));
    assert!(matches!(sign(vec!["a.b".into()], Some("c.d")), Err(CsrError::Rule(_))));
    assert!(matches!(sign(vec!["10.0.0.1".into()], None), Err(CsrError::Rule(_))));
    assert!(matches!(sign(vec![], None), Err(CsrError::Rule(_))));
}
