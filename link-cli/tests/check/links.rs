//! Links to other clusters.

use crate::objects::{Objects, base64};
use crate::{expect, meshctl, printed};
use serde_json::json;

/// A healthy link to `west`, on top of a healthy installation.
async fn linked() -> Objects {
    let mut objects = Objects::healthy().await;
    objects.0.extend(printed(&["multicluster", "install", "--ignore-cluster"]).await);
    objects.get("Deployment", "linkerd-service-mirror")["status"] =
        json!({"availableReplicas": 1, "replicas": 1});
    objects.0.push(json!({
        "apiVersion": "v1", "kind": "Secret", "type": "mirror.linkerd.io/remote-kubeconfig",
        "metadata": {"name": "cluster-credentials-west", "namespace": "linkerd-multicluster"},
        "data": {"kubeconfig": base64("{}")},
    }));
    let condition = |kind: &str| {
        json!({"type": kind, "status": "True", "reason": "Fine", "message": "fine",
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    let kinds = ["CredentialsValid", "TrustEstablished", "Reachable", "Synced"];
    objects.0.push(json!({
        "apiVersion": "multicluster.linkerd.io/v1alpha3", "kind": "Link",
        "metadata": {"name": "west", "namespace": "linkerd-multicluster"},
        "spec": {"targetClusterName": "west", "clusterCredentialsSecret": "cluster-credentials-west",
            "gatewayAddress": "198.18.2.10", "gatewayPort": "4143"},
        "status": {"conditions": kinds.map(condition)},
    }));
    let labels = json!({"mirror.linkerd.io/mirrored-service": "true", "mirror.linkerd.io/cluster-name": "west",
        "kubernetes.io/service-name": "catalog-west"});
    objects.0.push(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "catalog-west", "namespace": "shop", "labels": labels},
        "spec": {"ports": [{"port": 80}]},
    }));
    objects.0.push(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "catalog-west", "namespace": "shop", "labels": labels},
        "endpoints": [{"addresses": ["198.18.2.10"]}], "ports": [{"port": 4143}],
    }));
    objects
}

#[tokio::test(flavor = "multi_thread")]
async fn links_to_other_clusters() {
    let healthy = linked().await;
    let cluster = healthy.clone().cluster().await;
    for words in [&["multicluster", "check", "--wait=0s"][..], &["check", "--wait=0s"][..]] {
        let (code, said) = meshctl(cluster.kubeconfig_path(), words).await;
        assert_eq!(code, 0, "{said}");
        assert!(
            said.contains("√ all mirror services have endpoints") && !said.contains(['×', '‼']),
            "{said}"
        );
    }
    fn break_condition(o: &mut Objects, index: usize) {
        let condition = &mut o.get("Link", "west")["status"]["conditions"][index];
        condition["status"] = json!("False");
        condition["message"] = json!("it broke");
    }
    type Break = (&'static str, &'static str, fn(&mut Objects));
    let breaks: [Break; 10] = [
        ("×", "l5d-multicluster-source-rbac-correct", |o| o.remove("ClusterRole", "linkerd-service-mirror")),
        ("×", "l5d-multicluster-service-mirror-running", |o| {
            o.get("Deployment", "linkerd-service-mirror")["status"] = json!({});
        }),
        ("×", "l5d-multicluster-links-are-valid", |o| o.remove("Secret", "cluster-credentials-west")),
        ("×", "l5d-smc-target-clusters-access", |o| break_condition(o, 0)),
        ("×", "l5d-multicluster-clusters-share-anchors", |o| break_condition(o, 1)),
        ("×", "l5d-multicluster-gateways-endpoints", |o| break_condition(o, 2)),
        ("×", "l5d-smc-target-clusters-synced", |o| break_condition(o, 3)),
        ("×", "l5d-multicluster-services-endpoints", |o| o.remove("EndpointSlice", "catalog-west")),
        ("‼", "l5d-multicluster-orphaned-services", |o| o.remove("Link", "west")),
        ("×", "l5d-multicluster-link-crd-exists", |o| {
            o.remove("Link", "west");
            o.remove("CustomResourceDefinition", "links.multicluster.linkerd.io");
        }),
    ];
    for (mark, anchor, change) in breaks {
        let mut objects = healthy.clone();
        change(&mut objects);
        expect(mark, anchor, &[], objects).await;
    }
}
