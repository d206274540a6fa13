//! Every check of `meshctl check` against a cluster in which exactly that thing is broken.

#![allow(clippy::unwrap_used, reason = "a test, also outside of its test functions")]

use base64::Engine;
use mesh_testkit::Cluster;
use mesh_tls::Authority;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
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

/// The objects of a healthy installation, for a test to change before they are created.
#[derive(Clone)]
struct Objects(Vec<Value>);

impl Objects {
    async fn healthy() -> Self {
        let cluster = Cluster::start().await.unwrap();
        let mut all = Vec::new();
        for words in [&["install", "--crds"][..], &["install", "--ignore-cluster"][..]] {
            let path = cluster.kubeconfig_path();
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            let output = tokio::task::spawn_blocking(move || {
                Command::new(env!("CARGO_BIN_EXE_meshctl"))
                    .args(words)
                    .arg("--kubeconfig")
                    .arg(path)
                    .output()
                    .unwrap()
            });
            let text = String::from_utf8(output.await.unwrap().stdout).unwrap();
            all.extend(serde_saphyr::from_multiple::<Value>(&text).unwrap());
        }
        let mut objects = Self(all);
        objects.identity(&Authority::new_root("root", YEAR * 10).unwrap(), YEAR);
        objects.webhook_certificate(90 * DAY);
        for component in ["identity", "destination", "proxy-injector"] {
            objects.0.push(pod(
                "linkerd",
                component,
                json!({"linkerd.io/control-plane-component": component}),
            ));
        }
        objects.0.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}));
        objects.0.push(pod("shop", "web", json!({"linkerd.io/control-plane-ns": "linkerd"})));
        objects.0.push(json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"}, "spec": {"podCIDR": "10.42.0.0/24"},
        }));
        objects
    }

    fn get(&mut self, kind: &str, name: &str) -> &mut Value {
        let found = self.0.iter_mut().find(|o| o["kind"] == kind && o["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    fn remove(&mut self, kind: &str, name: &str) {
        self.get(kind, name);
        self.0.retain(|o| !(o["kind"] == kind && o["metadata"]["name"] == name));
    }

    /// Anchors and issuer made anew.
    fn identity(&mut self, root: &Authority, issuer_lifetime: Duration) {
        let issuer = root.issue_authority("identity.linkerd.cluster.local", issuer_lifetime).unwrap();
        self.anchors(&root.cert_pem());
        self.issuer(&issuer.cert_pem(), &issuer.key_pem());
    }

    fn anchors(&mut self, pem: &str) {
        self.get("ConfigMap", "linkerd-identity-trust-roots")["data"]["ca-bundle.crt"] = json!(pem);
    }

    fn issuer(&mut self, cert: &str, key: &str) {
        let data = json!({"crt.pem": base64(cert), "key.pem": base64(key)});
        self.get("Secret", "linkerd-identity-issuer")["data"] = data;
    }

    fn webhook_certificate(&mut self, lifetime: Duration) {
        let name = "linkerd-proxy-injector.linkerd.svc";
        let root = Authority::new_root(name, YEAR).unwrap();
        let pair = root.issue_server(&[name], &[], lifetime).unwrap();
        self.0.retain(|o| o["metadata"]["name"] != "linkerd-proxy-injector-k8s-tls");
        self.0.push(json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": "linkerd-proxy-injector-k8s-tls", "namespace": "linkerd"},
            "data": {"tls.crt": base64(&pair.cert_pem), "tls.key": base64(&pair.key_pem)},
        }));
        let config = self.get("MutatingWebhookConfiguration", "linkerd-proxy-injector-webhook-config");
        config["webhooks"][0]["clientConfig"]["caBundle"] = json!(base64(&root.cert_pem()));
    }

    fn values(&mut self, from: &str, to: &str) {
        let text = &mut self.get("ConfigMap", "linkerd-config")["data"]["values"];
        let changed = text.as_str().unwrap().replace(from, to);
        assert_ne!(*text, changed, "{from} is not among the values");
        *text = json!(changed);
    }

    async fn cluster(self) -> Cluster {
        let cluster = Cluster::start().await.unwrap();
        for object in self.0 {
            let name = object["metadata"]["name"].clone();
            cluster.create(object).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        cluster
    }
}

fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn pod(namespace: &str, name: &str, labels: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels,
            "annotations": {"linkerd.io/proxy-version": VERSION}},
        "spec": {"containers": [{"name": "c", "image": "x"}]},
        "status": {"phase": "Running", "podIP": "10.42.0.9", "podIPs": [{"ip": "10.42.0.9"}],
            "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

/// Creates the objects, checks, and expects one finding (or none) with its hint.
async fn expect(mark: &str, anchor: &str, words: &[&str], objects: Objects) {
    let cluster = objects.cluster().await;
    let all: Vec<&str> = ["check", "--wait=0s"].iter().chain(words).copied().collect();
    let (code, said) = meshctl(cluster.kubeconfig_path(), &all).await;
    let findings: Vec<&str> = said.lines().filter(|l| l.starts_with(['×', '‼'])).collect();
    assert!(!findings.is_empty() && findings.iter().all(|f| f.starts_with(mark)), "{anchor}:\n{said}");
    let hints: Vec<&str> = said.lines().filter_map(|l| l.trim().strip_prefix("see ")).collect();
    let hint = format!("https://isthmus.dev/checks#{anchor}");
    assert!(hints.iter().all(|h| *h == hint) && !hints.is_empty(), "{anchor}:\n{said}");
    assert_eq!(code, i32::from(mark == "×"), "{anchor}:\n{said}");
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
    assert!(report["categories"].as_array().unwrap().len() >= 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clusters_own_trouble() {
    let cluster = Cluster::start().await.unwrap();
    let (code, said) = meshctl(cluster.kubeconfig_path(), &["check", "--context", "nowhere"]).await;
    assert_eq!(code, 1);
    assert!(said.contains("× can initialize the client") && said.contains("checks#k8s-api"), "{said}");
    let config = std::fs::read_to_string(cluster.kubeconfig_path()).unwrap();
    let gone = cluster.directory().join("gone");
    std::fs::write(&gone, config.replace(cluster.url(), "https://127.0.0.1:1")).unwrap();
    let (code, said) = meshctl(gone, &["check"]).await;
    assert_eq!(code, 1);
    assert!(said.contains("× can query the Kubernetes API") && said.contains("checks#k8s-api"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn before_an_installation() {
    let cluster = Cluster::start().await.unwrap();
    let path = || cluster.kubeconfig_path();
    let (code, said) = meshctl(path(), &["check", "--pre"]).await;
    assert_eq!(code, 0, "{said}");
    let (code, said) = meshctl(path(), &["check", "--pre", "--as", "nobody"]).await;
    assert_eq!(code, 1);
    for (what, anchor) in [
        ("ClusterRoles", "pre-k8s-cluster-k8s"),
        ("MutatingWebhookConfigurations", "pre-k8s-cluster-k8s"),
        ("ServiceAccounts", "pre-k8s"),
        ("Secrets", "pre-k8s"),
    ] {
        let at = said.find(&format!("× can create {what}")).unwrap_or_else(|| panic!("{what}: {said}"));
        let hint = said[at..].lines().find(|l| l.contains("see ")).unwrap();
        assert!(hint.ends_with(&format!("#{anchor}")), "{what}: {hint}");
    }
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "late"},
        "status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2020-01-01T00:00:00Z"}]},
    });
    cluster.create(node).await.unwrap();
    let (code, said) = meshctl(path(), &["check", "--pre"]).await;
    assert_eq!(code, 0);
    assert!(said.contains("‼ no clock skew detected") && said.contains("late ("), "{said}");
    assert!(said.contains("checks#pre-k8s-clock-skew"), "{said}");
    cluster.namespace("linkerd").await.unwrap();
    let (code, said) = meshctl(path(), &["check", "--pre"]).await;
    assert_eq!(code, 1);
    assert!(said.contains("× control plane namespace does not already exist"), "{said}");
    assert!(said.contains("checks#pre-ns"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_objects() {
    each(&[
        ("×", "l5d-existence-crd", &["--crds"], |o| {
            o.remove("CustomResourceDefinition", "servers.policy.linkerd.io");
        }),
        ("×", "l5d-existence-linkerd-config", &[], |o| o.remove("ConfigMap", "linkerd-config")),
        ("×", "l5d-existence-cr", &[], |o| o.remove("ClusterRole", "linkerd-linkerd-identity")),
        ("×", "l5d-existence-crb", &[], |o| o.remove("ClusterRoleBinding", "linkerd-linkerd-destination")),
        ("×", "l5d-existence-sa", &[], |o| o.remove("ServiceAccount", "linkerd-identity")),
        ("×", "l5d-api-control-ready", &[], |o| {
            o.get("Pod", "destination")["status"]["conditions"][0]["status"] = json!("False");
        }),
        ("×", "l5d-control-plane-replicas", &[], |o| {
            o.values("cniEnabled:", "highAvailability: true\ncniEnabled:")
        }),
    ])
    .await;
    // Without the configuration there is no caBundle either.
    let mut objects = Objects::healthy().await;
    objects.remove("MutatingWebhookConfiguration", "linkerd-proxy-injector-webhook-config");
    let (code, said) = meshctl(objects.cluster().await.kubeconfig_path(), &["check", "--wait=0s"]).await;
    assert_eq!(code, 1);
    assert!(said.contains("checks#l5d-existence-mwc"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_with_certificates() {
    each(&[
        ("×", "l5d-identity-cert-config-valid", &[], |o| o.remove("Secret", "linkerd-identity-issuer")),
        ("×", "l5d-identity-trustAnchors-use-supported-crypto", &[], |o| {
            let root = Authority::new_root("root", YEAR).unwrap();
            o.identity(&root, YEAR);
            o.anchors(&format!("{}{}", root.cert_pem(), data("p384.crt")));
        }),
        ("‼", "l5d-identity-trustAnchors-not-expiring-soon", &[], |o| {
            let root = Authority::new_root("root", YEAR).unwrap();
            o.identity(&root, YEAR);
            o.anchors(&format!("{}{}", root.cert_pem(), Authority::new_root("old", DAY).unwrap().cert_pem()));
        }),
        ("‼", "l5d-identity-issuer-cert-not-expiring-soon", &[], |o| {
            o.identity(&Authority::new_root("root", YEAR).unwrap(), DAY);
        }),
        ("×", "l5d-identity-issuer-cert-issued-by-trust-anchor", &[], |o| {
            let other = Authority::new_root("other", YEAR).unwrap();
            let issuer = other.issue_authority("issuer", YEAR).unwrap();
            o.issuer(&issuer.cert_pem(), &issuer.key_pem());
        }),
        ("×", "l5d-proxy-injector-webhook-cert-valid", &[], |o| {
            let config = o.get("MutatingWebhookConfiguration", "linkerd-proxy-injector-webhook-config");
            config["webhooks"][0]["clientConfig"].as_object_mut().unwrap().remove("caBundle");
        }),
        ("‼", "l5d-proxy-injector-webhook-cert-not-expiring-soon", &[], |o| o.webhook_certificate(DAY)),
    ])
    .await;
}

fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// What is wrong with an issuer shows in more than one check.
#[tokio::test(flavor = "multi_thread")]
async fn issuers_that_are_out_of_date_or_of_another_algorithm() {
    type Case = (&'static str, fn(&mut Objects));
    let cases: [Case; 3] = [
        ("l5d-identity-issuer-cert-is-time-valid", |o| {
            o.identity(&Authority::new_root("root", YEAR).unwrap(), Duration::ZERO);
        }),
        ("l5d-identity-trustAnchors-are-time-valid", |o| {
            let root = Authority::new_root("root", YEAR).unwrap();
            o.identity(&root, YEAR);
            let over = Authority::new_root("over", Duration::ZERO).unwrap();
            o.anchors(&format!("{}{}", root.cert_pem(), over.cert_pem()));
        }),
        ("l5d-identity-issuer-cert-uses-supported-crypto", |o| {
            o.anchors(&data("p384.crt"));
            o.issuer(&data("p384.crt"), &data("p384.key"));
        }),
    ];
    let healthy = Objects::healthy().await;
    for (anchor, change) in cases {
        let mut objects = healthy.clone();
        change(&mut objects);
        let (code, said) = meshctl(objects.cluster().await.kubeconfig_path(), &["check", "--wait=0s"]).await;
        assert_eq!(code, 1, "{said}");
        assert!(said.lines().any(|l| l.ends_with(&format!("#{anchor}"))), "{anchor}:\n{said}");
    }
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
        ("‼", "l5d-version-control", &[], |o| {
            o.get("Deployment", "linkerd-identity")["metadata"]["labels"]["app.kubernetes.io/version"] =
                json!("0.0.1");
        }),
        ("‼", "l5d-cp-proxy-cli-version", &[], |o| {
            o.get("Pod", "identity")["metadata"]["annotations"]["linkerd.io/proxy-version"] = json!("0.0.1");
        }),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_of_workloads() {
    each(&[
        ("×", "l5d-data-plane-ready", &["--proxy"], |o| {
            o.get("Pod", "web")["status"]["conditions"][0]["status"] = json!("False");
        }),
        ("×", "l5d-data-plane-ready", &["--proxy", "-n", "default"], |_| {}),
        ("‼", "l5d-data-plane-cli-version", &["--proxy"], |o| {
            o.get("Pod", "web")["metadata"]["annotations"]["linkerd.io/proxy-version"] = json!("0.0.1");
        }),
        ("‼", "l5d-data-plane-pod-labels", &["--proxy"], |o| {
            o.get("Pod", "web")["metadata"]["labels"]["linkerd.io/inject"] = json!("enabled");
        }),
        ("‼", "l5d-identity-data-plane-proxies-certs-match-ca", &["--proxy"], |o| {
            o.get("Pod", "web")["metadata"]["annotations"]["linkerd.io/trust-root-sha256"] = json!("00");
        }),
    ])
    .await;
}

/// A healthy link to `west`, on top of a healthy installation.
async fn linked() -> Objects {
    let mut objects = Objects::healthy().await;
    let cluster = Cluster::start().await.unwrap();
    let (_, text) =
        meshctl(cluster.kubeconfig_path(), &["multicluster", "install", "--ignore-cluster"]).await;
    objects.0.extend(serde_saphyr::from_multiple::<Value>(&text).unwrap());
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
