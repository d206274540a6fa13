//! What is installed asks for as little as it can: Pod Security, permissions, and webhooks that cannot lock a cluster.

#![allow(clippy::unwrap_used, reason = "a test, also outside of its test functions")]

use mesh_testkit::{Cluster, Http};
use serde_json::{Value, json};
use std::process::Command;

/// The objects that a command prints without looking at a cluster.
fn printed(words: &[&str]) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_meshctl")).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

const CONTROL_PLANE: &[&str] = &["install", "--ignore-cluster"];
const MULTICLUSTER: &[&str] = &["multicluster", "install", "--ignore-cluster"];

fn with<'w>(words: &[&'w str], more: &[&'w str]) -> Vec<Value> {
    printed(&[words, more].concat())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// What the Pod Security level `restricted` forbids of a pod (<https://kubernetes.io/docs/concepts/security/pod-security-standards/>).
fn violations(spec: &Value) -> Vec<String> {
    let mut out = Vec::new();
    for host in ["hostNetwork", "hostPID", "hostIPC"] {
        if spec[host] == true {
            out.push(host.to_owned());
        }
    }
    let volumes = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    for volume in list(&spec["volumes"]) {
        if !volume.as_object().unwrap().keys().all(|k| k == "name" || volumes.contains(&k.as_str())) {
            out.push(format!("volume {}", volume["name"]));
        }
    }
    for container in list(&spec["initContainers"]).chain(list(&spec["containers"])) {
        let (name, context) = (text(&container["name"]), &container["securityContext"]);
        let mut must = |holds: bool, what: &str| {
            if !holds {
                out.push(format!("{name}: {what}"));
            }
        };
        must(context["privileged"] != true, "privileged");
        must(context["allowPrivilegeEscalation"] == false, "allowPrivilegeEscalation");
        must(context["runAsNonRoot"] == true, "runAsNonRoot");
        must(context["runAsUser"] != 0, "runAsUser");
        let seccomp = text(&context["seccompProfile"]["type"]);
        must(["RuntimeDefault", "Localhost"].contains(&seccomp), "seccompProfile");
        must(list(&context["capabilities"]["drop"]).any(|c| c == "ALL"), "capabilities are not dropped");
        must(
            list(&context["capabilities"]["add"]).all(|c| c == "NET_BIND_SERVICE"),
            "capabilities are added",
        );
        must(list(&container["ports"]).all(|p| p.get("hostPort").is_none()), "hostPort");
        // Not part of the level, and kept all the same.
        must(context["readOnlyRootFilesystem"] == true, "the root file system can be written");
    }
    out
}

fn pods(objects: &[Value]) -> Vec<(&str, &Value)> {
    let deployments = objects.iter().filter(|o| o["kind"] == "Deployment");
    deployments.map(|d| (text(&d["metadata"]["name"]), &d["spec"]["template"]["spec"])).collect()
}

#[test]
fn every_pod_is_restricted_but_for_the_container_that_writes_rules() {
    let rules =
        ["linkerd-init: runAsNonRoot", "linkerd-init: runAsUser", "linkerd-init: capabilities are added"];
    for more in [&[][..], &["--ha"], &["--native-sidecar=false"]] {
        let objects = with(CONTROL_PLANE, more);
        assert_eq!(pods(&objects).len(), 3);
        for (name, spec) in pods(&objects) {
            assert_eq!(violations(spec), rules, "{name} with {more:?}");
        }
        let objects = with(CONTROL_PLANE, &[more, &["--linkerd-cni-enabled"]].concat());
        for (name, spec) in pods(&objects) {
            assert_eq!(violations(spec), [""; 0], "{name} with a CNI plugin and {more:?}");
        }
        let namespace = objects.iter().find(|o| o["kind"] == "Namespace").unwrap();
        assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    }
    // The gateway's proxy is injected; of what the chart holds nothing needs more.
    for more in [&[][..], &["--ha"]] {
        let objects = with(MULTICLUSTER, more);
        assert_eq!(pods(&objects).len(), 2);
        for (name, spec) in pods(&objects) {
            assert_eq!(violations(spec), [""; 0], "{name} with {more:?}");
        }
    }
}

#[test]
fn the_checker_sees_what_is_forbidden() {
    let bad = json!({"hostNetwork": true, "volumes": [{"name": "v", "hostPath": {"path": "/"}}],
        "containers": [{"name": "c", "ports": [{"hostPort": 80}], "securityContext": {"privileged": true,
            "runAsUser": 0, "capabilities": {"add": ["SYS_ADMIN"]}}}]});
    assert_eq!(violations(&bad).len(), 11, "{:?}", violations(&bad));
}

fn rules(objects: &[Value]) -> Vec<(String, Value)> {
    let roles = objects.iter().filter(|o| o["kind"] == "ClusterRole" || o["kind"] == "Role");
    let named = |role: &Value| {
        let name = format!("{} {}", text(&role["kind"]), text(&role["metadata"]["name"]));
        list(&role["rules"]).map(|rule| (name.clone(), rule.clone())).collect::<Vec<_>>()
    };
    roles.flat_map(named).collect()
}

#[test]
fn no_role_grants_more_than_named_kinds_and_named_secrets() {
    let mut all = rules(&with(CONTROL_PLANE, &["--ha"]));
    all.extend(rules(&with(MULTICLUSTER, &["--ha", "--set=enableNamespaceCreation=true"])));
    assert!(all.len() >= 15);
    for (role, rule) in all {
        for part in ["apiGroups", "resources", "verbs"] {
            assert!(list(&rule[part]).all(|v| v != "*"), "{role}: {part} of {rule}");
        }
        let of = |resource: &str| list(&rule["resources"]).any(|r| r == resource);
        let verbs: Vec<&str> = list(&rule["verbs"]).map(text).collect();
        if of("secrets") && verbs != ["create"] {
            assert!(role.starts_with("Role "), "{role} reaches Secrets of all namespaces");
            // The mirror reads the credentials of all links, whose names it cannot know; its namespace holds no others.
            let named = rule.get("resourceNames").is_some() || role == "Role linkerd-service-mirror";
            assert!(named, "{role}: {rule}");
        }
        if of("configmaps") {
            assert!(rule.get("resourceNames").is_some(), "{role}: {rule}");
        }
        assert!(!of("pods/exec") && !of("nodes/proxy") && !of("serviceaccounts/token"), "{role}: {rule}");
    }
}

/// An account of the control plane, over HTTP.
async fn account(cluster: &Cluster, name: &str) -> Http {
    let token = cluster.token("linkerd", name, "").unwrap();
    cluster.http_with_token(Some(&token)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_read_their_own_secrets_and_no_others() {
    let cluster = Cluster::start().await.unwrap();
    for object in [with(&["install", "--crds"], &[]), with(CONTROL_PLANE, &[])].concat() {
        cluster.create(object).await.unwrap();
    }
    let secrets = "/api/v1/namespaces/linkerd/secrets";
    let status = |http: Http, path: String| async move { http.get(&path).await.unwrap().status.as_u16() };
    for (name, own) in [
        ("linkerd-identity", Some("linkerd-identity-issuer")),
        ("linkerd-destination", None),
        ("linkerd-proxy-injector", None),
    ] {
        let of = |path: String| {
            let cluster = &cluster;
            async move { status(account(cluster, name).await, path).await }
        };
        assert_eq!(of(secrets.to_owned()).await, 403, "{name} lists all Secrets");
        assert_eq!(of(format!("{secrets}/linkerd-config-overrides")).await, 403, "{name}");
        let issuer = format!("{secrets}?fieldSelector=metadata.name%3Dlinkerd-identity-issuer");
        assert_eq!(of(issuer).await, if own.is_some() { 200 } else { 403 }, "{name} lists the issuer");
        assert_eq!(of("/api/v1/namespaces/kube-system/secrets".to_owned()).await, 403, "{name}");
        assert_eq!(of("/api/v1/namespaces/linkerd/configmaps".to_owned()).await, 403, "{name}");
    }
    let destination = account(&cluster, "linkerd-destination").await;
    for path in
        ["/api/v1/pods", "/api/v1/services", "/api/v1/namespaces", "/apis/discovery.k8s.io/v1/endpointslices"]
    {
        assert_eq!(destination.get(path).await.unwrap().status.as_u16(), 200, "{path}");
    }
    assert_eq!(destination.get("/api/v1/nodes").await.unwrap().status.as_u16(), 403);
}

/// The admission rules by which a webhook is asked, in short: does a selector select these labels?
fn selects(selector: &Value, labels: &Value) -> bool {
    let equal = selector["matchLabels"].as_object().into_iter().flatten().all(|(k, v)| labels[k] == *v);
    let expressions = list(&selector["matchExpressions"]).all(|e| {
        let value = &labels[text(&e["key"])];
        let among = list(&e["values"]).any(|v| v == value);
        match text(&e["operator"]) {
            "In" => among,
            "NotIn" => !among,
            "Exists" => !value.is_null(),
            _ => value.is_null(),
        }
    });
    equal && expressions
}

#[test]
fn the_webhook_cannot_keep_a_cluster_or_itself_from_starting() {
    let own_rules = "--set=proxyInjector.namespaceSelector.matchExpressions=null";
    for (more, policy) in
        [(&[][..], "Ignore"), (&["--ha"], "Fail"), (&["--set=webhookFailurePolicy=Fail", own_rules], "Fail")]
    {
        let objects = with(CONTROL_PLANE, more);
        let webhooks = objects.iter().filter(|o| text(&o["kind"]).ends_with("WebhookConfiguration"));
        let webhooks: Vec<&Value> = webhooks.flat_map(|c| list(&c["webhooks"])).collect();
        assert!(!webhooks.is_empty());
        for webhook in webhooks {
            let required = text(&webhook["name"]).starts_with("linkerd-proxy-injector-required.");
            assert_eq!(webhook["failurePolicy"], if required { "Fail" } else { policy }, "{more:?}");
            assert!(webhook["timeoutSeconds"].as_i64().unwrap() <= 10);
            let asked = |labels: Value| selects(&webhook["namespaceSelector"], &labels);
            let name = "kubernetes.io/metadata.name";
            assert!(asked(json!({name: "shop"})));
            // Its own namespace is left out whatever the values say and however Helm's namespace is labelled.
            assert!(!asked(json!({name: "linkerd"})), "{more:?}");
            if !more.contains(&own_rules) {
                assert!(!asked(json!({name: "kube-system"})));
                assert!(!asked(json!({name: "shop", "config.linkerd.io/admission-webhooks": "disabled"})));
            }
            assert!(!selects(
                &webhook["objectSelector"],
                &json!({"linkerd.io/control-plane-component": "identity"})
            ));
            // Nothing that nodes and leader election live by.
            for rule in list(&webhook["rules"]) {
                assert_eq!(rule["scope"], "Namespaced");
                assert!(list(&rule["resources"]).all(|r| r == "pods" || r == "services"), "{rule}");
                assert!(!required || list(&rule["resources"]).all(|r| r == "pods"), "{rule}");
            }
            // A pod is asked about once, with or without the label, and not any more once it has a proxy.
            let label = "isthmus.dev/require-proxy";
            assert_eq!(selects(&webhook["objectSelector"], &json!({})), !required);
            assert_eq!(selects(&webhook["objectSelector"], &json!({label: "true"})), required);
            let injected = json!({label: "true", "linkerd.io/control-plane-ns": "linkerd"});
            assert!(!selects(&webhook["objectSelector"], &injected));
        }
    }
}

#[test]
fn high_availability_spreads_replicas_and_bounds_what_they_use() {
    for (objects, least) in [(with(CONTROL_PLANE, &["--ha"]), 3), (with(MULTICLUSTER, &["--ha"]), 2)] {
        for deployment in objects.iter().filter(|o| o["kind"] == "Deployment") {
            let name = text(&deployment["metadata"]["name"]);
            assert!(deployment["spec"]["replicas"].as_i64().unwrap() >= least, "{name}");
            let labels = &deployment["spec"]["template"]["metadata"]["labels"];
            let budget = objects.iter().filter(|o| o["kind"] == "PodDisruptionBudget");
            let budgets = budget.filter(|b| selects(&b["spec"]["selector"], labels)).count();
            assert_eq!(budgets, 1, "{name} has no PodDisruptionBudget");
            let spec = &deployment["spec"]["template"]["spec"];
            let anti = &spec["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
            let apart = list(anti).any(|t| {
                selects(&t["labelSelector"], labels) && t["topologyKey"] == "kubernetes.io/hostname"
            });
            assert!(apart, "{name} may have all replicas on one node");
            let own =
                list(&spec["containers"]).filter(|c| !["pause", "linkerd-proxy"].contains(&text(&c["name"])));
            for container in own {
                let resources = &container["resources"];
                assert!(resources["requests"]["cpu"].is_string(), "{name}: {}", container["name"]);
                assert!(resources["limits"]["memory"].is_string(), "{name}: {}", container["name"]);
            }
        }
    }
    let objects = with(CONTROL_PLANE, &["--set=priorityClassName=system-cluster-critical"]);
    assert!(pods(&objects).iter().all(|(_, spec)| spec["priorityClassName"] == "system-cluster-critical"));
}
