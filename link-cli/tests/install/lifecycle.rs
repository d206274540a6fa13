//! Upgrade, prune and uninstall: what was told is kept, what is left over is found, and nothing in use is broken.

use crate::{data, printed, run};
use base64::Engine;
use mesh_testkit::{Cluster, Selection};
use mesh_tls::Authority;
use serde_json::{Value, json};
use std::time::Duration;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

fn objects(documents: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(documents).unwrap()
}

pub(crate) async fn installed(words: &[&str]) -> (Cluster, String) {
    let cluster = Cluster::start().await.unwrap();
    cluster.create_yaml(&printed(&cluster, &["install", "--crds"]).await).await.unwrap();
    let documents = printed(&cluster, &[&["install"], words].concat()).await;
    cluster.create_yaml(&documents).await.unwrap();
    (cluster, documents)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_says_again_what_the_installation_was_told() {
    let (cluster, documents) = installed(&[
        "--ha",
        "--set=controllerReplicas=2,proxy.logLevel=debug",
        "--set=tolerations[0].key=mesh",
    ])
    .await;
    let told = data(&documents, "linkerd-config-overrides", "linkerd-config-overrides");
    let told = base64::engine::general_purpose::STANDARD.decode(told).unwrap();
    let told: Value = serde_saphyr::from_str(&String::from_utf8(told).unwrap()).unwrap();
    assert_eq!((&told["controllerReplicas"], &told["highAvailability"]), (&json!(2), &json!(true)));
    assert!(told.get("identityTrustAnchorsPEM").is_none() && told.get("clusterDomain").is_none(), "{told}");

    let upgraded = printed(&cluster, &["upgrade", "--proxy-log-level=trace"]).await;
    let values: Value = serde_saphyr::from_str(&data(&upgraded, "linkerd-config", "values")).unwrap();
    assert_eq!(values["controllerReplicas"], 2);
    assert_eq!(values["proxy"]["logLevel"], "trace");
    assert_eq!(values["tolerations"], json!([{"key": "mesh"}]));
    assert_eq!(values["webhookFailurePolicy"], "Fail");
    for (name, key) in
        [("linkerd-identity-issuer", "key.pem"), ("linkerd-identity-trust-roots", "ca-bundle.crt")]
    {
        assert_eq!(data(&upgraded, name, key), data(&documents, name, key));
    }
    // From manifests that were kept it is the same, without a cluster.
    let kept = cluster.directory().join("kept.yaml");
    std::fs::write(&kept, &documents).unwrap();
    let offline = ["upgrade", "--from-manifests", kept.to_str().unwrap(), "--proxy-log-level=trace"];
    assert_eq!(objects(&printed(&cluster, &offline).await), objects(&upgraded));
}

/// Every object of the cluster that carries the control plane's label.
fn labelled(cluster: &Cluster) -> Vec<String> {
    let mut out = Vec::new();
    for resource in [
        "clusterroles.rbac.authorization.k8s.io",
        "clusterrolebindings.rbac.authorization.k8s.io",
        "roles.rbac.authorization.k8s.io",
        "rolebindings.rbac.authorization.k8s.io",
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        "customresourcedefinitions.apiextensions.k8s.io",
        "poddisruptionbudgets.policy",
        "deployments.apps",
        "services",
        "configmaps",
        "secrets",
        "serviceaccounts",
    ] {
        let (all, _) = cluster.client().list(resource, &Selection::default()).unwrap();
        let ours = all.iter().filter(|o| o["metadata"]["labels"]["linkerd.io/control-plane-ns"] == "linkerd");
        out.extend(ours.map(|o| format!("{} {}", o["kind"], o["metadata"]["name"])));
    }
    out
}

/// Deletes what a command printed, as `kubectl delete -f -` does.
async fn delete(cluster: &Cluster, documents: &str) {
    let http = cluster.http().unwrap();
    for object in objects(documents) {
        let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
        let resource = cluster.handle().resource_of(version, kind).unwrap();
        let plural = resource.split('.').next().unwrap();
        let root = if version == "v1" { "/api/v1".to_owned() } else { format!("/apis/{version}") };
        let within =
            object["metadata"]["namespace"].as_str().map(|n| format!("/namespaces/{n}")).unwrap_or_default();
        let name = object["metadata"]["name"].as_str().unwrap();
        let path = format!("{root}{within}/{plural}/{name}");
        let status = http.delete(&path, &Value::Null).await.unwrap().status.as_u16();
        assert!([200, 202, 404].contains(&status), "{path}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prune_finds_what_an_earlier_version_left_and_uninstall_leaves_nothing() {
    let (cluster, _) = installed(&["--ha"]).await;
    let (code, out, err) = run(&cluster, &["prune"]).await;
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    assert!(err.contains("nothing is left over"), "{err}");

    let labels = json!({"linkerd.io/control-plane-ns": "linkerd"});
    let old = [
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": "linkerd-old", "labels": labels}, "rules": []}),
        json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "linkerd-old", "namespace": "linkerd", "labels": labels},
            "spec": {"ports": [{"port": 80}]}}),
        // What belongs to the mesh and is in no chart stays.
        json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "linkerd-proxy-injector-k8s-tls", "namespace": "linkerd", "labels": labels}}),
        // What is not ours stays too.
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "other", "namespace": "linkerd"},
            "spec": {"ports": [{"port": 80}]}}),
    ];
    for object in old {
        cluster.create(object).await.unwrap();
    }
    let pruned = printed(&cluster, &["prune"]).await;
    let names: Vec<String> =
        objects(&pruned).iter().map(|o| format!("{} {}", o["kind"], o["metadata"]["name"])).collect();
    assert_eq!(names, [r#""ClusterRole" "linkerd-old""#, r#""Service" "linkerd-old""#]);
    delete(&cluster, &pruned).await;
    assert_eq!(run(&cluster, &["prune"]).await.1, "");

    // Things of another version and of high availability go with the rest.
    cluster
        .create(json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "linkerd-older", "namespace": "linkerd", "labels": labels}}))
        .await
        .unwrap();
    let gone = printed(&cluster, &["uninstall"]).await;
    let kinds: Vec<String> = objects(&gone).iter().map(|o| o["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds.first().unwrap(), "MutatingWebhookConfiguration");
    assert_eq!(kinds.last().unwrap(), "Namespace");
    assert!(kinds.contains(&"PodDisruptionBudget".to_owned()));
    delete(&cluster, &gone).await;
    let gone =
        mesh_testkit::eventually("nothing is left", || async { labelled(&cluster).is_empty().then_some(()) });
    gone.await.unwrap_or_else(|_| panic!("left: {:?}", labelled(&cluster)));
}

#[tokio::test(flavor = "multi_thread")]
async fn uninstall_waits_until_no_pod_has_a_proxy() {
    let (cluster, _) = installed(&[]).await;
    cluster.namespace("shop").await.unwrap();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop",
        "labels": {"linkerd.io/control-plane-ns": "linkerd"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
    cluster.create(pod).await.unwrap();
    let (code, out, err) = run(&cluster, &["uninstall"]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.contains("pods still have a proxy") && err.contains("shop") && err.contains("--force"),
        "{err}"
    );
    printed(&cluster, &["uninstall", "--force"]).await;
}

/// A Secret as cert-manager keeps it.
async fn external_issuer(cluster: &Cluster, issuer: &Authority) {
    let base64 = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    cluster
        .apply(json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": "linkerd-identity-issuer", "namespace": "linkerd"},
            "data": {"tls.crt": base64(issuer.cert_pem()), "tls.key": base64(issuer.key_pem())}}))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_external_issuer_is_looked_at_and_left_to_its_keeper() {
    let cluster = Cluster::start().await.unwrap();
    cluster.create_yaml(&printed(&cluster, &["install", "--crds"]).await).await.unwrap();
    let root = Authority::new_root("root", YEAR).unwrap();
    let anchors = cluster.directory().join("ca.crt");
    std::fs::write(&anchors, root.cert_pem()).unwrap();
    let words =
        ["install", "--identity-external-issuer", "--identity-trust-anchors-file", anchors.to_str().unwrap()];
    let (code, _, err) = run(&cluster, &words).await;
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("is not there yet"), "{err}");

    cluster.namespace("linkerd").await.unwrap();
    let other = Authority::new_root("other", YEAR).unwrap();
    external_issuer(&cluster, &other.issue_authority("issuer", YEAR).unwrap()).await;
    let (code, _, err) = run(&cluster, &words).await;
    assert_eq!(code, 1);
    assert!(err.contains("the external issuer cannot be used") && err.contains("cert-manager"), "{err}");

    let issuer = root.issue_authority("issuer", YEAR).unwrap();
    external_issuer(&cluster, &issuer).await;
    let documents = printed(&cluster, &words).await;
    assert!(!objects(&documents).iter().any(|o| o["metadata"]["name"] == "linkerd-identity-issuer"));
    for object in objects(&documents) {
        cluster.apply(object).await.unwrap();
    }
    // An upgrade keeps it that way, and takes no issuer from files.
    let upgraded = printed(&cluster, &["upgrade"]).await;
    assert!(upgraded.contains("--identity-scheme=kubernetes.io/tls"));
    let (cert, key) = (cluster.directory().join("i.crt"), cluster.directory().join("i.key"));
    std::fs::write(&cert, issuer.cert_pem()).unwrap();
    std::fs::write(&key, issuer.key_pem()).unwrap();
    let files = [
        "--identity-issuer-certificate-file",
        cert.to_str().unwrap(),
        "--identity-issuer-key-file",
        key.to_str().unwrap(),
    ];
    let (code, _, err) = run(&cluster, &[&["upgrade"][..], &files].concat()).await;
    assert_eq!(code, 2);
    assert!(err.contains("kept by something else"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_helm_installed_is_left_to_helm() {
    let (cluster, documents) = installed(&[]).await;
    let mut config =
        objects(&documents).into_iter().find(|o| o["metadata"]["name"] == "linkerd-config").unwrap();
    config["metadata"]["annotations"]["linkerd.io/created-by"] = json!("isthmus/helm 0.1.0");
    cluster.apply(config).await.unwrap();
    for command in ["upgrade", "prune"] {
        let (code, out, err) = run(&cluster, &[command]).await;
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(err.contains("installed with Helm") && err.contains("helm upgrade"), "{err}");
    }
}
