//! Every check of `meshctl check` against a cluster in which exactly that thing is broken.

#![allow(clippy::unwrap_used, reason = "a test, also outside of its test functions")]

mod before;
mod front;
mod installation;
mod links;
mod objects;
mod workloads;

use objects::Objects;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs `meshctl` and answers exit code and all it said.
async fn meshctl(kubeconfig: PathBuf, words: &[&str]) -> (i32, String) {
    let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
    let output = tokio::task::spawn_blocking(move || {
        Command::new(env!("CARGO_BIN_EXE_meshctl"))
            .args(words)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .env_remove("LINKERD_NAMESPACE")
            .output()
            .unwrap()
    });
    let output = output.await.unwrap();
    let text = [output.stdout, output.stderr].map(|b| String::from_utf8(b).unwrap()).concat();
    (output.status.code().unwrap(), text)
}

/// The objects that a command prints without looking at a cluster.
async fn printed(words: &[&str]) -> Vec<Value> {
    let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
    let run = move || Command::new(env!("CARGO_BIN_EXE_meshctl")).args(words).output().unwrap();
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

/// Expects one finding with its hint, and no other, in what a check said.
fn only(mark: &str, anchor: &str, code: i32, said: &str) {
    let findings: Vec<&str> = said.lines().filter(|l| l.starts_with(['×', '‼'])).collect();
    assert!(findings.len() == 1 && findings[0].starts_with(mark), "{anchor}:\n{said}");
    let hints: Vec<&str> = said
        .lines()
        .filter_map(|l| l.trim().strip_prefix("see "))
        .filter(|h| h.starts_with("https"))
        .collect();
    assert_eq!(hints, [format!("https://isthmus.dev/checks#{anchor}")], "{said}");
    assert_eq!(code, i32::from(mark == "×"), "{anchor}:\n{said}");
}

/// Creates the objects, checks, and expects one finding with its hint. Answers all that was said.
async fn expect(mark: &str, anchor: &str, words: &[&str], objects: Objects) -> String {
    let cluster = objects.cluster().await;
    let all: Vec<&str> = ["check", "--wait=0s"].iter().chain(words).copied().collect();
    let (code, said) = meshctl(cluster.kubeconfig_path(), &all).await;
    only(mark, anchor, code, &said);
    said
}

type Break = (&'static str, &'static str, &'static [&'static str], fn(&mut Objects));

async fn each(breaks: &[Break]) {
    let healthy = Objects::healthy().await;
    for (mark, anchor, words, change) in breaks {
        let mut objects = healthy.clone();
        change(&mut objects);
        expect(mark, anchor, words, objects).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_installation_passes_in_every_format() {
    let cluster = Objects::healthy().await.cluster().await;
    let (code, said) = meshctl(cluster.kubeconfig_path(), &["check", "--proxy", "--wait=0s"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains(['×', '‼']) && said.ends_with("Status check results are √\n"), "{said}");
    let (_, said) = meshctl(cluster.kubeconfig_path(), &["check", "-o", "short", "--wait=0s"]).await;
    assert_eq!(said, "Status check results are √\n");
    let (_, said) = meshctl(cluster.kubeconfig_path(), &["check", "-o", "json", "--wait=0s"]).await;
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["success"], true);
    assert!(report["categories"].as_array().unwrap().len() >= 10);
}

/// What programs read: Linkerd's shape, with the hint where something is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn findings_are_told_as_json() {
    let mut objects = Objects::healthy().await;
    objects.remove("Service", "linkerd-policy");
    let cluster = objects.cluster().await;
    let (code, said) = meshctl(cluster.kubeconfig_path(), &["check", "-o", "json", "--wait=0s"]).await;
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &report["success"]), (1, &Value::Bool(false)));
    let checks =
        report["categories"].as_array().unwrap().iter().flat_map(|c| c["checks"].as_array().unwrap());
    let wrong: Vec<&Value> = checks.filter(|c| c["result"] != "success").collect();
    assert_eq!(wrong.len(), 1, "{said}");
    assert_eq!(wrong[0]["result"], "error");
    assert_eq!(wrong[0]["error"], "missing: Service linkerd-policy");
    assert_eq!(wrong[0]["hint"], "https://isthmus.dev/checks#l5d-existence-objects");
}
