//! The objects of a healthy installation, for tests to break, and the injector, which is the real one.

use crate::{DAY, VERSION, YEAR, printed};
use base64::Engine;
use mesh_injector::webhook::{self, WEBHOOK_CONFIGURATION};
use mesh_kube::{Connection, connect};
use mesh_metrics::Registry;
use mesh_runtime::Shutdown;
use mesh_runtime::admin::AdminState;
use mesh_testkit::{Cluster, eventually};
use mesh_tls::Authority;
use serde_json::{Value, json};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// The objects of a healthy installation, for a test to change before they are created.
#[derive(Clone)]
pub(crate) struct Objects(pub(crate) Vec<Value>, Injector);

/// Whether there is one.
#[derive(Clone, Copy, PartialEq)]
enum Injector {
    Runs,
    Stopped,
}

/// A cluster with such objects, and its injector.
pub(crate) struct Installed {
    cluster: Cluster,
    shutdown: Shutdown,
}

impl Deref for Installed {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

impl Objects {
    pub(crate) async fn healthy() -> Self {
        let mut all = printed(&["install", "--crds"]).await;
        all.extend(printed(&["install", "--ignore-cluster"]).await);
        let mut objects = Self(all, Injector::Runs);
        objects.identity(&Authority::new_root("root", YEAR * 10).unwrap(), YEAR);
        objects.webhook_certificate(90 * DAY);
        for component in ["identity", "destination", "proxy-injector"] {
            objects.0.push(pod(
                "linkerd",
                component,
                json!({"linkerd.io/control-plane-component": component}),
            ));
        }
        objects.0.push(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "linkerd-proxy-injector-1", "namespace": "linkerd",
                "labels": {"kubernetes.io/service-name": "linkerd-proxy-injector"}},
            "endpoints": [{"addresses": ["10.42.0.9"], "conditions": {"ready": true}}], "ports": [{"port": 8443}],
        }));
        objects.0.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}));
        objects.0.push(pod("shop", "web", json!({"linkerd.io/control-plane-ns": "linkerd"})));
        objects.0.push(json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"}, "spec": {"podCIDR": "10.42.0.0/24"},
            "status": {"nodeInfo": node_info("6.1.0-28-amd64")},
        }));
        objects
    }

    pub(crate) fn get(&mut self, kind: &str, name: &str) -> &mut Value {
        let found = self.0.iter_mut().find(|o| o["kind"] == kind && o["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    pub(crate) fn remove(&mut self, kind: &str, name: &str) {
        self.get(kind, name);
        self.0.retain(|o| !(o["kind"] == kind && o["metadata"]["name"] == name));
    }

    /// Anchors and issuer made anew.
    pub(crate) fn identity(&mut self, root: &Authority, issuer_lifetime: Duration) {
        let issuer = root.issue_authority("identity.linkerd.cluster.local", issuer_lifetime).unwrap();
        self.anchors(&root.cert_pem());
        self.issuer(&issuer.cert_pem(), &issuer.key_pem());
    }

    pub(crate) fn anchors(&mut self, pem: &str) {
        self.get("ConfigMap", "linkerd-identity-trust-roots")["data"]["ca-bundle.crt"] = json!(pem);
    }

    pub(crate) fn issuer(&mut self, cert: &str, key: &str) {
        let data = json!({"crt.pem": base64(cert), "key.pem": base64(key)});
        self.get("Secret", "linkerd-identity-issuer")["data"] = data;
    }

    pub(crate) fn webhook_certificate(&mut self, lifetime: Duration) {
        let name = "linkerd-proxy-injector.linkerd.svc";
        let root = Authority::new_root(name, YEAR).unwrap();
        let pair = root.issue_server(&[name], &[], lifetime).unwrap();
        self.0.retain(|o| o["metadata"]["name"] != "linkerd-proxy-injector-k8s-tls");
        self.0.push(json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": "linkerd-proxy-injector-k8s-tls", "namespace": "linkerd"},
            "data": {"tls.crt": base64(&pair.cert_pem), "tls.key": base64(&pair.key_pem),
                "ca.crt": base64(&root.cert_pem())},
        }));
        for webhook in self.webhooks() {
            webhook["clientConfig"]["caBundle"] = json!(base64(&root.cert_pem()));
        }
    }

    pub(crate) fn webhooks(&mut self) -> &mut Vec<Value> {
        self.get("MutatingWebhookConfiguration", WEBHOOK_CONFIGURATION)["webhooks"].as_array_mut().unwrap()
    }

    pub(crate) fn values(&mut self, from: &str, to: &str) {
        let text = &mut self.get("ConfigMap", "linkerd-config")["data"]["values"];
        let changed = text.as_str().unwrap().replace(from, to);
        assert_ne!(*text, changed, "{from} is not among the values");
        *text = json!(changed);
    }

    /// There is no injector, which would mend what a test has broken.
    pub(crate) fn without_injector(&mut self) {
        self.1 = Injector::Stopped;
    }

    /// Creates them, and starts the injector.
    pub(crate) async fn cluster(self) -> Installed {
        let (cluster, addr) = Cluster::with_service().await.unwrap();
        let mut all = self.0;
        // Nobody answers for the webhook yet, so it comes when all else is there.
        all.sort_by_key(|o| o["kind"] == "MutatingWebhookConfiguration");
        for object in all {
            let name = object["metadata"]["name"].clone();
            cluster.create(object).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        let shutdown = Shutdown::new();
        if self.1 == Injector::Runs {
            inject(&cluster, addr, &shutdown).await;
        }
        Installed { cluster, shutdown }
    }
}

/// Starts the injector, and waits until it is ready.
async fn inject(cluster: &Cluster, addr: std::net::SocketAddr, shutdown: &Shutdown) {
    let connection = Connection { kubeconfig: Some(cluster.kubeconfig_path()), ..Connection::default() };
    let client = connect(&connection).await.unwrap();
    let admin = AdminState::new(Arc::new(String::new), None);
    let config = webhook::Config { addr, namespace: "linkerd".to_owned() };
    let (told, draining) = (admin.clone(), shutdown.clone());
    let task = async move { webhook::run(config, client, &Registry::new(), told, draining).await };
    drop(shutdown.spawn("webhook", task));
    eventually("the webhook is ready", || async { admin.is_ready().then_some(()) }).await.unwrap();
}

pub(crate) fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

pub(crate) fn pod(namespace: &str, name: &str, labels: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels,
            "annotations": {"linkerd.io/proxy-version": VERSION}},
        "spec": {"containers": [{"name": "c", "image": "x"}]},
        "status": {"phase": "Running", "podIP": "10.42.0.9", "podIPs": [{"ip": "10.42.0.9"}],
            "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

/// What a kubelet reports of its node.
pub(crate) fn node_info(kernel: &str) -> Value {
    let mut info = json!({"operatingSystem": "linux", "architecture": "amd64", "kernelVersion": kernel});
    for other in [
        "machineID",
        "systemUUID",
        "bootID",
        "osImage",
        "containerRuntimeVersion",
        "kubeletVersion",
        "kubeProxyVersion",
    ] {
        info[other] = json!("");
    }
    info
}
