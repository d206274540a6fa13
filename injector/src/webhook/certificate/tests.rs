use super::*;

#[test]
fn a_certificate_survives_the_secret() {
    let made = Certificate::issue("linkerd", None).unwrap();
    let read = Certificate::from_secret(&made.to_secret("linkerd")).unwrap();
    assert_eq!((read.pair.cert_pem, read.ca_bundle), (made.pair.cert_pem, made.ca_bundle));
}

#[test]
fn it_is_renewed_at_two_thirds_of_its_life() {
    let left =
        Certificate::issue("linkerd", None).unwrap().renew_at.duration_since(SystemTime::now()).unwrap();
    let days = left.as_secs() / 86_400;
    assert!((58..=60).contains(&days), "{days}");
}

#[test]
fn the_authority_before_stays_trusted_for_one_renewal() {
    let first = Certificate::issue("linkerd", None).unwrap();
    let second = Certificate::issue("linkerd", Some(&first)).unwrap();
    let third = Certificate::issue("linkerd", Some(&second)).unwrap();
    assert!(second.ca_bundle.ends_with(&first.ca_bundle));
    assert_eq!(TrustBundle::from_pem(&third.ca_bundle).unwrap().certs().len(), 2);
    assert!(!third.ca_bundle.contains(&first.ca_bundle));
}

#[test]
fn a_secret_without_a_key_is_refused_by_name() {
    let mut secret = Certificate::issue("linkerd", None).unwrap().to_secret("linkerd");
    secret.data.as_mut().unwrap().remove("tls.key");
    assert!(Certificate::from_secret(&secret).unwrap_err().to_string().contains("tls.key"));
}
