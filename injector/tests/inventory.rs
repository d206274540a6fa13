//! What an injected pod has, item by item: the tables are the inventory that users' scripts, policies and dashboards
//! rely on (names, ports, arguments, user ids, volumes, probes, environment), for each variant of a sidecar.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mesh_injector::{Annotations, Injection, Owner, Values, Workload, inject};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A pod with two ports, in a namespace that asks for injection, owned by a Deployment.
fn injected(annotations: Value, change: impl FnOnce(&mut Values)) -> Value {
    let ports = json!([{"name": "sql", "containerPort": 3306}, {"containerPort": 80}]);
    let pod = json!({
        "metadata": {"labels": {"app": "web"}, "annotations": annotations},
        "spec": {"serviceAccountName": "web", "containers": [{"name": "web", "image": "shop/web", "ports": ports}]},
    });
    let namespace: Annotations = [("linkerd.io/inject".to_owned(), "enabled".to_owned())].into();
    let owner = Owner { kind: "Deployment".into(), name: "web".into() };
    let workload = Workload {
        namespace: "shop",
        namespace_annotations: &namespace,
        owner: Some(&owner),
        control_plane_namespace: "linkerd",
        created_by: "isthmus/test",
    };
    let mut values = Values { linkerd_version: "1.2.3".into(), ..Values::default() };
    change(&mut values);
    match inject(&pod, &workload, &values) {
        Injection::Injected(pod, warnings) => {
            assert_eq!(warnings, []);
            *pod
        }
        Injection::Skipped(reason) => panic!("{reason:?}"),
    }
}

fn names(pod: &Value, list: &str) -> Vec<String> {
    let items = pod["spec"][list].as_array().into_iter().flatten();
    items.map(|c| c["name"].as_str().unwrap().to_owned()).collect()
}

fn container<'p>(pod: &'p Value, name: &str) -> &'p Value {
    let lists = ["initContainers", "containers"].into_iter().filter_map(|l| pod["spec"][l].as_array());
    lists.flatten().find(|c| c["name"] == name).unwrap()
}

fn args(pod: &Value, name: &str) -> String {
    let args = container(pod, name)["args"].as_array().unwrap().iter();
    args.map(|a| a.as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

/// The proxy's environment as texts; what comes from the pod's fields is written `@path`.
fn env(pod: &Value) -> BTreeMap<String, String> {
    let list = container(pod, "linkerd-proxy")["env"].as_array().unwrap().iter();
    list.map(|e| {
        let field = e["valueFrom"]["fieldRef"]["fieldPath"].as_str().map(|f| format!("@{f}"));
        let value = field.unwrap_or_else(|| e["value"].as_str().unwrap().to_owned());
        (e["name"].as_str().unwrap().trim_start_matches("LINKERD2_PROXY_").to_owned(), value)
    })
    .collect()
}

const NETWORKS: &str = "10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16,fd00::/8";

/// The environment of every proxy, without the prefix `LINKERD2_PROXY_`.
const ENV: &[(&str, &str)] = &[
    ("_pod_name", "@metadata.name"),
    ("_pod_ns", "@metadata.namespace"),
    ("_pod_uid", "@metadata.uid"),
    ("_pod_ip", "@status.podIP"),
    ("_pod_nodeName", "@spec.nodeName"),
    ("_pod_containerName", "linkerd-proxy"),
    ("_pod_sa", "@spec.serviceAccountName"),
    ("_l5d_ns", "linkerd"),
    ("_l5d_trustdomain", "cluster.local"),
    ("CORES_MIN", "1"),
    ("LOG", "warn,linkerd=info,hickory=error,[{headers}]=off,[{request}]=off"),
    ("LOG_FORMAT", "plain"),
    ("SHUTDOWN_ENDPOINT_ENABLED", "false"),
    ("DESTINATION_SVC_ADDR", "linkerd-dst-headless.linkerd.svc.cluster.local.:8086"),
    ("DESTINATION_SVC_NAME", "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local"),
    ("DESTINATION_PROFILE_NETWORKS", NETWORKS),
    ("DESTINATION_PROFILE_SUFFIXES", "svc.cluster.local."),
    ("DESTINATION_CONTEXT", r#"{"ns":"$(_pod_ns)", "nodeName":"$(_pod_nodeName)", "pod":"$(_pod_name)"}"#),
    ("POLICY_SVC_ADDR", "linkerd-policy.linkerd.svc.cluster.local.:8090"),
    ("POLICY_SVC_NAME", "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local"),
    ("POLICY_WORKLOAD", r#"{"ns":"$(_pod_ns)", "pod":"$(_pod_name)"}"#),
    ("POLICY_CLUSTER_NETWORKS", NETWORKS),
    ("INBOUND_DEFAULT_POLICY", "all-unauthenticated"),
    ("CONTROL_STREAM_INITIAL_TIMEOUT", "3s"),
    ("CONTROL_STREAM_IDLE_TIMEOUT", "5m"),
    ("CONTROL_STREAM_LIFETIME", "1h"),
    ("CONTROL_LISTEN_ADDR", "0.0.0.0:4190"),
    ("ADMIN_LISTEN_ADDR", "0.0.0.0:4191"),
    ("INBOUND_LISTEN_ADDR", "0.0.0.0:4143"),
    ("OUTBOUND_LISTEN_ADDR", "127.0.0.1:4140"),
    ("OUTBOUND_LISTEN_ADDRS", "127.0.0.1:4140"),
    ("INBOUND_IPS", "@status.podIPs"),
    ("INBOUND_PORTS", "80,3306"),
    ("INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", "25,587,3306,4444,5432,6379,9300,11211"),
    ("INBOUND_CONNECT_TIMEOUT", "100ms"),
    ("OUTBOUND_CONNECT_TIMEOUT", "1000ms"),
    ("OUTBOUND_DISCOVERY_IDLE_TIMEOUT", "5s"),
    ("INBOUND_DISCOVERY_IDLE_TIMEOUT", "90s"),
    ("INBOUND_ACCEPT_KEEPALIVE", "10000ms"),
    ("OUTBOUND_CONNECT_KEEPALIVE", "10000ms"),
    ("INBOUND_ACCEPT_USER_TIMEOUT", "30s"),
    ("OUTBOUND_CONNECT_USER_TIMEOUT", "30s"),
    ("INBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL", "10s"),
    ("INBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT", "3s"),
    ("OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL", "10s"),
    ("OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT", "3s"),
    ("OUTBOUND_METRICS_HOSTNAME_LABELS", "false"),
    ("IDENTITY_DIR", "/var/run/linkerd/identity/end-entity"),
    ("IDENTITY_TRUST_ANCHORS", "anchors"),
    ("IDENTITY_TOKEN_FILE", "/var/run/secrets/tokens/linkerd-identity-token"),
    ("IDENTITY_SVC_ADDR", "linkerd-identity-headless.linkerd.svc.cluster.local.:8080"),
    ("IDENTITY_SVC_NAME", "linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local"),
    ("IDENTITY_LOCAL_NAME", "$(_pod_sa).$(_pod_ns).serviceaccount.identity.$(_l5d_ns).$(_l5d_trustdomain)"),
];

/// Keys and values.
type Pairs = &'static [(&'static str, &'static str)];

/// Each variant by name, its annotations, and what they change in [`ENV`].
const VARIANTS: &[(&str, Pairs, Pairs)] = &[
    ("plain", &[], &[]),
    ("ingress", &[("linkerd.io/inject", "ingress")], &[("INGRESS_MODE", "true")]),
    (
        "gateway",
        &[("config.linkerd.io/enable-gateway", "true")],
        &[
            ("INBOUND_GATEWAY_SUFFIXES", "svc.cluster.local."),
            ("ISTHMUS_GATEWAY_PROBE_LISTEN_ADDR", "0.0.0.0:4192"),
        ],
    ),
    (
        "other ports",
        &[
            ("config.linkerd.io/inbound-port", "5143"),
            ("config.linkerd.io/outbound-port", "5140"),
            ("config.linkerd.io/control-port", "5190"),
            ("config.linkerd.io/admin-port", "5191"),
            ("config.linkerd.io/pod-inbound-ports", "80"),
            ("config.linkerd.io/opaque-ports", "sql"),
        ],
        &[
            ("INBOUND_LISTEN_ADDR", "0.0.0.0:5143"),
            ("OUTBOUND_LISTEN_ADDR", "127.0.0.1:5140"),
            ("OUTBOUND_LISTEN_ADDRS", "127.0.0.1:5140"),
            ("CONTROL_LISTEN_ADDR", "0.0.0.0:5190"),
            ("ADMIN_LISTEN_ADDR", "0.0.0.0:5191"),
            ("INBOUND_PORTS", "80"),
            ("INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", "3306"),
        ],
    ),
    (
        "limits and logs",
        &[
            ("config.linkerd.io/proxy-cpu-limit", "1500m"),
            ("config.linkerd.io/proxy-cpu-ratio-limit", "0.5"),
            ("config.linkerd.io/proxy-log-level", "debug"),
            ("config.linkerd.io/proxy-log-format", "json"),
            ("config.linkerd.io/proxy-log-http-headers", "insecure"),
            ("config.linkerd.io/access-log", "apache"),
            ("config.linkerd.io/proxy-metrics-hostname-labels", "true"),
        ],
        &[
            ("CORES", "2"),
            ("CORES_MAX", "2"),
            ("CORES_MAX_RATIO", "0.5"),
            ("LOG", "debug"),
            ("LOG_FORMAT", "json"),
            ("ACCESS_LOG", "apache"),
            ("OUTBOUND_METRICS_HOSTNAME_LABELS", "true"),
        ],
    ),
    (
        "times and policy",
        &[
            ("config.linkerd.io/shutdown-grace-period", "30s"),
            ("config.linkerd.io/proxy-admin-shutdown", "enabled"),
            ("config.linkerd.io/default-inbound-policy", "cluster-authenticated"),
            ("config.linkerd.io/proxy-require-identity-inbound-ports", "80"),
            ("config.linkerd.io/enable-external-profiles", "true"),
            ("config.linkerd.io/proxy-outbound-connect-timeout", "2s"),
            ("config.linkerd.io/proxy-inbound-connect-timeout", "3s"),
            ("config.linkerd.io/proxy-outbound-discovery-cache-unused-timeout", "4s"),
            ("config.linkerd.io/proxy-inbound-discovery-cache-unused-timeout", "5s"),
            ("config.linkerd.io/proxy-disable-outbound-protocol-detect-timeout", "true"),
            ("config.linkerd.io/proxy-disable-inbound-protocol-detect-timeout", "true"),
            ("config.linkerd.io/proxy-additional-env", r#"[{"name":"TZ","value":"UTC"}]"#),
        ],
        &[
            ("SHUTDOWN_GRACE_PERIOD", "30s"),
            ("SHUTDOWN_ENDPOINT_ENABLED", "true"),
            ("INBOUND_DEFAULT_POLICY", "cluster-authenticated"),
            ("INBOUND_PORTS_REQUIRE_IDENTITY", "80"),
            ("DESTINATION_PROFILE_SUFFIXES", "."),
            ("OUTBOUND_CONNECT_TIMEOUT", "2s"),
            ("INBOUND_CONNECT_TIMEOUT", "3s"),
            ("OUTBOUND_DISCOVERY_IDLE_TIMEOUT", "4s"),
            ("INBOUND_DISCOVERY_IDLE_TIMEOUT", "5s"),
            ("OUTBOUND_DETECT_TIMEOUT", "365d"),
            ("INBOUND_DETECT_TIMEOUT", "365d"),
            ("TZ", "UTC"),
        ],
    ),
];

#[test]
fn the_environment_is_the_inventory_in_every_variant() {
    for (name, annotations, changes) in VARIANTS {
        let annotations: serde_json::Map<String, Value> =
            annotations.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
        let pod = injected(annotations.into(), |v| v.identity_trust_anchors_pem = "anchors".into());
        let expected = ENV.iter().chain(*changes).map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        assert_eq!(env(&pod), expected.collect::<BTreeMap<_, _>>(), "{name}");
    }
}

#[test]
fn ipv6_opens_both_families() {
    let pod = injected(json!({}), |v| v.disable_ipv6 = false);
    let found = env(&pod);
    for (name, value) in [
        ("INBOUND_LISTEN_ADDR", "[::]:4143"),
        ("ADMIN_LISTEN_ADDR", "[::]:4191"),
        ("CONTROL_LISTEN_ADDR", "[::]:4190"),
        ("OUTBOUND_LISTEN_ADDR", "127.0.0.1:4140"),
        ("OUTBOUND_LISTEN_ADDRS", "127.0.0.1:4140,[::1]:4140"),
        ("INBOUND_IPS", "@status.podIPs"),
    ] {
        assert_eq!(found[name], value, "{name}");
    }
    assert!(args(&pod, "linkerd-init").contains("--ipv6 true"));
    assert!(args(&pod, "linkerd-network-validator").ends_with("--ipv6"));
}

#[test]
fn a_native_sidecar_runs_right_after_what_prepares_the_network() {
    let pod = injected(json!({}), |_| {});
    assert_eq!(names(&pod, "initContainers"), ["linkerd-init", "linkerd-network-validator", "linkerd-proxy"]);
    assert_eq!(names(&pod, "containers"), ["web"]);
    assert_eq!(names(&pod, "volumes"), ["linkerd-identity-end-entity", "linkerd-identity-token"]);
    let proxy = container(&pod, "linkerd-proxy");
    assert_eq!(proxy["restartPolicy"], "Always");
    let startup = json!({
        "httpGet": {"path": "/ready", "port": 4191}, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 120,
    });
    assert_eq!(proxy["startupProbe"], startup);
    assert_eq!(proxy.get("lifecycle"), None);
    let not_awaited = injected(json!({"config.linkerd.io/proxy-await": "disabled"}), |_| {});
    assert_eq!(container(&not_awaited, "linkerd-proxy").get("startupProbe"), None);
}

#[test]
fn a_classic_sidecar_comes_first_where_it_is_awaited_and_last_where_not() {
    let classic = |awaited: &str| {
        let annotations = json!({
            "config.linkerd.io/proxy-enable-native-sidecar": "false",
            "config.linkerd.io/proxy-await": awaited,
            "config.alpha.linkerd.io/proxy-wait-before-exit-seconds": "7",
        });
        injected(annotations, |_| {})
    };
    let pod = classic("enabled");
    assert_eq!(names(&pod, "initContainers"), ["linkerd-init", "linkerd-network-validator"]);
    assert_eq!(names(&pod, "containers"), ["linkerd-proxy", "web"]);
    let proxy = container(&pod, "linkerd-proxy");
    assert_eq!(proxy.get("restartPolicy"), None);
    let wait = json!(["/isthmus/isthmus-proxy", "await", "--timeout=2m", "--port=4191"]);
    let lifecycle = json!({"postStart": {"exec": {"command": wait}}, "preStop": {"sleep": {"seconds": 7}}});
    assert_eq!(proxy["lifecycle"], lifecycle);
    assert_eq!(pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"], "web");
    let pod = classic("disabled");
    assert_eq!(names(&pod, "containers"), ["web", "linkerd-proxy"]);
    assert_eq!(container(&pod, "linkerd-proxy")["lifecycle"].get("postStart"), None);
}

#[test]
fn the_proxy_has_its_ports_probes_and_user() {
    let pod = injected(json!({}), |_| {});
    let proxy = container(&pod, "linkerd-proxy");
    assert_eq!(proxy["image"], "isthmus/proxy:1.2.3");
    let ports = json!([
        {"containerPort": 4143, "name": "linkerd-proxy"}, {"containerPort": 4191, "name": "linkerd-admin"},
    ]);
    assert_eq!(proxy["ports"], ports);
    let probe = |name: &str| (proxy[name]["httpGet"].clone(), proxy[name]["initialDelaySeconds"].clone());
    assert_eq!(probe("livenessProbe"), (json!({"path": "/live", "port": 4191}), json!(10)));
    assert_eq!(probe("readinessProbe"), (json!({"path": "/ready", "port": 4191}), Value::Null));
    let context = json!({
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true,
        "runAsNonRoot": true, "runAsUser": 2102, "seccompProfile": {"type": "RuntimeDefault"},
    });
    assert_eq!(proxy["securityContext"], context);
    assert_eq!(proxy["terminationMessagePolicy"], "FallbackToLogsOnError");
    let others = json!({"config.linkerd.io/proxy-uid": "3000", "config.linkerd.io/proxy-gid": "4000"});
    let pod = injected(others, |_| {});
    let context = &container(&pod, "linkerd-proxy")["securityContext"];
    assert_eq!((&context["runAsUser"], &context["runAsGroup"]), (&json!(3000), &json!(4000)));
    assert!(args(&pod, "linkerd-init").contains("--proxy-uid 3000 --proxy-gid 4000"));
}

#[test]
fn the_proxy_has_a_place_for_its_key_and_a_token_of_its_own() {
    let pod = injected(json!({}), |_| {});
    let mounts = json!([
        {"mountPath": "/var/run/linkerd/identity/end-entity", "name": "linkerd-identity-end-entity"},
        {"mountPath": "/var/run/secrets/tokens", "name": "linkerd-identity-token"},
    ]);
    assert_eq!(container(&pod, "linkerd-proxy")["volumeMounts"], mounts);
    let token =
        json!({"audience": "identity.l5d.io", "expirationSeconds": 86400, "path": "linkerd-identity-token"});
    let volumes = json!([
        {"name": "linkerd-identity-end-entity", "emptyDir": {"medium": "Memory"}},
        {"name": "linkerd-identity-token", "projected": {"sources": [{"serviceAccountToken": token}]}},
    ]);
    assert_eq!(pod["spec"]["volumes"], volumes);
}

#[test]
fn what_prepares_the_network_has_its_arguments_and_no_more_rights_than_it_needs() {
    let pod = injected(json!({}), |_| {});
    assert_eq!(
        args(&pod, "linkerd-init"),
        "redirect --ipv6 false --incoming-proxy-port 4143 --outgoing-proxy-port 4140 --proxy-uid 2102 \
         --inbound-ports-to-ignore 4190,4191,4567,4568 --outbound-ports-to-ignore 4567,4568"
    );
    let context = &container(&pod, "linkerd-init")["securityContext"];
    assert_eq!(context["capabilities"], json!({"add": ["NET_ADMIN"], "drop": ["ALL"]}));
    assert_eq!((&context["privileged"], &context["readOnlyRootFilesystem"]), (&json!(false), &json!(true)));
    assert_eq!(
        args(&pod, "linkerd-network-validator"),
        "validate --connect-addr 1.1.1.1:20001 --listen-addr 0.0.0.0:4140 --timeout 10s"
    );
    let context = &container(&pod, "linkerd-network-validator")["securityContext"];
    assert_eq!((&context["runAsUser"], &context["capabilities"]), (&json!(65534), &json!({"drop": ["ALL"]})));
    let cni = injected(json!({}), |v| v.cni_enabled = true);
    assert_eq!(names(&cni, "initContainers"), ["linkerd-network-validator", "linkerd-proxy"]);
}

#[test]
fn annotations_reach_what_prepares_the_network() {
    let annotations = json!({
        "config.linkerd.io/skip-inbound-ports": "22,8000-8010",
        "config.linkerd.io/skip-outbound-ports": "443",
        "config.linkerd.io/skip-subnets": "10.1.0.0/16",
        "config.linkerd.io/close-wait-timeout": "1h",
        "config.linkerd.io/enable-gateway": "true",
    });
    let pod = injected(annotations, |_| {});
    let line = args(&pod, "linkerd-init");
    for part in [
        "--inbound-ports-to-ignore 4190,4191,4192,22,8000-8010",
        "--outbound-ports-to-ignore 443",
        "--subnets-to-ignore 10.1.0.0/16",
        "--timeout-close-wait-secs 3600",
    ] {
        assert!(line.contains(part), "{line} lacks {part}");
    }
    // The kernel setting lies outside the pod.
    assert_eq!(container(&pod, "linkerd-init")["securityContext"]["privileged"], true);
    let probe = json!({"containerPort": 4192, "name": "linkerd-probe"});
    assert_eq!(container(&pod, "linkerd-proxy")["ports"][2], probe);
}

#[test]
fn requests_and_limits_are_those_of_the_proxy_in_every_container_of_ours() {
    let annotations = json!({
        "config.linkerd.io/proxy-cpu-request": "100m",
        "config.linkerd.io/proxy-memory-request": "20Mi",
        "config.linkerd.io/proxy-memory-limit": "250Mi",
        "config.linkerd.io/proxy-ephemeral-storage-limit": "1Gi",
    });
    let pod = injected(annotations, |_| {});
    let expected = json!({
        "limits": {"memory": "250Mi", "ephemeral-storage": "1Gi"}, "requests": {"cpu": "100m", "memory": "20Mi"},
    });
    for name in ["linkerd-init", "linkerd-network-validator", "linkerd-proxy"] {
        assert_eq!(container(&pod, name)["resources"], expected, "{name}");
    }
}

#[test]
fn labels_and_annotations_tell_of_the_injection() {
    let pod = injected(json!({}), |_| {});
    let labels = &pod["metadata"]["labels"];
    assert_eq!(labels["linkerd.io/control-plane-ns"], "linkerd");
    assert_eq!(labels["linkerd.io/workload-ns"], "shop");
    assert_eq!(labels["linkerd.io/proxy-deployment"], "web");
    let annotations = &pod["metadata"]["annotations"];
    assert_eq!(annotations["linkerd.io/created-by"], "isthmus/test");
    assert_eq!(annotations["linkerd.io/proxy-version"], "1.2.3");
    assert_eq!(annotations["config.linkerd.io/opaque-ports"], "3306");
}
