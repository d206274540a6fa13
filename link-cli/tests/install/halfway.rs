//! What was begun and not finished, and certificates that do not fit: named with the remedy, and healed by running the
//! command again.

use crate::lifecycle::installed;
use crate::{data, printed, run};
use mesh_testkit::Cluster;
use mesh_tls::Authority;
use serde_json::Value;
use std::time::Duration;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

async fn apply(cluster: &Cluster, documents: &str, wanted: impl Fn(&Value) -> bool) {
    let all: Vec<Value> = serde_saphyr::from_multiple(documents).unwrap();
    for object in all.into_iter().filter(wanted) {
        cluster.apply(object).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_that_ended_half_way_is_finished_by_running_it_again() {
    let cluster = Cluster::start().await.unwrap();
    cluster.create_yaml(&printed(&cluster, &["install", "--crds"]).await).await.unwrap();
    let first = printed(&cluster, &["install"]).await;
    // It ended before the settings and the Deployments came.
    let name = |o: &Value| o["metadata"]["name"].as_str().unwrap().to_owned();
    apply(&cluster, &first, |o| o["kind"] != "Deployment" && !name(o).starts_with("linkerd-config")).await;
    let (code, _, said) = run(&cluster, &["check", "--wait=0s"]).await;
    assert_eq!(code, 1, "{said}");

    let (code, second, err) = run(&cluster, &["install"]).await;
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("that the cluster has already are used"), "{err}");
    for (object, key) in
        [("linkerd-identity-issuer", "crt.pem"), ("linkerd-identity-trust-roots", "ca-bundle.crt")]
    {
        assert_eq!(data(&first, object, key).trim(), data(&second, object, key).trim(), "{object}");
    }
    apply(&cluster, &second, |_| true).await;
    let (_, _, err) = run(&cluster, &["install"]).await;
    assert!(err.contains("is installed already") && err.contains("meshctl upgrade"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_heals_an_installation_that_lost_objects() {
    let cluster = Cluster::start().await.unwrap();
    cluster.create_yaml(&printed(&cluster, &["install", "--crds"]).await).await.unwrap();
    let first = printed(&cluster, &["install", "--set=proxy.logLevel=debug"]).await;
    let kept = ["linkerd-config", "linkerd-identity-issuer", "linkerd-identity-trust-roots", "linkerd"];
    apply(&cluster, &first, |o| {
        kept.contains(&o["metadata"]["name"].as_str().unwrap()) && o["kind"] != "ServiceAccount"
    })
    .await;
    let healed = printed(&cluster, &["upgrade"]).await;
    apply(&cluster, &healed, |_| true).await;
    let all = |documents: &str| -> Vec<(Value, Value)> {
        let objects: Vec<Value> = serde_saphyr::from_multiple(documents).unwrap();
        objects.into_iter().map(|o| (o["kind"].clone(), o["metadata"]["name"].clone())).collect()
    };
    assert_eq!(all(&first), all(&healed));
    assert!(data(&healed, "linkerd-config", "values").contains("logLevel: debug"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_gone_is_named_with_the_way_to_a_new_one() {
    let (cluster, documents) = installed(&[]).await;
    let path = "/api/v1/namespaces/linkerd/secrets/linkerd-identity-issuer";
    cluster.http().unwrap().delete(path, &Value::Null).await.unwrap();
    let (code, out, err) = run(&cluster, &["upgrade"]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.contains("the issuer is gone") && err.contains("--identity-issuer-certificate-file"),
        "{err}"
    );
    assert!(!documents.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_do_not_fit_are_refused_before_anything_is_printed() {
    let cluster = Cluster::start().await.unwrap();
    let root = Authority::new_root("root", YEAR).unwrap();
    let [one, other] = ["one", "other"].map(|name| root.issue_authority(name, YEAR).unwrap());
    let over = root.issue_authority("over", Duration::ZERO).unwrap();
    let stranger = Authority::new_root("stranger", YEAR).unwrap().issue_authority("i", YEAR).unwrap();
    let file = |name: &str, text: String| {
        let path = cluster.directory().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let anchors = file("ca.crt", root.cert_pem());
    for (what, cert, key) in [
        ("the issuer cannot be used", one.cert_pem(), other.key_pem()),
        ("the issuer does not belong to the trust anchors", stranger.cert_pem(), stranger.key_pem()),
        ("the validity of over is over", over.cert_pem(), over.key_pem()),
    ] {
        let (cert, key) = (file("i.crt", cert), file("i.key", key));
        let words = [
            "install",
            "--ignore-cluster",
            "--identity-trust-anchors-file",
            &anchors,
            "--identity-issuer-certificate-file",
            &cert,
            "--identity-issuer-key-file",
            &key,
        ];
        let (code, out, err) = run(&cluster, &words).await;
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        assert!(err.contains(what) && err.contains("meshctl trust init"), "{err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_none_are_refused_with_their_path() {
    let cluster = Cluster::start().await.unwrap();
    for (wrong, path, fix) in [
        ("--set=proxy.logLevl=debug", "proxy.logLevl is not a value", "did you mean proxy.logLevel?"),
        (
            "--set=proxyInit.ignoreInboundPorts=25",
            "text is expected",
            "--set-string proxyInit.ignoreInboundPorts=25",
        ),
    ] {
        let (code, out, err) = run(&cluster, &["install", "--ignore-cluster", wrong]).await;
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(err.contains(path) && err.contains(fix), "{err}");
    }
    let (code, _, err) = run(&cluster, &["install", "--ignore-cluster", "--set=enablePprof=true"]).await;
    assert_eq!(code, 0);
    assert!(err.contains("‼ enablePprof has no effect"), "{err}");
}
