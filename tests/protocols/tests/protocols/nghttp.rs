//! `nghttp`, a client of HTTP/2 that shows frames.

use crate::bed::run;
use mesh_bed::{BODY_PATH, HTTP_PORT, SERVER_IP, SMALL_PATH};
use tempfile::NamedTempFile;

fn nghttp(args: &[&str], path: &str) -> String {
    let url = format!("http://{SERVER_IP}:{HTTP_PORT}{path}");
    run("nghttp", &[&["-v", "-n", "-t", "30"], args, &[&url]].concat()).unwrap()
}

#[test]
fn many_streams_of_one_connection_are_all_answered() {
    let output = nghttp(&["-m", "50"], BODY_PATH);
    let answered = output.matches(":status: 200").count();
    assert_eq!(answered, 50, "{output}");
}

#[test]
fn a_small_window_lets_a_large_body_through() {
    // 2^10 bytes at a time, a thousand times.
    let output = nghttp(&["-w", "10", "-W", "16"], BODY_PATH);
    assert!(output.contains(":status: 200") && output.contains("END_STREAM"), "{output}");
}

#[test]
fn a_body_with_trailers_passes() {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![b'u'; 100_000]).unwrap();
    let name = file.path().display().to_string();
    let output = nghttp(&["-d", &name, "--trailer", "x-checksum: 1"], SMALL_PATH);
    assert!(output.contains(":status: 200"), "{output}");
}

#[test]
fn padding_is_taken_off() {
    let output = nghttp(&["-b", "128"], SMALL_PATH);
    assert!(output.contains(":status: 200"), "{output}");
}
