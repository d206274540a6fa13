//! Injection as a real kubelet sees it: every kind of workload, what runs in it, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mesh_scenarios::{Cluster, Fleet, eventually, shop_in};
use serde_json::{Value, json};
use std::sync::LazyLock;

static FLEET: LazyLock<Fleet> = LazyLock::new(Fleet::meshed);

const DEMO: &str = "isthmus/demo:0.1.0";

fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    let mut all = list.as_array().unwrap().iter();
    all.find(|entry| entry["name"] == name).unwrap_or_else(|| panic!("no {name} in {list}"))
}

/// Asserts that every field of `expected` is in `actual` with that value; lists must be equal.
#[track_caller]
fn has(actual: &Value, expected: &Value) {
    match expected {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| has(&actual[key.as_str()], value)),
        _ => assert_eq!(actual, expected),
    }
}

fn only_pod(cluster: &Cluster, namespace: &str, selector: &str) -> Value {
    eventually(&format!("a pod of {selector}"), || {
        let pods = cluster.get(&["-n", namespace, "pods", "-l", selector])?;
        let items = pods["items"].as_array().cloned().unwrap_or_default();
        anyhow::ensure!(items.len() == 1, "{} pods", items.len());
        Ok(items[0].clone())
    })
}

fn make_namespace(cluster: &Cluster, namespace: &str) {
    cluster.kubectl(&["create", "namespace", namespace]).unwrap();
    cluster.kubectl(&["annotate", "namespace", namespace, "linkerd.io/inject=enabled"]).unwrap();
}

#[test]
#[ignore = "needs a real kubelet: cargo xtask kind test"]
fn an_injected_pod_has_what_linkerds_has() {
    let (east, ns) = (&FLEET.east, "inventory");
    shop_in(east, ns).unwrap();
    let pod = only_pod(east, ns, "app=web");
    let inits = &pod["spec"]["initContainers"];
    let order: Vec<_> = inits.as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(order, ["linkerd-init", "linkerd-network-validator", "linkerd-proxy"]);
    let labels = json!({
        "linkerd.io/control-plane-ns": "linkerd",
        "linkerd.io/workload-ns": ns,
        "linkerd.io/proxy-deployment": "web",
    });
    has(&pod["metadata"]["labels"], &labels);
    let annotations = &pod["metadata"]["annotations"];
    for written in ["linkerd.io/created-by", "linkerd.io/proxy-version", "linkerd.io/trust-root-sha256"] {
        assert!(annotations[written].as_str().is_some_and(|v| !v.is_empty()), "{written}: {annotations}");
    }
    let proxy = named(inits, "linkerd-proxy");
    has(
        proxy,
        &json!({
            "restartPolicy": "Always",
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "livenessProbe": { "httpGet": { "path": "/live", "port": 4191 }, "initialDelaySeconds": 10 },
            "readinessProbe": { "httpGet": { "path": "/ready", "port": 4191 } },
            "startupProbe": { "httpGet": { "path": "/ready", "port": 4191 }, "periodSeconds": 1, "failureThreshold": 120 },
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 2102, "readOnlyRootFilesystem": true,
                "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] },
                "seccompProfile": { "type": "RuntimeDefault" },
            },
        }),
    );
    assert!(proxy["securityContext"].get("runAsGroup").is_none(), "a negative group is unset");
    for (name, port) in [("linkerd-proxy", 4143), ("linkerd-admin", 4191)] {
        assert_eq!(named(&proxy["ports"], name)["containerPort"], port);
    }
    for (name, path) in [
        ("linkerd-identity-end-entity", "/var/run/linkerd/identity/end-entity"),
        ("linkerd-identity-token", "/var/run/secrets/tokens"),
    ] {
        assert_eq!(named(&proxy["volumeMounts"], name)["mountPath"], path);
    }
    let volumes = &pod["spec"]["volumes"];
    assert_eq!(named(volumes, "linkerd-identity-end-entity")["emptyDir"]["medium"], "Memory");
    let token = &named(volumes, "linkerd-identity-token")["projected"]["sources"][0]["serviceAccountToken"];
    has(token, &json!({ "audience": "identity.l5d.io", "expirationSeconds": 86400 }));
    environment_is_linkerds(&proxy["env"], ns);
    let init = named(inits, "linkerd-init");
    let args: Vec<_> = init["args"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
    for pair in [
        ["--incoming-proxy-port", "4143"],
        ["--outgoing-proxy-port", "4140"],
        ["--proxy-uid", "2102"],
        ["--inbound-ports-to-ignore", "4190,4191,4567,4568"],
        ["--outbound-ports-to-ignore", "4567,4568"],
    ] {
        assert!(args.windows(2).any(|w| w == pair), "{pair:?} is not in {args:?}");
    }
    let rights = &init["securityContext"]["capabilities"];
    assert_eq!(rights["drop"], json!(["ALL"]));
    let added: Vec<_> = rights["add"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
    assert!(added.iter().all(|a| ["NET_ADMIN", "NET_RAW"].contains(a)), "{added:?}");
    assert_eq!(init["securityContext"]["privileged"], false);
    assert_eq!(named(inits, "linkerd-network-validator")["securityContext"]["runAsUser"], 65534);
    assert_eq!(pod["spec"]["containers"].as_array().unwrap().len(), 1, "the application alone");
}

/// The environment of a Linkerd proxy of that pod.
#[track_caller]
fn environment_is_linkerds(env: &Value, ns: &str) {
    let value = |name: &str| named(env, name)["value"].as_str().unwrap_or_default().to_owned();
    for (name, field) in [
        ("_pod_name", "metadata.name"),
        ("_pod_ns", "metadata.namespace"),
        ("_pod_uid", "metadata.uid"),
        ("_pod_ip", "status.podIP"),
        ("_pod_nodeName", "spec.nodeName"),
        ("_pod_sa", "spec.serviceAccountName"),
        ("LINKERD2_PROXY_INBOUND_IPS", "status.podIPs"),
    ] {
        assert_eq!(named(env, name)["valueFrom"]["fieldRef"]["fieldPath"], field, "{name} in {ns}");
    }
    for (name, expected) in [
        ("_pod_containerName", "linkerd-proxy"),
        ("_l5d_ns", "linkerd"),
        ("_l5d_trustdomain", "cluster.local"),
        ("DESTINATION_SVC_ADDR", "linkerd-dst-headless.linkerd.svc.cluster.local.:8086"),
        ("DESTINATION_SVC_NAME", "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local"),
        ("DESTINATION_PROFILE_SUFFIXES", "svc.cluster.local."),
        ("POLICY_SVC_ADDR", "linkerd-policy.linkerd.svc.cluster.local.:8090"),
        ("IDENTITY_SVC_ADDR", "linkerd-identity-headless.linkerd.svc.cluster.local.:8080"),
        ("IDENTITY_SVC_NAME", "linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local"),
        ("IDENTITY_DIR", "/var/run/linkerd/identity/end-entity"),
        (
            "IDENTITY_LOCAL_NAME",
            "$(_pod_sa).$(_pod_ns).serviceaccount.identity.$(_l5d_ns).$(_l5d_trustdomain)",
        ),
        ("INBOUND_DEFAULT_POLICY", "all-unauthenticated"),
        ("CONTROL_STREAM_INITIAL_TIMEOUT", "3s"),
        ("CONTROL_STREAM_IDLE_TIMEOUT", "5m"),
        ("CONTROL_STREAM_LIFETIME", "1h"),
        ("INBOUND_CONNECT_TIMEOUT", "100ms"),
        ("OUTBOUND_CONNECT_TIMEOUT", "1000ms"),
        ("OUTBOUND_DISCOVERY_IDLE_TIMEOUT", "5s"),
        ("INBOUND_DISCOVERY_IDLE_TIMEOUT", "90s"),
        ("OUTBOUND_LISTEN_ADDRS", "127.0.0.1:4140"),
        ("INBOUND_LISTEN_ADDR", "0.0.0.0:4143"),
        ("INBOUND_PORTS", "8080"),
        ("INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", "25,587,3306,4444,5432,6379,9300,11211"),
        ("SHUTDOWN_ENDPOINT_ENABLED", "false"),
        ("LOG_FORMAT", "plain"),
    ] {
        let name = if name.starts_with('_') { name.to_owned() } else { format!("LINKERD2_PROXY_{name}") };
        assert_eq!(value(&name), expected, "{name}");
    }
    assert!(value("LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS").starts_with("-----BEGIN CERTIFICATE-----"));
}

#[test]
#[ignore = "needs a real kubelet: cargo xtask kind test"]
fn a_job_ends_when_its_main_container_ends_and_its_first_call_is_meshed() {
    let (east, ns) = (&FLEET.east, "jobs");
    shop_in(east, ns).unwrap();
    let job = format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{ name: once, namespace: {ns} }}\nspec:\n  backoffLimit: 0\n  \
         template:\n    spec:\n      restartPolicy: Never\n      containers:\n        - name: once\n          \
         image: {DEMO}\n          args: [call, \"catalog:80/items\"]\n"
    );
    east.apply(&job).unwrap();
    let complete = ["-n", ns, "wait", "--for=condition=Complete", "job/once", "--timeout=90s"];
    east.kubectl(&complete).unwrap_or_else(|error| {
        let pod = east.kubectl(&["-n", ns, "describe", "pods", "-l", "job-name=once"]).unwrap_or_default();
        let said = east.kubectl(&["-n", ns, "logs", "-l", "job-name=once", "-c", "once"]).unwrap_or_default();
        panic!("{error:#}\n{said}\n{pod}")
    });
    let pod = only_pod(east, ns, "job-name=once");
    assert_eq!(pod["status"]["phase"], "Succeeded");
    assert_eq!(pod["metadata"]["labels"]["linkerd.io/proxy-job"], "once");
    assert!(!named(&pod["spec"]["initContainers"], "linkerd-proxy").is_null());
    let id = format!("client_id=\"default.{ns}.serviceaccount.identity.linkerd.cluster.local\"");
    eventually("catalog's proxy counted the job's identity", || {
        let metrics = east.proxy_metrics(ns, "catalog").map_err(|e| format!("{e:#}"))?;
        if metrics.contains(&id) { Ok(()) } else { Err(metrics) }
    });
}

#[test]
#[ignore = "needs a real kubelet: cargo xtask kind test"]
fn stateful_sets_daemon_sets_and_classic_sidecars_are_meshed() {
    let (east, ns) = (&FLEET.east, "kinds");
    shop_in(east, ns).unwrap();
    let container = |name: &str| {
        format!(
            "containers:\n        - name: {name}\n          image: {DEMO}\n          args: [pricing, --listen, \
             \"0.0.0.0:50051\"]\n          ports: [{{ name: grpc, containerPort: 50051 }}]\n          \
             readinessProbe: {{ tcpSocket: {{ port: grpc }}, periodSeconds: 1 }}\n"
        )
    };
    let template = |app: &str, annotations: &str| {
        format!(
            "  selector: {{ matchLabels: {{ app: {app} }} }}\n  template:\n    metadata:\n      \
             labels: {{ app: {app} }}\n      annotations: {{ {annotations} }}\n    spec:\n      {}",
            container(app)
        )
    };
    let service = |name: &str, more: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{ name: {name}, namespace: {ns} }}\nspec:\n  {more}\
             selector: {{ app: {name} }}\n  \
             ports: [{{ name: grpc, port: 50051, appProtocol: kubernetes.io/h2c }}]\n---\n"
        )
    };
    let classic = "config.linkerd.io/proxy-enable-native-sidecar: \"false\"";
    let manifests = [
        service("members", "clusterIP: None\n  "),
        format!(
            "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{ name: members, namespace: {ns} }}\nspec:\n  \
                 serviceName: members\n  replicas: 2\n{}---\n",
            template("members", "")
        ),
        service("everywhere", ""),
        format!(
            "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{ name: everywhere, namespace: {ns} }}\nspec:\n{}---\n",
            template("everywhere", "")
        ),
        service("classic", ""),
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: classic, namespace: {ns} }}\nspec:\n{}",
            template("classic", classic)
        ),
    ];
    east.apply(&manifests.concat()).unwrap();
    for workload in ["statefulset/members", "daemonset/everywhere", "deployment/classic"] {
        east.kubectl(&["-n", ns, "rollout", "status", workload, "--timeout=180s"]).unwrap();
    }
    for target in ["members-1.members:50051", "members:50051", "everywhere:50051", "classic:50051"] {
        let quoted = east.call_ok(ns, "web", &["--protocol=grpc-quote", target]);
        assert_eq!(quoted.body(), "[700, 400]", "{target}");
    }
    for (pod, owner) in [("members-1", "statefulset"), ("everywhere", "daemonset"), ("classic", "deployment")]
    {
        let selector = if pod == "members-1" {
            "statefulset.kubernetes.io/pod-name=members-1"
        } else {
            &format!("app={pod}")
        };
        let pod = only_pod(east, ns, selector);
        let label = format!("linkerd.io/proxy-{owner}");
        assert!(pod["metadata"]["labels"][&label].is_string(), "{label} of {}", pod["metadata"]["name"]);
    }
    // A classic sidecar comes first, and the application waits for it.
    let pod = only_pod(east, ns, "app=classic");
    assert_eq!(pod["spec"]["containers"][0]["name"], "linkerd-proxy");
    assert!(pod["spec"]["containers"][0]["lifecycle"]["postStart"]["exec"].is_object());
    let restarts = pod["status"]["containerStatuses"].as_array().unwrap().iter().map(|c| &c["restartCount"]);
    assert!(restarts.into_iter().all(|count| *count == 0), "{}", pod["status"]);
    let id = format!("client_id=\"web.{ns}.serviceaccount.identity.linkerd.cluster.local\"");
    for pod in ["members-1", pod["metadata"]["name"].as_str().unwrap()] {
        eventually(&format!("the proxy of {pod} counts the caller's identity"), || {
            let path = format!("/api/v1/namespaces/{ns}/pods/{pod}:4191/proxy/metrics");
            let metrics = east.kubectl(&["get", "--raw", &path])?;
            anyhow::ensure!(metrics.contains(&id), "{metrics}");
            Ok(())
        });
    }
}

#[test]
#[ignore = "needs a real kubelet: cargo xtask kind test"]
fn pods_in_the_hosts_network_are_left_alone_and_their_owner_is_told() {
    let (east, ns) = (&FLEET.east, "hostnetwork");
    make_namespace(east, ns);
    let manifest = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: host, namespace: {ns} }}\nspec:\n  \
         selector: {{ matchLabels: {{ app: host }} }}\n  template:\n    metadata: {{ labels: {{ app: host }} }}\n    \
         spec:\n      hostNetwork: true\n      containers:\n        - name: host\n          image: {DEMO}\n          \
         args: [pricing, --listen, \"127.0.0.1:50951\"]\n"
    );
    east.apply(&manifest).unwrap();
    east.rolled_out(ns, "host").unwrap();
    let pod = only_pod(east, ns, "app=host");
    assert!(!pod.to_string().contains("linkerd-proxy"), "{pod}");
    eventually("the Deployment has an event that says why", || {
        let events = east.get(&["-n", ns, "events", "--field-selector", "reason=InjectionSkipped"])?;
        let items = events["items"].as_array().cloned().unwrap_or_default();
        let told = items.iter().any(|e| {
            e["involvedObject"]["name"] == "host" && e["message"].to_string().to_lowercase().contains("host")
        });
        anyhow::ensure!(told, "{events}");
        Ok(())
    });
}

#[test]
#[ignore = "needs a real kubelet: cargo xtask kind test"]
fn probes_pass_where_everything_else_is_denied() {
    let (east, ns) = (&FLEET.east, "denied");
    make_namespace(east, ns);
    let policy = "config.linkerd.io/default-inbound-policy=deny";
    east.kubectl(&["annotate", "namespace", ns, policy]).unwrap();
    shop_in(east, ns).unwrap();
    let refused = eventually("a call is refused", || {
        let called = east.call(ns, "web", &["catalog:80/items"]).map_err(|e| format!("{e:#}"))?;
        if called.status() == Some(403) { Ok(called) } else { Err(called.0.to_string()) }
    });
    assert!(!refused.ok());
    let catalog = only_pod(east, ns, "app=catalog");
    assert!(catalog["status"]["containerStatuses"][0]["ready"] == true, "{}", catalog["status"]);
}
