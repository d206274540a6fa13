use super::*;
use crate::config::ControlAddr;
use mesh_tls::Authority;

fn root() -> String {
    Authority::new_root("root", Duration::from_secs(60)).unwrap().cert_pem()
}

fn config(seed: &str, dir: Option<&Path>) -> Identities {
    Identities {
        local: "web.shop".parse().unwrap(),
        trust_anchors: seed.to_owned(),
        token_file: PathBuf::new(),
        dir: dir.map(Path::to_owned),
        service: ControlAddr { addr: mesh_types::Authority::parse("localhost", 1).unwrap(), identity: None },
        min_refresh: Duration::ZERO,
        max_refresh: Duration::ZERO,
    }
}

fn sha256(pem: &str) -> String {
    TrustBundle::from_pem(pem).unwrap().sha256().to_owned()
}

#[tokio::test]
async fn a_restart_begins_with_the_bundle_held_last() {
    let dir = tempfile::tempdir().unwrap();
    let (seed, later) = (root(), root());
    let config = config(&seed, Some(dir.path()));
    assert_eq!(initial(&config).unwrap().sha256(), sha256(&seed));
    keep(&config, &later).await;
    assert_eq!(initial(&config).unwrap().sha256(), sha256(&later));
}

#[test]
fn a_broken_file_falls_back_to_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let seed = root();
    std::fs::write(dir.path().join(FILE), "garbage").unwrap();
    assert_eq!(initial(&config(&seed, Some(dir.path()))).unwrap().sha256(), sha256(&seed));
    assert_eq!(initial(&config(&seed, None)).unwrap().sha256(), sha256(&seed));
}

#[test]
fn an_unusable_bundle_is_refused_and_the_old_one_stays() {
    let seed = root();
    let tls = MeshTls::new("web.shop".parse().unwrap(), TrustBundle::from_pem(&seed).unwrap()).unwrap();
    let bad = Bundle { pem: "garbage".to_owned(), sha256: String::new() };
    assert!(take(&bad, &tls).is_err());
    assert_eq!(tls.bundle().sha256(), sha256(&seed));
}
