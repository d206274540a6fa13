//! The control plane: its objects, pods, certificates, networks and versions.

use crate::objects::{Objects, pod};
use crate::{DAY, VERSION, YEAR, each, expect, meshctl};
use mesh_tls::Authority;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

const WEBHOOK: &str = "linkerd-proxy-injector-webhook-config";

#[tokio::test(flavor = "multi_thread")]
async fn missing_objects() {
    each(&[
        ("×", "l5d-existence-crd", &["--crds"], |o| {
            o.remove("CustomResourceDefinition", "servers.policy.linkerd.io");
        }),
        ("×", "l5d-crd-versions", &["--crds"], |o| {
            let versions =
                &mut o.get("CustomResourceDefinition", "servers.policy.linkerd.io")["spec"]["versions"];
            versions.as_array_mut().unwrap().retain(|v| v["name"] != "v1beta2");
        }),
        ("×", "l5d-existence-linkerd-config", &[], |o| {
            o.without_injector();
            o.remove("ConfigMap", "linkerd-config");
        }),
        ("×", "l5d-existence-ns", &[], |o| {
            o.get("Namespace", "linkerd")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] =
                json!("restricted");
        }),
        ("‼", "l5d-existence-ns", &[], |o| {
            o.get("Namespace", "linkerd")["metadata"]["labels"]["config.linkerd.io/admission-webhooks"] =
                json!("x");
        }),
        ("×", "l5d-existence-cr", &[], |o| o.remove("ClusterRole", "linkerd-linkerd-identity")),
        ("×", "l5d-existence-crb", &[], |o| o.remove("ClusterRoleBinding", "linkerd-linkerd-destination")),
        ("×", "l5d-existence-sa", &[], |o| o.remove("ServiceAccount", "linkerd-identity")),
        ("×", "l5d-existence-mwc", &[], |o| {
            o.without_injector();
            o.remove("MutatingWebhookConfiguration", WEBHOOK);
        }),
        ("×", "l5d-existence-rbac", &[], |o| o.remove("Role", "linkerd-identity")),
        ("×", "l5d-existence-rbac", &[], |o| o.remove("RoleBinding", "linkerd-proxy-injector")),
        ("×", "l5d-existence-objects", &[], |o| o.remove("Service", "linkerd-dst-headless")),
        ("×", "l5d-existence-objects", &[], |o| o.remove("Deployment", "linkerd-destination")),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_do_not_run() {
    each(&[
        ("×", "l5d-api-control-ready", &[], |o| {
            o.get("Pod", "destination")["status"]["conditions"][0]["status"] = json!("False");
        }),
        ("×", "l5d-existence-replicasets", &[], |o| {
            o.get("Deployment", "linkerd-destination")["status"] =
                json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 0});
        }),
        ("‼", "l5d-existence-unschedulable-pods", &[], |o| {
            let mut waits = pod("linkerd", "third", json!({"linkerd.io/control-plane-component": "identity"}));
            waits["status"] = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
                "reason": "Unschedulable", "message": "0/1 nodes are available"}]});
            o.0.push(waits);
        }),
        ("×", "l5d-cp-proxy-healthy", &[], |o| {
            o.get("Pod", "identity")["status"]["initContainerStatuses"] = json!([{"name": "linkerd-proxy",
                "image": "x", "imageID": "", "ready": false, "restartCount": 4}]);
        }),
        ("×", "l5d-control-plane-replicas", &[], |o| {
            o.values("cniEnabled:", "highAvailability: true\ncniEnabled:")
        }),
    ])
    .await;
}

/// A status in which one container of a pod waits, and how it ended before.
fn waits(o: &mut Objects, reason: &str, message: &str, last_words: &str) {
    let status = &mut o.get("Pod", "destination")["status"];
    status["conditions"][0]["status"] = json!("False");
    let mut container = json!({"name": "linkerd-init", "image": "isthmus/init:9", "imageID": "", "ready": false,
        "restartCount": 2, "state": {"waiting": {"reason": reason, "message": message}}});
    if !last_words.is_empty() {
        container["lastState"] = json!({"terminated": {"exitCode": 1, "message": last_words}});
    }
    status["initContainerStatuses"] = json!([container]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_say_why_they_do_not_run() {
    type Case = (fn(&mut Objects), &'static str, &'static str);
    let cases: [Case; 2] = [
        (
            |o| waits(o, "ImagePullBackOff", "pull access denied", ""),
            "image isthmus/init:9 cannot be pulled: pull access denied",
            "--registry",
        ),
        (
            |o| waits(o, "CrashLoopBackOff", "", "applying\nnetlink: Operation not permitted"),
            "linkerd-init of destination ends with exit code 1: netlink: Operation not permitted",
            "lacks NET_ADMIN",
        ),
    ];
    let healthy = Objects::healthy().await;
    for (change, why, fix) in cases {
        let mut objects = healthy.clone();
        change(&mut objects);
        let said = expect("×", "l5d-api-control-ready", &[], objects).await;
        assert!(said.contains(why) && said.contains(fix), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_with_certificates() {
    each(&[
        ("×", "l5d-identity-cert-config-valid", &[], |o| o.remove("Secret", "linkerd-identity-issuer")),
        // The key of another issuer.
        ("×", "l5d-identity-cert-config-valid", &[], |o| {
            let root = Authority::new_root("root", YEAR).unwrap();
            let [one, other] = [0, 1].map(|_| root.issue_authority("issuer", YEAR).unwrap());
            o.anchors(&root.cert_pem());
            o.issuer(&one.cert_pem(), &other.key_pem());
        }),
        ("×", "l5d-identity-trustAnchors-use-supported-crypto", &[], |o| {
            let root = Authority::new_root("root", YEAR).unwrap();
            o.identity(&root, YEAR);
            o.anchors(&format!("{}{}", root.cert_pem(), data("p384.crt")));
        }),
        ("×", "l5d-identity-trustAnchors-are-time-valid", &[], |o| {
            let root = Authority::new_root("root", YEAR).unwrap();
            o.identity(&root, YEAR);
            let over = Authority::new_root("over", Duration::ZERO).unwrap();
            o.anchors(&format!("{}{}", root.cert_pem(), over.cert_pem()));
        }),
        ("‼", "l5d-identity-trustAnchors-not-expiring-soon", &[], |o| {
            let root = Authority::new_root("root", YEAR).unwrap();
            o.identity(&root, YEAR);
            o.anchors(&format!("{}{}", root.cert_pem(), Authority::new_root("old", DAY).unwrap().cert_pem()));
        }),
        ("×", "l5d-identity-issuer-cert-uses-supported-crypto", &[], |o| {
            o.anchors(&data("p256-root.crt"));
            o.issuer(&data("p384-issuer.crt"), &data("p384-issuer.key"));
        }),
        ("×", "l5d-identity-issuer-cert-is-time-valid", &[], |o| {
            o.identity(&Authority::new_root("root", YEAR).unwrap(), Duration::ZERO);
        }),
        ("‼", "l5d-identity-issuer-cert-not-expiring-soon", &[], |o| {
            o.identity(&Authority::new_root("root", YEAR).unwrap(), DAY);
        }),
        ("×", "l5d-identity-issuer-cert-issued-by-trust-anchor", &[], |o| {
            let other = Authority::new_root("other", YEAR).unwrap();
            let issuer = other.issue_authority("issuer", YEAR).unwrap();
            o.issuer(&issuer.cert_pem(), &issuer.key_pem());
        }),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_with_the_webhook() {
    each(&[
        ("×", "l5d-proxy-injector-webhook-cert-valid", &[], |o| {
            o.without_injector();
            for webhook in o.webhooks() {
                webhook["clientConfig"].as_object_mut().unwrap().remove("caBundle");
            }
        }),
        ("×", "l5d-proxy-injector-webhook-cert-valid", &[], |o| {
            o.without_injector();
            o.webhook_certificate(Duration::ZERO);
        }),
        ("‼", "l5d-proxy-injector-webhook-cert-not-expiring-soon", &[], |o| o.webhook_certificate(DAY)),
        ("×", "l5d-proxy-injector-webhook-endpoints", &[], |o| {
            o.remove("EndpointSlice", "linkerd-proxy-injector-1");
        }),
        // There is one by all that is known, and it cannot be asked.
        ("×", "l5d-proxy-injector-webhook-injects", &[], Objects::without_injector),
        // A control plane that knows no pods which need a proxy.
        ("‼", "l5d-proxy-injector-webhook-injects", &[], |o| {
            o.without_injector();
            o.webhooks().truncate(1);
            o.webhooks()[0]["objectSelector"] = json!({});
        }),
    ])
    .await;
    let mut objects = Objects::healthy().await;
    objects.get("EndpointSlice", "linkerd-proxy-injector-1")["endpoints"][0]["conditions"]["ready"] =
        json!(false);
    objects.get("MutatingWebhookConfiguration", WEBHOOK)["webhooks"][0]["failurePolicy"] = json!("Fail");
    let said = expect("×", "l5d-proxy-injector-webhook-endpoints", &[], objects).await;
    assert!(said.contains("no pod can start") && said.contains("webhookFailurePolicy=Ignore"), "{said}");
}

/// What says nothing of the injector is not told as its fault.
#[tokio::test(flavor = "multi_thread")]
async fn a_trial_of_which_nothing_is_learned_is_not_told() {
    let mut elsewhere = Objects::healthy().await;
    for webhook in elsewhere.webhooks() {
        webhook["objectSelector"] = json!({"matchLabels": {"shop": "only"}});
    }
    let mut policy = Objects::healthy().await;
    policy.0.push(json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "policy"},
        "webhooks": [{
            "name": "policy.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"url": "https://127.0.0.1:1/"}, "timeoutSeconds": 1,
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
        }],
    }));
    for objects in [elsewhere, policy] {
        let cluster = objects.cluster().await;
        let (code, said) = meshctl(cluster.kubeconfig_path(), &["check", "--wait=0s"]).await;
        assert!(code == 0 && !said.contains("(dry run)"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_need_a_proxy_are_not_created_without_an_injector() {
    let mut objects = Objects::healthy().await;
    objects.without_injector();
    let cluster = objects.cluster().await;
    let gateway = pod("shop", "gateway", json!({"isthmus.dev/require-proxy": "true"}));
    let refused = cluster.create(gateway).await.unwrap_err().to_string();
    assert!(refused.contains("linkerd-proxy-injector-required.linkerd.io"), "{refused}");
    cluster.create(pod("shop", "other", json!({}))).await.unwrap();
}

fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_and_versions() {
    each(&[
        ("×", "l5d-cluster-networks-cidr", &[], |o| {
            o.get("Node", "node")["spec"]["podCIDR"] = json!("11.0.0.0/24")
        }),
        ("×", "l5d-cluster-networks-pods", &[], |o| {
            let status = &mut o.get("Pod", "web")["status"];
            status["podIP"] = json!("11.0.0.9");
            status["podIPs"] = json!([{"ip": "11.0.0.9"}]);
        }),
        // Services are in 10.43.0.0/16.
        ("×", "l5d-cluster-networks-pods", &[], |o| o.values("10.0.0.0/8", "10.42.0.0/16")),
        // An upgrade that ended half-way.
        ("×", "l5d-version-one", &[], |o| label_version(o, "linkerd-identity")),
        ("‼", "l5d-version-control", &[], |o| {
            for component in ["identity", "destination", "proxy-injector"] {
                label_version(o, &format!("linkerd-{component}"));
            }
            o.values(VERSION, "0.0.1");
        }),
        ("‼", "l5d-version-cli", &["--expected-version=9.9.9"], |_| {}),
        ("‼", "l5d-cp-proxy-cli-version", &[], |o| {
            o.get("Pod", "identity")["metadata"]["annotations"]["linkerd.io/proxy-version"] = json!("0.0.1");
        }),
        ("×", "l5d-extension-namespaces", &[], |o| {
            for name in ["one", "two"] {
                o.0.push(json!({"apiVersion": "v1", "kind": "Namespace",
                    "metadata": {"name": name, "labels": {"linkerd.io/extension": "viz"}}}));
            }
        }),
    ])
    .await;
}

fn label_version(o: &mut Objects, deployment: &str) {
    o.get("Deployment", deployment)["metadata"]["labels"]["app.kubernetes.io/version"] = json!("0.0.1");
}
