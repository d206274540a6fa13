use super::*;
use clap::Parser;
use mesh_tls::TrustBundle;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

fn init_in(dir: &Path, issuers: &[&str]) -> anyhow::Result<ExitCode> {
    let out = dir.display().to_string();
    let mut words = vec!["trust", "init", "--out", &out];
    issuers.iter().for_each(|i| words.extend(["--issuer", i]));
    let line = Line::try_parse_from(words).unwrap();
    run(line.command, &line.globals)
}

#[test]
fn issuers_of_several_clusters_chain_to_one_anchor_and_can_be_added_later() {
    let dir = tempfile::tempdir().unwrap();
    init_in(dir.path(), &["east", "west"]).unwrap();
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    let before = read("ca.crt");
    init_in(dir.path(), &["south"]).unwrap();
    assert_eq!(read("ca.crt"), before);
    let bundle = TrustBundle::from_pem(&before).unwrap();
    for name in ["east", "west", "south"] {
        let issuer =
            Authority::from_pem(&read(&format!("{name}-issuer.crt")), &read(&format!("{name}-issuer.key")));
        issuer.unwrap().verify(&bundle).unwrap();
    }
}

#[test]
fn keys_are_readable_by_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    init_in(dir.path(), &["east"]).unwrap();
    for name in ["ca.key", "east-issuer.key"] {
        let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    init_in(dir.path(), &["east"]).unwrap();
    let error = init_in(dir.path(), &["east"]).unwrap_err();
    assert!(error.to_string().contains("east-issuer.crt exists"), "{error}");
    fs::remove_file(dir.path().join("ca.key")).unwrap();
    let error = init_in(dir.path(), &["west"]).unwrap_err();
    assert!(error.to_string().contains("ca.key does not"), "{error}");
}
