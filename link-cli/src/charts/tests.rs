use super::*;
use crate::manifest;
use serde_json::json;

fn objects(chart: Chart, values: &Value) -> Vec<Value> {
    let documents = chart.render("linkerd", values).unwrap();
    manifest::parse(documents).unwrap().into_iter().map(|m| m.object).collect()
}

fn control_plane_values(change: Value) -> Value {
    let mut values = Chart::ControlPlane.default_values().unwrap();
    let pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    let issuer = json!({"identityTrustAnchorsPEM": pem,
        "identity": {"issuer": {"tls": {"crtPEM": pem, "keyPEM": "key"}}}});
    crate::values::merge(&mut values, &issuer);
    crate::values::merge(&mut values, &change);
    values
}

fn control_plane(change: Value) -> Vec<Value> {
    objects(Chart::ControlPlane, &control_plane_values(change))
}

fn find<'o>(objects: &'o [Value], kind: &str, name: &str) -> &'o Value {
    let found = objects.iter().find(|o| o["kind"] == kind && o["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

#[test]
fn the_injectors_defaults_are_the_charts() {
    let values = Chart::ControlPlane.default_values().unwrap();
    let from_chart: mesh_injector::Values = serde_json::from_value(values.clone()).unwrap();
    assert_eq!(from_chart, mesh_injector::Values::default());
    // And no value that the injector knows is missing from the chart.
    let known = serde_json::to_value(mesh_injector::Values::default()).unwrap();
    let mut merged = values.clone();
    crate::values::merge(&mut merged, &known);
    assert_eq!(merged, values);
}

#[test]
fn the_values_kept_in_the_cluster_are_those_installed_without_keys() {
    let objects = control_plane(json!({"proxy": {"logLevel": "debug"}}));
    let text = find(&objects, "ConfigMap", "linkerd-config")["data"]["values"].as_str().unwrap().to_owned();
    assert!(!text.contains("keyPEM"), "{text}");
    let kept: mesh_injector::Values = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(kept.proxy.log_level, "debug");
    assert_eq!(kept.linkerd_version, crate::own_version());
    assert!(kept.identity_trust_anchors_pem.starts_with("-----BEGIN"));
}

/// The chart's partials and the injector describe the same sidecar; this is what keeps them together.
#[test]
fn control_plane_pods_carry_the_sidecar_that_the_injector_would_add() {
    let changes = [
        json!({}),
        json!({"disableIPv6": false, "proxy": {"logFormat": "json", "gid": 5, "accessLog": "json",
            "nativeSidecar": false, "await": false,
            "runtime": {"workers": {"maximumCPURatio": 0.5}}, "waitBeforeExitSeconds": 3,
            "resources": {"memory": {"limit": "64Mi"}, "ephemeral-storage": {"request": "1Mi"}},
            "additionalEnv": [{"name": "X", "value": "y"}]},
            "proxyInit": {"skipSubnets": "10.0.0.0/8", "closeWaitTimeoutSecs": 5}}),
        json!({"cniEnabled": true, "identityTrustDomain": "example.org"}),
    ];
    for change in changes {
        let values = control_plane_values(change.clone());
        let objects = objects(Chart::ControlPlane, &values);
        let deployment = find(&objects, "Deployment", "linkerd-proxy-injector");
        let template = &deployment["spec"]["template"];
        let expected = injected(template, &values);
        let lists = ["containers", "initContainers"];
        for name in ["linkerd-init", "linkerd-network-validator", "linkerd-proxy"] {
            let get = |pod: &Value| -> Option<Value> {
                let all = lists.iter().filter_map(|l| pod["spec"][*l].as_array()).flatten();
                all.into_iter().find(|c| c["name"] == name).cloned()
            };
            assert_eq!(get(template), get(&expected).map(as_in_the_control_plane), "{name} with {change}");
        }
        assert_eq!(template["spec"]["volumes"], expected["spec"]["volumes"]);
    }
}

fn injected(template: &Value, values: &Value) -> Value {
    let mut bare = template.clone();
    let ours = |c: &Value| c["name"].as_str().is_some_and(|n| n.starts_with("linkerd-"));
    for list in ["containers", "initContainers"] {
        bare["spec"][list].as_array_mut().unwrap().retain(|c| !ours(c));
    }
    bare["spec"].as_object_mut().unwrap().remove("volumes");
    bare["metadata"]["annotations"]["linkerd.io/inject"] = json!("enabled");
    let mut values: mesh_injector::Values = serde_json::from_value(values.clone()).unwrap();
    // What sets the control plane apart.
    values.proxy_init.ignore_inbound_ports = format!("8443,{}", values.proxy_init.ignore_inbound_ports);
    values.proxy_init.ignore_outbound_ports =
        format!("{},{}", values.proxy_init.kube_api_server_ports, values.proxy_init.ignore_outbound_ports);
    values.proxy.readiness_probe.period_seconds = 1;
    let workload = mesh_injector::Workload {
        namespace: "linkerd",
        namespace_annotations: &Default::default(),
        owner: None,
        control_plane_namespace: "linkerd",
        created_by: "test",
    };
    match mesh_injector::inject(&bare, &workload, &values) {
        mesh_injector::Injection::Injected(pod, _) => *pod,
        mesh_injector::Injection::Skipped(reason) => panic!("{reason:?}"),
    }
}

fn as_in_the_control_plane(mut container: Value) -> Value {
    container.as_object_mut().unwrap().remove("startupProbe");
    for entry in container.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten() {
        if entry["name"] == "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS" {
            let key = json!({"name": "linkerd-identity-trust-roots", "key": "ca-bundle.crt"});
            *entry = json!({"name": entry["name"], "valueFrom": {"configMapKeyRef": key}});
        }
    }
    container
}

#[test]
fn identity_and_destination_reach_themselves_over_loopback() {
    let objects = control_plane(json!({}));
    let env = |deployment: &str, name: &str| {
        let pod = &find(&objects, "Deployment", deployment)["spec"]["template"]["spec"];
        let containers = pod["initContainers"].as_array().unwrap();
        let proxy = containers.iter().find(|c| c["name"] == "linkerd-proxy").unwrap().clone();
        assert_eq!(proxy.get("startupProbe"), None, "{deployment}");
        let entry = proxy["env"].as_array().unwrap().iter().find(|e| e["name"] == name).cloned();
        entry.map(|e| e["value"].as_str().unwrap_or_default().to_owned()).unwrap_or_default()
    };
    assert_eq!(env("linkerd-identity", "LINKERD2_PROXY_IDENTITY_SVC_ADDR"), "localhost.:8080");
    assert_eq!(env("linkerd-destination", "LINKERD2_PROXY_DESTINATION_SVC_ADDR"), "localhost.:8086");
    assert_eq!(env("linkerd-destination", "LINKERD2_PROXY_POLICY_SVC_ADDR"), "localhost.:8090");
}

#[test]
fn every_chart_renders_with_every_values_file_and_every_object_is_complete() {
    let with_ha = |chart: Chart, mut values: Value| {
        crate::values::merge(&mut values, &chart.ha_values().unwrap());
        values
    };
    let cp = control_plane_values(json!({}));
    let mc = Chart::Multicluster.default_values().unwrap();
    let all = [
        (Chart::Crds, Chart::Crds.default_values().unwrap()),
        (Chart::ControlPlane, cp.clone()),
        (Chart::ControlPlane, with_ha(Chart::ControlPlane, cp)),
        (Chart::Multicluster, mc.clone()),
        (Chart::Multicluster, with_ha(Chart::Multicluster, mc)),
    ];
    for (chart, values) in all {
        let objects = objects(chart, &values);
        assert!(objects.len() >= 10, "{chart:?}");
        for object in objects {
            for pointer in ["/apiVersion", "/kind", "/metadata/name", "/metadata/labels"] {
                assert!(object.pointer(pointer).is_some(), "{chart:?}: {pointer} is missing in {object}");
            }
        }
    }
}

#[test]
fn the_gateway_is_an_injected_pod_behind_a_load_balancer() {
    let objects = objects(Chart::Multicluster, &Chart::Multicluster.default_values().unwrap());
    let service = find(&objects, "Service", "linkerd-gateway");
    assert_eq!(
        service["metadata"]["annotations"]["mirror.linkerd.io/gateway-identity"],
        "linkerd-gateway.linkerd.serviceaccount.identity.linkerd.cluster.local"
    );
    assert_eq!(service["spec"]["ports"][1]["targetPort"], 4192);
    let pod = &find(&objects, "Deployment", "linkerd-gateway")["spec"]["template"];
    assert_eq!(pod["metadata"]["annotations"]["config.linkerd.io/enable-gateway"], "true");
    assert_eq!(pod["spec"]["containers"][0]["args"], json!(["pause"]));
}
