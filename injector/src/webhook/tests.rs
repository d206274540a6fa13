use super::*;
use mesh_kube::{Connection, connect};
use mesh_testkit::{Cluster, Selection, eventually};
use serde_json::{Value, json};

const NS: &str = "linkerd";

/// A cluster whose API server calls a running injector for pods and services of enabled namespaces.
struct Injector {
    cluster: Cluster,
    shutdown: Shutdown,
}

impl Injector {
    async fn start() -> Self {
        let (cluster, addr) = Cluster::with_service().await.unwrap();
        cluster.namespace(NS).await.unwrap();
        let values = "clusterDomain: cluster.local\nproxy:\n  logLevel: from-config\n";
        config_map(&cluster, "linkerd-config", "values", values).await;
        let root = mesh_tls::Authority::new_root("root", std::time::Duration::from_secs(3600)).unwrap();
        config_map(&cluster, "linkerd-identity-trust-roots", "ca-bundle.crt", &root.cert_pem()).await;
        cluster.create(webhook_configuration()).await.unwrap();
        let shutdown = Shutdown::new();
        let connection = Connection { kubeconfig: Some(cluster.kubeconfig_path()), ..Connection::default() };
        let client = connect(&connection).await.unwrap();
        let registry = Registry::new();
        let admin = AdminState::new(Arc::new(String::new), None);
        let task = {
            let (admin, shutdown) = (admin.clone(), shutdown.clone());
            let config = Config { addr, namespace: NS.to_owned() };
            async move { run(config, client, &registry, admin, shutdown).await }
        };
        drop(shutdown.spawn("webhook", task));
        let ready = || async { admin.is_ready().then_some(()) };
        eventually("the webhook is ready", ready).await.unwrap();
        Self { cluster, shutdown }
    }

    async fn namespace(&self, name: &str, annotations: Value) {
        let object = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "annotations": annotations}});
        self.cluster.create(object).await.unwrap();
    }

    /// Creates pods of this name until one is injected or left alone for the given reason's sake; the webhook learns
    /// of namespaces by a watch, so the first may come too early.
    async fn pod(&self, namespace: &str, annotations: Value) -> Value {
        let object = || async {
            let n = next();
            let pod = json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": format!("web-{n}"), "namespace": namespace, "annotations": annotations},
                "spec": {"containers": [{"name": "web", "image": "x"}]}});
            let made = self.cluster.create(pod).await.unwrap();
            made["spec"].get("initContainers").is_some().then(|| (*made).clone())
        };
        eventually("an injected pod", object).await.unwrap()
    }

    /// Creates an object in the namespace `shop`.
    async fn create(&self, mut object: Value) -> Value {
        object["metadata"]["namespace"] = "shop".into();
        (*self.cluster.create(object).await.unwrap()).clone()
    }

    async fn events(&self, namespace: &str, reason: &str) -> Vec<String> {
        let (events, _) = self.cluster.client().list("events", &Selection::namespace(namespace)).unwrap();
        let wanted = events.iter().filter(|e| e["reason"] == reason);
        wanted.map(|e| format!("{} {}", e["involvedObject"]["name"], e["message"])).collect()
    }
}

impl Drop for Injector {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

/// A number nobody had before, for names.
fn next() -> usize {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

async fn config_map(cluster: &Cluster, name: &str, key: &str, text: &str) {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NS}, "data": {key: text}});
    cluster.apply(object).await.unwrap();
}

fn webhook_configuration() -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": WEBHOOK_CONFIGURATION},
        "webhooks": [{
            "name": "linkerd-proxy-injector.linkerd.io",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"name": "linkerd-proxy-injector", "namespace": NS, "path": "/"}},
            "failurePolicy": "Ignore",
            "sideEffects": "NoneOnDryRun",
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
                       "resources": ["pods", "services"]}],
        }],
    })
}

fn proxy_of(pod: &Value) -> &Value {
    let containers = pod["spec"]["initContainers"].as_array().unwrap();
    containers.iter().find(|c| c["name"] == "linkerd-proxy").unwrap()
}

fn env<'p>(pod: &'p Value, name: &str) -> &'p str {
    let env = proxy_of(pod)["env"].as_array().unwrap();
    env.iter().find(|e| e["name"] == name).and_then(|e| e["value"].as_str()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_an_enabled_namespace_are_injected_with_the_live_configuration() {
    let injector = Injector::start().await;
    injector.namespace("shop", json!({"linkerd.io/inject": "enabled"})).await;
    let pod = injector.pod("shop", json!({})).await;
    assert!(env(&pod, "LINKERD2_PROXY_LOG").starts_with("from-config"));
    assert!(env(&pod, "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS").starts_with("-----BEGIN CERTIFICATE"));
    assert_eq!(pod["metadata"]["labels"]["linkerd.io/control-plane-ns"], NS);
    // A change of the ConfigMap is in force without a restart.
    config_map(&injector.cluster, "linkerd-config", "values", "proxy: {logLevel: changed}").await;
    let changed = || async {
        let pod = injector.pod("shop", json!({})).await;
        env(&pod, "LINKERD2_PROXY_LOG").starts_with("changed").then_some(())
    };
    eventually("the changed configuration", changed).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_give_labels_and_receive_events() {
    let injector = Injector::start().await;
    injector.namespace("shop", json!({})).await;
    let owner = |kind: &str, name: &str, uid: &Value| json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true}]);
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
    let workload = |kind: &str, name: &str| {
        json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": "shop"},
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}})
    };
    let deployment = injector.cluster.create(workload("Deployment", "web")).await.unwrap();
    let mut set = workload("ReplicaSet", "web-5d9");
    set["metadata"]["ownerReferences"] = owner("Deployment", "web", &deployment["metadata"]["uid"]);
    let set = injector.cluster.create(set).await.unwrap();
    let pod = |name: &str, inject: &str| {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop",
                "annotations": {"linkerd.io/inject": inject, "config.linkerd.io/inbound-port": "none"},
                "ownerReferences": owner("ReplicaSet", "web-5d9", &set["metadata"]["uid"])},
            "spec": {"containers": [{"name": "web", "image": "x"}]}})
    };
    let injected = || async {
        let n = next();
        let made = injector.cluster.create(pod(&format!("web-{n}"), "enabled")).await.unwrap();
        made["spec"].get("initContainers").is_some().then(|| (*made).clone())
    };
    let made = eventually("an injected pod", injected).await.unwrap();
    let labels = &made["metadata"]["labels"];
    assert_eq!(labels["linkerd.io/proxy-deployment"], "web", "{labels}");
    injector.cluster.create(pod("skipped", "off")).await.unwrap();
    for (reason, words) in [
        ("Injected", "sidecar proxy injected"),
        ("InjectionSkipped", "must be enabled, disabled or ingress"),
        ("AnnotationIgnored", "config.linkerd.io/inbound-port"),
    ] {
        let found = || async {
            let events = injector.events("shop", reason).await;
            events.into_iter().find(|e| e.starts_with("\"web\"") && e.contains(words))
        };
        eventually(reason, found).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_owner_gives_its_label() {
    let injector = Injector::start().await;
    injector.namespace("shop", json!({"linkerd.io/inject": "enabled"})).await;
    let pod = json!({"metadata": {"labels": {"a": "b"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}});
    let job = json!({"template": pod});
    let cron = json!({"schedule": "0 3 * * *", "jobTemplate": {"spec": job}});
    let cron =
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"}, "spec": cron});
    let cron = injector.create(cron).await;
    let owned = |kind: &str, api: &str, object: &Value| {
        json!([{"apiVersion": api, "kind": kind, "name": object["metadata"]["name"], "uid": object["metadata"]["uid"],
            "controller": true}])
    };
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": job,
        "metadata": {"name": "nightly-1", "ownerReferences": owned("CronJob", "batch/v1", &cron)}});
    let job = injector.create(job).await;
    let alone = |kind: &str| json!({"metadata": {"name": kind.to_lowercase(), "uid": "6f1f1d3e-0000-4000-8000-000000000000"}});
    let owners = [
        ("cronjob", "nightly", owned("Job", "batch/v1", &job)),
        ("statefulset", "statefulset", owned("StatefulSet", "apps/v1", &alone("StatefulSet"))),
        ("daemonset", "daemonset", owned("DaemonSet", "apps/v1", &alone("DaemonSet"))),
        (
            "replicationcontroller",
            "replicationcontroller",
            owned("ReplicationController", "v1", &alone("ReplicationController")),
        ),
        // Its owner is not there any more.
        ("job", "job", owned("Job", "batch/v1", &alone("Job"))),
    ];
    for (label, name, references) in owners {
        let mut pod = pod.clone();
        pod["apiVersion"] = "v1".into();
        pod["kind"] = "Pod".into();
        pod["metadata"]["name"] = format!("of-{label}").into();
        pod["metadata"]["ownerReferences"] = references;
        let made = injector.create(pod).await;
        assert_eq!(made["metadata"]["labels"][format!("linkerd.io/proxy-{label}")], name, "{made}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_created_in_one_breath_with_its_namespace_is_injected() {
    let injector = Injector::start().await;
    for n in 0..20 {
        let namespace = format!("fresh-{n}");
        injector.namespace(&namespace, json!({"linkerd.io/inject": "enabled"})).await;
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "first", "namespace": namespace},
            "spec": {"containers": [{"name": "web", "image": "x"}]}});
        let made = injector.cluster.create(pod).await.unwrap();
        assert_eq!(proxy_of(&made)["restartPolicy"], "Always");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_on_the_nodes_network_is_left_alone_and_told_why() {
    let injector = Injector::start().await;
    injector.namespace("shop", json!({"linkerd.io/inject": "enabled"})).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "agent", "namespace": "shop"},
        "spec": {"hostNetwork": true, "containers": [{"name": "agent", "image": "x"}]}});
    let made = injector.cluster.create(pod).await.unwrap();
    assert_eq!(made["spec"].get("initContainers"), None);
    let told = || async {
        let events = injector.events("shop", "InjectionSkipped").await;
        events.into_iter().find(|e| e.starts_with("\"agent\"") && e.contains("hostNetwork is enabled"))
    };
    eventually("the event", told).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn services_get_the_opaque_ports_annotation() {
    let injector = Injector::start().await;
    injector.namespace("db", json!({})).await;
    let annotated = || async {
        let n = next();
        let service = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": format!("mysql-{n}"), "namespace": "db"},
            "spec": {"selector": {"a": "b"}, "ports": [{"port": 3306, "name": "sql"}, {"port": 80, "name": "http"}]}});
        let made = injector.cluster.create(service).await.ok()?;
        made["metadata"]["annotations"]["config.linkerd.io/opaque-ports"].as_str().map(str::to_owned)
    };
    assert_eq!(eventually("an annotated service", annotated).await.unwrap(), "3306");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_kept_in_the_secret_and_announced() {
    let injector = Injector::start().await;
    let client = injector.cluster.client();
    let secret = client.get("secrets", NS, CERTIFICATE_SECRET).unwrap();
    assert_eq!(secret["type"], "kubernetes.io/tls");
    let kind = "mutatingwebhookconfigurations.admissionregistration.k8s.io";
    let configuration = client.get(kind, "", WEBHOOK_CONFIGURATION).unwrap();
    let bundle = &configuration["webhooks"][0]["clientConfig"]["caBundle"];
    assert_eq!(*bundle, secret["data"]["ca.crt"]);
}
