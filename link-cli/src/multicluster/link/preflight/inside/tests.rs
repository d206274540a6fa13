use super::*;
use crate::multicluster::link::exporter::Candidate;
use crate::multicluster::link::preflight::Mark;
use serde_json::json;

fn servers(given: bool, urls: &[&str]) -> Servers {
    let from = |index: usize| match (given, index) {
        (true, 0) => "--api-server-address",
        (_, 0) => "the kubeconfig",
        _ => "the endpoints of default/kubernetes",
    };
    let candidates =
        urls.iter().enumerate().map(|(i, url)| Candidate { url: (*url).to_owned(), from: from(i) }).collect();
    Servers { candidates, given, useless: None, ca: None }
}

fn mark(row: &Row) -> (bool, String) {
    let cell = row.importer.as_ref().unwrap();
    (cell.mark == Mark::Good, cell.text.clone())
}

const REFUSED: &str = "connection refused";

#[test]
fn the_first_address_that_answers_from_inside_is_used() {
    let both = servers(false, &["https://lb:6443", "https://172.18.0.3:6443"]);
    let (row, used) = api_server(&both, &[json!({"rttMs": 0.5}), json!({"rttMs": 0.4})]);
    assert_eq!(used.as_deref(), Some("https://lb:6443"));
    assert_eq!(mark(&row), (true, "https://lb:6443 0.5 ms".to_owned()));
    assert!(row.exporter.is_none(), "nothing to explain");
    let (row, used) = api_server(&both, &[json!({"error": REFUSED}), json!({"rttMs": 0.4})]);
    assert_eq!(used.as_deref(), Some("https://172.18.0.3:6443"));
    let note = row.exporter.unwrap().text;
    assert!(
        note.contains("the endpoints of default/kubernetes") && note.contains("https://lb:6443 does not"),
        "{note}"
    );
}

#[test]
fn a_given_address_that_does_not_answer_is_an_error_with_one_that_does() {
    let given = servers(true, &["https://127.0.0.1:40123", "https://172.18.0.3:6443"]);
    let (row, used) = api_server(&given, &[json!({"error": REFUSED}), json!({"rttMs": 0.4})]);
    assert_eq!(used, None);
    assert!(!mark(&row).0 && mark(&row).1.contains(REFUSED));
    let fix = row.fix.unwrap();
    assert!(fix.contains("--api-server-address https://172.18.0.3:6443"), "{fix}");
}

#[test]
fn where_none_answers_every_reason_is_told() {
    let both = servers(false, &["https://lb:6443", "https://172.18.0.3:6443"]);
    let (row, used) = api_server(&both, &[json!({"error": REFUSED}), json!({"error": "no route to host"})]);
    assert_eq!(used, None);
    assert!(mark(&row).1.contains(REFUSED));
    assert!(row.fix.unwrap().contains("https://172.18.0.3:6443 (no route to host)"));
}

#[test]
fn a_url_without_a_port_means_443() {
    assert_eq!(host_and_port("https://api.example/"), "api.example:443");
    assert_eq!(host_and_port("https://10.0.0.1:6443/x"), "10.0.0.1:6443");
    assert_eq!(host_and_port("https://[fd00::1]:6443"), "[fd00::1]:6443");
    assert_eq!(host_and_port("https://[fd00::1]"), "[fd00::1]:443");
}
