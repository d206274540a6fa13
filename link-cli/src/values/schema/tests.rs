use super::*;
use crate::charts::Chart;
use crate::values::merge;
use serde_json::json;

fn findings(chart: Chart, change: Value) -> Findings {
    let mut values = chart.default_values().unwrap();
    merge(&mut values, &change);
    validate(&chart.schema().unwrap(), &values)
}

/// What `meshctl` says of a change to the control plane's values: reasons and remedy in one text.
fn said(change: Value) -> String {
    let findings = findings(Chart::ControlPlane, change);
    let fixes: Vec<&str> = findings.mistakes.iter().map(|m| m.fix.as_str()).collect();
    format!("{} → {}", findings.refusal("x").map(|p| p.to_string()).unwrap_or_default(), fixes.join(" "))
}

#[test]
fn every_value_of_every_chart_is_in_its_schema_and_the_reverse() {
    for chart in [Chart::Crds, Chart::ControlPlane, Chart::Multicluster] {
        assert_eq!(findings(chart, json!({})), Findings::default(), "{chart:?}");
        if let Ok(ha) = chart.ha_values() {
            assert_eq!(findings(chart, ha), Findings::default(), "{chart:?}");
        }
        let mut unlisted = Vec::new();
        let schema = chart.schema().unwrap();
        unknown(&schema, &chart.default_values().unwrap(), "", &mut unlisted);
        // Read by templates or the injector; absent by default.
        let absent = ["global", "highAvailability", "maximumCPURatio", "matchLabels", "initialDelaySeconds"];
        unlisted.retain(|path| !absent.iter().any(|name| path.ends_with(name)));
        assert_eq!(unlisted, Vec::<String>::new(), "{chart:?}");
    }
}

/// Properties of a schema that do something and are not among the values.
fn unknown(schema: &Value, values: &Value, path: &str, out: &mut Vec<String>) {
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        if below.get("x-no-effect").is_some() {
            continue;
        }
        let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let value = &values[name];
        // An empty map takes whatever the schema lists.
        if value.is_null() && values.as_object().is_some_and(|v| !v.is_empty() || path.is_empty()) {
            out.push(at);
        } else {
            unknown(below, value, &at, out);
        }
    }
}

#[test]
fn unknown_values_are_named_with_the_one_that_was_meant() {
    let text = said(json!({"proxy": {"logLevl": "debug"}}));
    assert!(
        text.contains("proxy.logLevl is not a value") && text.contains("did you mean proxy.logLevel?"),
        "{text}"
    );
    let text = said(json!({"crtPEM": "x"}));
    assert!(text.contains("did you mean identity.issuer.tls.crtPEM?"), "{text}");
    let text = said(json!({"colour": "green"}));
    assert!(text.contains("colour is not a value") && text.contains("values.yaml"), "{text}");
}

#[test]
fn mistyped_values_are_named_with_the_way_to_write_them() {
    for (change, why, fix) in [
        (
            json!({"controllerReplicas": "two"}),
            "controllerReplicas is the text \"two\", a whole number",
            "values.yaml",
        ),
        (json!({"controllerReplicas": "2"}), "a whole number is expected", "--set controllerReplicas=2"),
        (json!({"controllerReplicas": 0}), "is 0, less than 1", "give at least 1"),
        (
            json!({"proxyInit": {"ignoreInboundPorts": 25}}),
            "proxyInit.ignoreInboundPorts is 25, text is expected",
            "--set-string proxyInit.ignoreInboundPorts=25",
        ),
        (json!({"proxyInit": {"ignoreInboundPorts": "a"}}), "which is not a list of ports", "8000-8010"),
        (
            json!({"proxy": {"resources": {"cpu": {"limit": "lots"}}}}),
            "proxy.resources.cpu.limit is \"lots\"",
            "100m",
        ),
        (json!({"proxy": {"ports": {"admin": 70000}}}), "more than 65535", "from 1 to 65535"),
        (json!({"webhookFailurePolicy": "Deny"}), "not one of: Ignore, Fail", "choose one of"),
        (json!({"clusterNetworks": "10.0.0.0/8,x"}), "which is not a list of networks", "fd00::/8"),
        (json!({"identity": {"issuer": {"issuanceLifetime": "soon"}}}), "which is not a duration", "24h"),
        (json!({"identityTrustDomain": "Not a domain"}), "which is not a DNS domain", "cluster.local"),
        (json!({"proxy": "fast"}), "proxy is the text \"fast\", a map is expected", "values.yaml"),
        (
            json!({"policyController": {"probeNetworks": ["x"]}}),
            "policyController.probeNetworks[0]",
            "10.0.0.0/8",
        ),
    ] {
        let text = said(change);
        assert!(text.contains(why) && text.contains(fix), "{text}");
    }
}

#[test]
fn a_values_file_of_linkerd_carries_over() {
    let findings = findings(
        Chart::ControlPlane,
        json!({
            "disableHeartBeat": true, "policyValidator": {"externalSecret": true}, "enablePprof": true,
            "proxyInit": {"iptablesMode": "nft"}, "proxy": {"resources": {"cpu": {"request": "100m"}}},
            "identity": {"issuer": {"issuanceLifetime": "24h0m0s", "scheme": "kubernetes.io/tls"}},
        }),
    );
    assert_eq!(findings.mistakes, []);
    let told: Vec<&str> = findings.without_effect.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(told.len(), 4, "{told:?}");
    for path in ["disableHeartBeat", "policyValidator", "enablePprof", "proxyInit.iptablesMode"] {
        assert!(told.contains(&path), "{path}");
    }
}

#[test]
fn every_mistake_is_told_at_once() {
    let text = said(json!({"a1": 1, "controllerUID": -1}));
    assert!(
        text.contains("2 values of x are refused") && text.contains("a1 ") && text.contains("controllerUID "),
        "{text}"
    );
}
