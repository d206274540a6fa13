use super::*;
use proptest::prelude::*;
use serde_json::json;

fn deployment() -> Owner {
    Owner { kind: "Deployment".into(), name: "web".into() }
}

fn run(pod: &Value, ns: &[(&str, &str)]) -> Injection {
    let namespace: Annotations = ns.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let owner = deployment();
    let workload = Workload {
        namespace: "shop",
        namespace_annotations: &namespace,
        owner: Some(&owner),
        control_plane_namespace: "linkerd",
        created_by: "isthmus/test",
    };
    let mut values = Values { linkerd_version: "1.2.3".into(), ..Values::default() };
    values.proxy.resources.memory.limit = "64Mi".into();
    inject(pod, &workload, &values)
}

fn web(annotations: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "web-5d9-", "labels": {"app": "web"}, "annotations": annotations},
        "spec": {
            "serviceAccountName": "web",
            "initContainers": [{"name": "migrate", "image": "shop/migrate"}],
            "containers": [{
                "name": "web",
                "image": "shop/web",
                "ports": [{"name": "http", "containerPort": 8080}, {"name": "mysql", "containerPort": 3306},
                          {"name": "dns", "containerPort": 53, "protocol": "UDP"}],
            }],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    })
}

fn injected(pod: &Value, ns: &[(&str, &str)]) -> Value {
    match run(pod, ns) {
        Injection::Injected(out, warnings) => {
            assert!(warnings.is_empty(), "{warnings:?}");
            *out
        }
        Injection::Skipped(reason) => panic!("skipped: {reason:?}"),
    }
}

#[test]
fn a_pod_of_an_enabled_namespace() {
    insta::assert_yaml_snapshot!(injected(&web(json!({})), &[(annotations::INJECT, "enabled")]));
}

#[test]
fn a_classic_sidecar_comes_first_and_holds_the_application_back() {
    let pod = web(json!({
        "linkerd.io/inject": "enabled",
        "config.linkerd.io/proxy-enable-native-sidecar": "false",
        "config.alpha.linkerd.io/proxy-wait-before-exit-seconds": "5",
    }));
    insta::assert_yaml_snapshot!(injected(&pod, &[]));
}

#[test]
fn a_gateway_pod() {
    let pod = json!({
        "metadata": {"annotations": {
            "linkerd.io/inject": "enabled",
            "config.linkerd.io/enable-gateway": "true",
            "config.linkerd.io/default-inbound-policy": "all-authenticated",
            "config.linkerd.io/proxy-require-identity-inbound-ports": "4143",
        }},
        "spec": {"containers": [{"name": "pause", "image": "isthmus/init", "args": ["pause"]}]},
    });
    insta::assert_yaml_snapshot!(injected(&pod, &[]));
}

#[test]
fn every_other_setting_shows() {
    let pod = web(json!({
        "linkerd.io/inject": "ingress",
        "config.linkerd.io/opaque-ports": "mysql,9000-9010",
        "config.linkerd.io/skip-inbound-ports": "22",
        "config.linkerd.io/skip-outbound-ports": "443,8000-8010",
        "config.linkerd.io/skip-subnets": "172.17.0.0/16",
        "config.linkerd.io/proxy-cpu-limit": "1500m",
        "config.linkerd.io/proxy-cpu-request": "100m",
        "config.linkerd.io/proxy-gid": "77",
        "config.linkerd.io/access-log": "apache",
        "config.linkerd.io/enable-external-profiles": "true",
        "config.linkerd.io/proxy-disable-inbound-protocol-detect-timeout": "true",
        "config.linkerd.io/close-wait-timeout": "1h",
        "config.linkerd.io/proxy-log-http-headers": "insecure",
        "config.linkerd.io/proxy-additional-env": "[{\"name\":\"LINKERD2_PROXY_LOG\",\"value\":\"trace\"}]",
    }));
    insta::assert_yaml_snapshot!(injected(&pod, &[]));
}

#[test]
fn skip_reasons() {
    let with = |change: fn(&mut Value)| {
        let mut pod = web(json!({}));
        change(&mut pod);
        pod
    };
    let enabled = [(annotations::INJECT, "enabled")];
    type Case<'a> = (Value, &'a [(&'a str, &'a str)], SkipReason);
    let cases: [Case<'_>; 8] = [
        (with(|_| {}), &[], SkipReason::AnnotationAbsent),
        (with(|_| {}), &[(annotations::INJECT, "disabled")], SkipReason::DisabledAtNamespace),
        (with(|_| {}), &[(annotations::INJECT, "yes")], SkipReason::InvalidAtNamespace),
        (web(json!({"linkerd.io/inject": "disabled"})), &enabled, SkipReason::DisabledAtWorkload),
        (web(json!({"linkerd.io/inject": "on"})), &enabled, SkipReason::InvalidAtWorkload),
        (with(|p| p["spec"]["hostNetwork"] = json!(true)), &enabled, SkipReason::HostNetwork),
        (
            with(|p| push(&mut p["spec"]["containers"], json!({"name": "istio-proxy"}))),
            &enabled,
            SkipReason::SidecarExists,
        ),
        (
            with(|p| push(&mut p["spec"]["initContainers"], json!({"name": "linkerd-proxy"}))),
            &enabled,
            SkipReason::SidecarExists,
        ),
    ];
    for (pod, ns, reason) in cases {
        assert_eq!(run(&pod, ns), Injection::Skipped(reason));
    }
}

#[test]
fn an_injected_pod_is_not_injected_again() {
    let once = injected(&web(json!({})), &[(annotations::INJECT, "enabled")]);
    assert_eq!(
        run(&once, &[(annotations::INJECT, "enabled")]),
        Injection::Skipped(SkipReason::SidecarExists)
    );
}

#[test]
fn opaque_ports_of_the_namespace_are_written_onto_the_pod() {
    let ns = [(annotations::INJECT, "enabled"), (annotations::OPAQUE_PORTS, "8080")];
    let out = injected(&web(json!({})), &ns);
    assert_eq!(annotations_of(&out)[annotations::OPAQUE_PORTS], "8080");
}

fn warnings(pod: &Value, ns: &[(&str, &str)]) -> Vec<String> {
    match run(pod, ns) {
        Injection::Injected(_, warnings) => warnings.iter().map(ToString::to_string).collect(),
        Injection::Skipped(reason) => panic!("skipped: {reason:?}"),
    }
}

#[test]
fn names_of_opaque_ports_that_no_container_has_are_told_of() {
    let enabled = (annotations::INJECT, "enabled");
    let of_namespace = warnings(&web(json!({})), &[enabled, (annotations::OPAQUE_PORTS, "mysql,abc")]);
    assert_eq!(of_namespace.len(), 1, "{of_namespace:?}");
    for part in ["on the namespace", "config.linkerd.io/opaque-ports", "\"abc\""] {
        assert!(of_namespace[0].contains(part), "{of_namespace:?} lacks {part}");
    }
    let of_pod = warnings(&web(json!({(annotations::OPAQUE_PORTS): "abc"})), &[enabled]);
    assert!(of_pod[0].contains("on the pod"), "{of_pod:?}");
    assert_eq!(warnings(&web(json!({(annotations::OPAQUE_PORTS): "mysql,80"})), &[enabled]), [""; 0]);
}

#[test]
fn an_old_cluster_gets_classic_sidecars_unless_native_ones_are_asked_for() {
    let at = |minor: u32, annotations: Value, owner: Option<&Owner>| {
        let workload = Workload {
            namespace: "shop",
            namespace_annotations: &Annotations::new(),
            owner,
            control_plane_namespace: "linkerd",
            created_by: "isthmus/test",
        };
        let version = crate::KubernetesVersion { major: 1, minor };
        let values = Values { kubernetes: Some(version), ..Values::default() };
        let mut pod = web(annotations);
        pod["metadata"]["annotations"]["linkerd.io/inject"] = json!("enabled");
        let Injection::Injected(out, warnings) = inject(&pod, &workload, &values) else { panic!() };
        let native = containers(&out, "initContainers").any(|c| c["name"] == crate::PROXY_CONTAINER);
        (native, warnings)
    };
    assert!(!at(28, json!({}), None).0);
    assert!(at(29, json!({}), None).0);
    assert!(at(28, json!({(NATIVE_SIDECAR_OLD[0]): "true"}), None).0);
    assert!(!at(34, json!({(NATIVE_SIDECAR): "false"}), None).0);
    let job = Owner { kind: "CronJob".into(), name: "nightly".into() };
    assert_eq!(at(28, json!({}), Some(&job)).1, [Warning::ClassicSidecarInJob { admin: 4191 }]);
    assert_eq!(at(29, json!({}), Some(&job)).1, []);
    let told = at(28, json!({"config.linkerd.io/proxy-admin-shutdown": "enabled"}), Some(&job)).1;
    assert_eq!(told, [], "whoever opened the shutdown endpoint knows what it is for");
    let wait = json!({(crate::annotations::WAIT_BEFORE_EXIT): "5"});
    assert_eq!(at(30, wait.clone(), None).1, []);
    assert!(matches!(at(29, wait, None).1[..], [Warning::NoSleepAction { .. }]));
}

proptest! {
    #[test]
    fn the_patch_turns_the_pod_into_the_injected_pod(
        classic: bool, labels: bool, inits in 0usize..3, ports in proptest::collection::vec(1u16.., 0..4)
    ) {
        let mut pod = web(json!({"config.linkerd.io/proxy-enable-native-sidecar": (!classic).to_string()}));
        if !labels {
            pod["metadata"].as_object_mut().unwrap().remove("labels");
        }
        pod["spec"]["initContainers"] = (0..inits).map(|i| json!({"name": format!("i{i}")})).collect();
        pod["spec"]["containers"][0]["ports"] = ports.iter().map(|p| json!({"containerPort": p})).collect();
        let out = injected(&pod, &[(annotations::INJECT, "enabled")]);
        let mut patched = pod.clone();
        json_patch::patch(&mut patched, &patch(&pod, &out)).unwrap();
        prop_assert_eq!(patched, out);
    }
}
