//! The cluster itself, and what has to hold before an installation.

use crate::objects::node_info;
use crate::{front, meshctl, only};
use hyper::{Method, StatusCode};
use mesh_testkit::Cluster;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_cannot_be_asked() {
    let cluster = Cluster::start().await.unwrap();
    let (code, said) = meshctl(cluster.kubeconfig_path(), &["check", "--context", "nowhere"]).await;
    only("×", "k8s-api", code, &said);
    assert!(said.contains("× can initialize the client"), "{said}");
    let config = std::fs::read_to_string(cluster.kubeconfig_path()).unwrap();
    let gone = cluster.directory().join("gone");
    std::fs::write(&gone, config.replace(cluster.url(), "https://127.0.0.1:1")).unwrap();
    let (code, said) = meshctl(gone, &["check"]).await;
    only("×", "k8s-api", code, &said);
    assert!(said.contains("× can query the Kubernetes API"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubernetes_that_is_too_old() {
    let cluster = Cluster::start().await.unwrap();
    let old = front::before(&cluster, |_, path| {
        let version = json!({"major": "1", "minor": "27+", "gitVersion": "v1.27.9", "gitCommit": "", "gitTreeState": "",
            "buildDate": "", "goVersion": "", "compiler": "", "platform": ""});
        (path == "/version").then_some((StatusCode::OK, version))
    })
    .await;
    let (code, said) = meshctl(old, &["check", "--pre"]).await;
    only("×", "k8s-version", code, &said);
    assert!(said.contains("it runs v1.27.9") && said.contains("1.29 or newer"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_may_not_have_net_admin() {
    let cluster = Cluster::start().await.unwrap();
    let strict = front::before(&cluster, |method, path| {
        let refused = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403,
            "message": "pods \"isthmus-check\" is forbidden: violates PodSecurity \"baseline:latest\": non-default \
                        capabilities (container \"linkerd-init\" must not include \"NET_ADMIN\")"});
        let trial = method == Method::POST && path == "/api/v1/namespaces/default/pods";
        trial.then_some((StatusCode::FORBIDDEN, refused))
    })
    .await;
    let (code, said) = meshctl(strict.clone(), &["check", "--pre"]).await;
    only("×", "pre-k8s-cluster-net-admin", code, &said);
    assert!(
        said.contains("must not include \"NET_ADMIN\"") && said.contains("--linkerd-cni-enabled"),
        "{said}"
    );
    // With a CNI plugin no pod needs it.
    let (code, said) = meshctl(strict, &["check", "--pre", "--linkerd-cni-enabled"]).await;
    assert_eq!(code, 0, "{said}");
    // A label of the namespace it is tried in says nothing about others.
    let labelled = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default",
        "labels": {"pod-security.kubernetes.io/enforce": "baseline"}}});
    cluster.apply(labelled).await.unwrap();
    let (code, said) = meshctl(cluster.kubeconfig_path(), &["check", "--pre"]).await;
    assert_eq!(code, 0, "{said}");
}

/// An account that may create everything an installation needs, but one kind.
async fn account_without(cluster: &Cluster, kind: &str) -> &'static str {
    let created = [
        ("", "namespaces"),
        ("rbac.authorization.k8s.io", "clusterroles"),
        ("rbac.authorization.k8s.io", "clusterrolebindings"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
        ("", "serviceaccounts"),
        ("", "services"),
        ("apps", "deployments"),
        ("", "configmaps"),
        ("", "secrets"),
        ("policy", "poddisruptionbudgets"),
        ("rbac.authorization.k8s.io", "roles"),
        ("rbac.authorization.k8s.io", "rolebindings"),
    ];
    let mut rules = vec![json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]})];
    for (group, resource) in created.iter().filter(|(_, resource)| *resource != kind) {
        rules.push(json!({"apiGroups": [group], "resources": [resource], "verbs": ["create"]}));
    }
    let meta = json!({"name": "installer"});
    cluster
        .create(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": meta, "rules": rules}))
        .await
        .unwrap();
    cluster
        .create(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": meta,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "installer"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "installer"}],
        }))
        .await
        .unwrap();
    "installer"
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_may_not_install() {
    for (resource, kind, anchor) in [
        ("clusterroles", "ClusterRoles", "pre-k8s-cluster-k8s"),
        ("mutatingwebhookconfigurations", "MutatingWebhookConfigurations", "pre-k8s-cluster-k8s"),
        ("deployments", "Deployments", "pre-k8s"),
        ("poddisruptionbudgets", "PodDisruptionBudgets", "pre-k8s"),
    ] {
        let cluster = Cluster::start().await.unwrap();
        let account = account_without(&cluster, resource).await;
        let (code, said) = meshctl(cluster.kubeconfig_path(), &["check", "--pre", "--as", account]).await;
        only("×", anchor, code, &said);
        assert!(said.contains(&format!("× can create {kind}")), "{said}");
    }
    let cluster = Cluster::start().await.unwrap();
    let account = account_without(&cluster, "").await;
    let (code, said) = meshctl(cluster.kubeconfig_path(), &["check", "--pre", "--as", account]).await;
    assert_eq!(code, 0, "{said}");
}

async fn with_node(status: Value) -> Cluster {
    let cluster = Cluster::start().await.unwrap();
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "odd"}, "status": status});
    cluster.create(node).await.unwrap();
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_another_clock_or_an_old_kernel() {
    let late = json!({"type": "Ready", "status": "True", "lastHeartbeatTime": "2020-01-01T00:00:00Z"});
    let cluster = with_node(json!({"conditions": [late]})).await;
    let (code, said) = meshctl(cluster.kubeconfig_path(), &["check", "--pre"]).await;
    only("‼", "pre-k8s-clock-skew", code, &said);
    assert!(said.contains("odd ("), "{said}");
    let cluster = with_node(json!({"nodeInfo": node_info("3.10.0-1160.el7")})).await;
    let (code, said) = meshctl(cluster.kubeconfig_path(), &["check", "--pre"]).await;
    only("×", "pre-k8s-node-kernel", code, &said);
    assert!(said.contains("odd runs 3.10.0-1160.el7") && said.contains("4.18"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_taken() {
    let cluster = Cluster::start().await.unwrap();
    let (code, said) = meshctl(cluster.kubeconfig_path(), &["check", "--pre"]).await;
    assert_eq!(code, 0, "{said}");
    cluster.namespace("linkerd").await.unwrap();
    let (code, said) = meshctl(cluster.kubeconfig_path(), &["check", "--pre"]).await;
    only("×", "pre-ns", code, &said);
}
