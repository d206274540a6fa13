use super::*;
use clap::Parser;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    settings: Settings,
}

fn settings(words: &[&str]) -> Settings {
    Line::try_parse_from(["install"].iter().chain(words)).unwrap().settings
}

fn installed(words: &[&str]) -> anyhow::Result<Value> {
    let settings = settings(words);
    let mut values = values(&settings)?;
    identity("linkerd", &mut values)?;
    Ok(values)
}

#[test]
fn without_certificates_a_matching_pair_is_made() {
    let values = installed(&["--set", "identityTrustDomain=example.org"]).unwrap();
    let bundle = TrustBundle::from_pem(values["identityTrustAnchorsPEM"].as_str().unwrap()).unwrap();
    let tls = &values["identity"]["issuer"]["tls"];
    let issuer =
        Authority::from_pem(tls["crtPEM"].as_str().unwrap(), tls["keyPEM"].as_str().unwrap()).unwrap();
    issuer.verify(&bundle).unwrap();
    assert_eq!(issuer.info().subject, "identity.linkerd.example.org");
}

#[test]
fn given_certificates_must_belong_together() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (one, other) = (
        Authority::new_root("one", DEVELOPMENT_LIFETIME).unwrap(),
        Authority::new_root("other", DEVELOPMENT_LIFETIME).unwrap(),
    );
    let issuer = one.issue_authority("issuer", DEVELOPMENT_LIFETIME).unwrap();
    let (cert, key) = (file("i.crt", issuer.cert_pem()), file("i.key", issuer.key_pem()));
    let (right, wrong) = (file("a.crt", one.cert_pem()), file("b.crt", other.cert_pem()));
    let with = |anchors: &str| {
        installed(&[
            "--identity-trust-anchors-file",
            anchors,
            "--identity-issuer-certificate-file",
            &cert,
            "--identity-issuer-key-file",
            &key,
        ])
    };
    with(&right).unwrap();
    let error = format!("{:#}", with(&wrong).unwrap_err());
    assert!(error.contains("does not belong to the trust anchors"), "{error}");
    let error = installed(&["--identity-trust-anchors-file", &right]).unwrap_err().to_string();
    assert!(error.contains("the issuer is missing"), "{error}");
}

#[test]
fn an_external_issuer_needs_no_key_here() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.crt");
    std::fs::write(&path, Authority::new_root("one", DEVELOPMENT_LIFETIME).unwrap().cert_pem()).unwrap();
    let anchors = path.display().to_string();
    let values =
        installed(&["--identity-external-issuer", "--identity-trust-anchors-file", &anchors]).unwrap();
    let documents = Chart::ControlPlane.render("linkerd", &values).unwrap();
    assert!(!documents.iter().any(|d| d.contains("kind: Secret")));
    assert!(documents.iter().any(|d| d.contains("--identity-scheme=kubernetes.io/tls")));
}

#[test]
fn flags_become_values_and_set_wins() {
    let values = values(&settings(&[
        "--ha",
        "--proxy-log-level=debug",
        "--skip-inbound-ports=25",
        "--identity-issuance-lifetime=1h",
        "--set=proxy.logLevel=trace",
    ]))
    .unwrap();
    assert_eq!(values["controllerReplicas"], 3);
    assert_eq!(values["proxy"]["logLevel"], "trace");
    assert_eq!(values["proxyInit"]["ignoreInboundPorts"], "25");
    assert_eq!(values["identity"]["issuer"]["issuanceLifetime"], "1h");
    let error = self::values(&settings(&["--identity-issuance-lifetime=soon"])).unwrap_err().to_string();
    assert!(error.contains("--identity-issuance-lifetime"), "{error}");
}
