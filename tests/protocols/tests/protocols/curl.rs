//! `curl`, the client that everybody has.

use crate::bed::run;
use mesh_bed::{BODY_PATH, HTTP_PORT, SERVER_IP, SMALL_PATH};
use tempfile::NamedTempFile;

/// The size of the application's large body.
const BODY: usize = 1 << 20;
/// Status, version and size of the body, behind the body itself.
const TOLD: &str = "\n%{http_code} %{http_version} %{size_download} %{num_connects}\n";

/// Runs curl; answers with one line for each transfer: status, version, size, connections made.
fn curl(args: &[&str]) -> Vec<String> {
    let common = ["--silent", "--show-error", "--max-time", "30", "--write-out", TOLD];
    let output = run("curl", &[&common, args].concat()).unwrap();
    let is_told =
        |line: &&str| line.split(' ').count() == 4 && line.starts_with(|c: char| c.is_ascii_digit());
    output.lines().filter(is_told).map(ToOwned::to_owned).collect()
}

fn url(path: &str) -> String {
    format!("http://{SERVER_IP}:{HTTP_PORT}{path}")
}

fn large_file() -> (NamedTempFile, String) {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![b'u'; BODY]).unwrap();
    let name = file.path().display().to_string();
    (file, name)
}

#[test]
fn every_version_of_http_is_answered_in_kind() {
    for (flag, version) in [("--http1.0", "1"), ("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")] {
        let told = curl(&[flag, &url(SMALL_PATH)]);
        assert_eq!(told, [format!("200 {version} 100 1")], "{flag}");
    }
}

#[test]
fn a_connection_is_kept_for_the_next_request() {
    // Not over HTTP/2: curl 7.88, which Debian 12 has, fails at the second request of such a connection to any server.
    let told = curl(&["--http1.1", &url(SMALL_PATH), &url(BODY_PATH), &url(SMALL_PATH)]);
    let connections: Vec<&str> = told.iter().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(connections, ["1", "0", "0"], "{told:?}");
}

#[test]
fn a_head_request_has_no_body_and_ends() {
    for flag in ["--http1.0", "--http1.1", "--http2-prior-knowledge"] {
        let told = curl(&[flag, "--head", &url(BODY_PATH)]);
        assert!(told.iter().any(|l| l.starts_with("200 ") && l.contains(" 0 ")), "{flag}: {told:?}");
    }
}

#[test]
fn large_bodies_pass_both_ways() {
    let (_file, name) = large_file();
    let data = format!("@{name}");
    for flag in ["--http1.1", "--http2-prior-knowledge"] {
        let told = curl(&[flag, "--data-binary", &data, &url(BODY_PATH)]);
        assert!(told[0].starts_with("200 ") && told[0].contains(&format!(" {BODY} ")), "{flag}: {told:?}");
    }
}

#[test]
fn a_client_that_waits_for_100_continue_is_told_to_go_on() {
    let (_file, name) = large_file();
    // Without the interim answer curl would wait for a minute, longer than it may take.
    let expect = ["--http1.1", "-H", "expect: 100-continue", "--expect100-timeout", "60"];
    let told = curl(&[&expect[..], &["--data-binary", &format!("@{name}"), &url(SMALL_PATH)]].concat());
    assert!(told.iter().any(|line| line.starts_with("200 1.1 100 ")), "{told:?}");
}

#[test]
fn a_chunked_upload_passes() {
    let (_file, name) = large_file();
    let chunked = ["--http1.1", "-H", "transfer-encoding: chunked", "--data-binary"];
    let told = curl(&[&chunked[..], &[&format!("@{name}"), &url(SMALL_PATH)]].concat());
    assert!(told[0].starts_with("200 1.1 100 "), "{told:?}");
}
