//! A stock `kubectl` cannot tell this server from the real one, for what people do every day.
#![allow(clippy::expect_used)] // what fails in a helper fails the test

use mesh_testkit::Cluster;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Runs kubectl; returns its standard output, panics with its standard error.
async fn kubectl(cluster: &Cluster, arguments: &[&str]) -> String {
    kubectl_with(cluster, arguments, "")
        .await
        .unwrap_or_else(|error| panic!("kubectl {arguments:?}: {error}"))
}

async fn kubectl_with(cluster: &Cluster, arguments: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new("kubectl")
        .arg("--kubeconfig")
        .arg(cluster.kubeconfig_path())
        .arg("--cache-dir")
        .arg(cluster.directory().join("cache"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("kubectl 1.28 or later must be on PATH: https://kubernetes.io/docs/tasks/tools/");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(input.as_bytes()).await.expect("kubectl reads its input");
    drop(stdin);
    let output = child.wait_with_output().await.expect("kubectl ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_are_listed() {
    let cluster = Cluster::start().await.expect("a cluster");
    let table = kubectl(&cluster, &["get", "ns"]).await;
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        assert!(table.contains(name), "{table}");
    }
}
