//! `meshctl` against an API server: what it prints is accepted, and it looks before it prints.

#![allow(clippy::unwrap_used, reason = "a test, also outside of its test functions")]

mod halfway;
mod lifecycle;

use mesh_testkit::Cluster;
use std::path::Path;
use std::process::{Command, Output};

fn meshctl(kubeconfig: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_meshctl"))
        .args(words)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .env_remove("KUBECONFIG")
        .env_remove("LINKERD_NAMESPACE")
        .output()
        .unwrap()
}

/// Runs `meshctl` on a blocking thread, so that the test's API server goes on.
async fn run(cluster: &Cluster, words: &[&str]) -> (i32, String, String) {
    let path = cluster.kubeconfig_path();
    let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
    let output = tokio::task::spawn_blocking(move || {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        meshctl(&path, &words)
    });
    let output = output.await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

async fn printed(cluster: &Cluster, words: &[&str]) -> String {
    let (code, out, err) = run(cluster, words).await;
    assert_eq!(code, 0, "{words:?}: {err}");
    out
}

/// The text of one key of one Secret or ConfigMap among documents.
fn data(documents: &str, name: &str, key: &str) -> String {
    let all: Vec<serde_json::Value> = serde_saphyr::from_multiple(documents).unwrap();
    let found = all.iter().find(|d| d["metadata"]["name"] == name && d.get("data").is_some()).unwrap();
    found["data"][key].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_way_from_an_empty_cluster_to_uninstall() {
    let cluster = Cluster::start().await.unwrap();
    let (code, out, err) = run(&cluster, &["install"]).await;
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(err.contains("meshctl install --crds | kubectl apply -f -"), "{err}");

    cluster.create_yaml(&printed(&cluster, &["install", "--crds"]).await).await.unwrap();
    let control_plane = printed(&cluster, &["install", "--registry=registry.example.org/mesh"]).await;
    cluster.create_yaml(&control_plane).await.unwrap();

    let (code, _, err) = run(&cluster, &["install"]).await;
    assert_eq!(code, 1);
    assert!(
        err.contains("ConfigMap linkerd/linkerd-config exists") && err.contains("meshctl upgrade"),
        "{err}"
    );

    // The upgrade keeps the issuer and settings.
    let upgraded = printed(&cluster, &["upgrade", "--set", "proxy.logLevel=debug"]).await;
    for key in ["crt.pem", "key.pem"] {
        let of = |documents: &str| data(documents, "linkerd-identity-issuer", key);
        assert_eq!(of(&upgraded), of(&control_plane), "{key}");
    }
    assert!(data(&upgraded, "linkerd-config", "values").contains("logLevel: debug"));

    let (code, _, err) = run(&cluster, &["multicluster", "install", "--wait=300ms"]).await;
    assert_eq!(code, 1);
    assert!(err.contains("linkerd/linkerd-proxy-injector has no available replica"), "{err}");
    let multicluster = printed(&cluster, &["multicluster", "install", "--wait=0s"]).await;
    for image in ["controller", "init"] {
        assert!(
            multicluster.contains(&format!("image: registry.example.org/mesh/{image}:")),
            "{multicluster}"
        );
    }
    cluster.create_yaml(&multicluster).await.unwrap();
    let version = printed(&cluster, &["version", "--short"]).await;
    assert_eq!(version, format!("{0}\n{0}\n", env!("CARGO_PKG_VERSION")));

    let gone = printed(&cluster, &["uninstall"]).await;
    let objects = |documents: &str| serde_saphyr::from_multiple::<serde_json::Value>(documents).unwrap();
    let gone = objects(&gone);
    for object in objects(&control_plane) {
        let listed = gone
            .iter()
            .any(|g| g["kind"] == object["kind"] && g["metadata"]["name"] == object["metadata"]["name"]);
        assert!(listed, "{} {} is not uninstalled", object["kind"], object["metadata"]["name"]);
    }
    assert_eq!(gone.last().unwrap()["kind"], "Namespace");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_would_drop_the_trust_anchor_is_refused() {
    let cluster = Cluster::start().await.unwrap();
    cluster.create_yaml(&printed(&cluster, &["install", "--crds"]).await).await.unwrap();
    cluster.create_yaml(&printed(&cluster, &["install"]).await).await.unwrap();
    let pki = cluster.directory().join("pki");
    let pki = pki.to_str().unwrap();
    printed(&cluster, &["trust", "init", "--out", pki, "--issuer", "east"]).await;
    let (anchors, cert, key) =
        (format!("{pki}/ca.crt"), format!("{pki}/east-issuer.crt"), format!("{pki}/east-issuer.key"));
    let mut words = vec![
        "upgrade",
        "--identity-trust-anchors-file",
        &anchors,
        "--identity-issuer-certificate-file",
        &cert,
        "--identity-issuer-key-file",
        &key,
    ];
    let (code, _, err) = run(&cluster, &words).await;
    assert_eq!(code, 1);
    assert!(err.contains("a trust anchor in use would be dropped"), "{err}");
    words.push("--force");
    printed(&cluster, &words).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_not_there_is_named_with_a_remedy() {
    let cluster = Cluster::start().await.unwrap();
    let (code, _, err) = run(&cluster, &["install", "--context", "nowhere"]).await;
    assert_eq!(code, 1);
    assert!(err.contains("nowhere") && err.contains("kubectl config get-contexts"), "{err}");
    let (code, _, err) = run(&cluster, &["install", "--set", "x"]).await;
    assert_eq!(code, 1, "the cluster is looked at first: {err}");
    let (code, _, err) = run(&cluster, &["install", "--ignore-cluster", "--set", "x"]).await;
    assert_eq!(code, 2, "{err}");
}
