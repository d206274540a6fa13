//! The custom resources of the charts, as the API server serves them, and the Rust types that read them.

#![allow(clippy::unwrap_used, reason = "a test, also outside of its test functions")]

use mesh_kube::link::{LinkSpec, LinkStatus};
use mesh_testkit::{Cluster, Http};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::fmt::Debug;
use std::process::Command;

fn definitions() -> Vec<Value> {
    let mut all = Vec::new();
    for words in [&["install", "--crds"][..], &["multicluster", "install", "--ignore-cluster"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_meshctl")).args(words).output().unwrap();
        let objects: Vec<Value> =
            serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap();
        all.extend(objects.into_iter().filter(|o| o["kind"] == "CustomResourceDefinition"));
    }
    all
}

fn served(definition: &Value) -> Vec<&Value> {
    definition["spec"]["versions"].as_array().unwrap().iter().filter(|v| v["served"] == true).collect()
}

/// A value that has every property of a schema.
fn everything(schema: &Value) -> Value {
    if let Some(first) = schema["enum"].as_array().and_then(|all| all.first()) {
        return first.clone();
    }
    match schema["type"].as_str().unwrap_or_default() {
        "object" => {
            let properties = schema["properties"].as_object();
            let mut map: Map<String, Value> = properties
                .into_iter()
                .flatten()
                .map(|(name, below)| (name.clone(), everything(below)))
                .collect();
            if map.is_empty() {
                map.insert("key".to_owned(), json!("value"));
            }
            Value::Object(map)
        }
        "array" => json!([everything(&schema["items"])]),
        "boolean" => json!(true),
        "integer" => json!(7),
        "number" => json!(1.5),
        _ => match schema["format"].as_str().unwrap_or_default() {
            "duration" => json!("3s"),
            "date-time" => json!("2026-01-01T00:00:00Z"),
            _ if schema["x-kubernetes-int-or-string"] == true => json!(7),
            _ => json!("text"),
        },
    }
}

/// Reads a value that has every field of the schema as the type, and writes it again.
fn same_fields<T: DeserializeOwned + Serialize + Debug>(version: &str, all: &Value) {
    let read: T = serde_json::from_value(all.clone()).unwrap_or_else(|e| panic!("{version}: {e} in {all}"));
    // A field that the schema has and the type has not would be lost here.
    assert_eq!(
        serde_json::to_value(&read).unwrap(),
        *all,
        "{version}: read as the Rust type, and written again"
    );
    // A field that the type has and the schema has not is empty here.
    let shown = format!("{read:?}");
    for empty in ["None", "[]", "\"\"", "{}"] {
        assert!(!shown.contains(empty), "{version}: a field is in no schema: {shown}");
    }
}

#[test]
fn links_have_the_fields_of_the_rust_type() {
    let all = definitions();
    let link = all.iter().find(|d| d["spec"]["names"]["kind"] == "Link").unwrap();
    let mut seen = Vec::new();
    for version in served(link) {
        let name = version["name"].as_str().unwrap();
        seen.push(name);
        let schema = &version["schema"]["openAPIV3Schema"]["properties"];
        let spec = everything(&schema["spec"]);
        // Older versions have less; what they have is read and kept.
        let read: LinkSpec = serde_json::from_value(spec.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), spec, "{name}");
        if version["storage"] == true {
            same_fields::<LinkSpec>(name, &spec);
            same_fields::<LinkStatus>(name, &everything(&schema["status"]));
        }
    }
    assert_eq!(seen, ["v1alpha1", "v1alpha2", "v1alpha3"]);
}

/// A complete object of each kind, without the version.
fn example(kind: &str, version: &str) -> Value {
    let conditions = json!({"group": "", "kind": "ServiceAccount", "name": "a", "namespace": "b"});
    match kind {
        "Server" => {
            json!({"podSelector": {"matchLabels": {"app": "web"}}, "port": "http", "proxyProtocol": "HTTP/2"})
        }
        "ServerAuthorization" => json!({
            "server": {"selector": {"matchLabels": {"app": "web"}}},
            "client": {"networks": [{"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}],
                "meshTLS": {"identities": ["*.shop"], "serviceAccounts": [{"name": "a", "namespace": "b"}]}},
        }),
        "AuthorizationPolicy" => json!({
            "targetRef": {"group": "policy.linkerd.io", "kind": "Server", "name": "web"},
            "requiredAuthenticationRefs": [{"group": "policy.linkerd.io", "kind": "MeshTLSAuthentication", "name": "m"}],
        }),
        "MeshTLSAuthentication" => json!({"identityRefs": [conditions]}),
        "NetworkAuthentication" => json!({"networks": [{"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}]}),
        "HTTPLocalRateLimitPolicy" => json!({
            "targetRef": {"group": "policy.linkerd.io", "kind": "Server", "name": "web"},
            "total": {"requestsPerSecond": 100}, "identity": {"requestsPerSecond": 10},
            "overrides": [{"requestsPerSecond": 5, "clientRefs": [conditions]}],
        }),
        "EgressNetwork" => {
            json!({"trafficPolicy": "Deny", "networks": [{"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}]})
        }
        "ExternalWorkload" => {
            let tls = if version == "v1alpha1" { "meshTls" } else { "meshTLS" };
            json!({tls: {"identity": "spiffe://a/b", "serverName": "b.a"}, "workloadIPs": [{"ip": "192.0.2.1"}],
                "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]})
        }
        "HTTPRoute" => json!({
            "parentRefs": [{"group": "policy.linkerd.io", "kind": "Server", "name": "web"}],
            "rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/a"}, "method": "GET",
                "headers": [{"type": "Exact", "name": "x", "value": "y"}]}]}],
        }),
        "ServiceProfile" => json!({
            "routes": [{"name": "GET /", "condition": {"method": "GET", "pathRegex": "/"}, "isRetryable": true,
                "responseClasses": [{"condition": {"status": {"min": 500, "max": 599}}, "isFailure": true}],
                "timeout": "1s"}],
            "retryBudget": {"retryRatio": 0.2, "minRetriesPerSecond": 10, "ttl": "10s"},
        }),
        "Link" => json!({"targetClusterName": "west", "targetClusterDomain": "cluster.local",
            "clusterCredentialsSecret": "west", "gatewayAddress": "192.0.2.1", "gatewayPort": "4143",
            "probeSpec": {"path": "/ready", "port": "4191", "period": "3s"},
            "selector": {"matchLabels": {"mirror.linkerd.io/exported": "true"}}}),
        other => panic!("no example of {other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_served_version_gives_back_what_it_was_given() {
    let cluster = Cluster::start().await.unwrap();
    cluster.namespace("shop").await.unwrap();
    let all = definitions();
    assert!(all.len() >= 11);
    for definition in &all {
        cluster.create(definition.clone()).await.unwrap();
    }
    let http = cluster.http().unwrap();
    let mut tried = 0;
    for definition in &all {
        for version in served(definition) {
            round_trip(&http, &definition["spec"], version["name"].as_str().unwrap()).await;
            tried += 1;
        }
    }
    assert!(tried >= 18, "{tried}");
}

async fn round_trip(http: &Http, spec: &Value, version: &str) {
    let (group, kind) = (spec["group"].as_str().unwrap(), spec["names"]["kind"].as_str().unwrap());
    let plural = spec["names"]["plural"].as_str().unwrap();
    let name = if kind == "ServiceProfile" { "web.shop.svc.cluster.local" } else { "web" };
    let given = json!({"apiVersion": format!("{group}/{version}"), "kind": kind,
        "metadata": {"name": name, "namespace": "shop"}, "spec": example(kind, version)});
    let all = format!("/apis/{group}/{version}/namespaces/shop/{plural}");
    let made = http.post(&format!("{all}?fieldValidation=Strict"), &given).await.unwrap();
    assert_eq!(made.status.as_u16(), 201, "{kind} {version}: {}", made.text);
    let back = http.get(&format!("{all}/{name}")).await.unwrap().json;
    assert_eq!(back["apiVersion"], given["apiVersion"]);
    contains(&format!("{kind} {version}"), &back["spec"], &given["spec"]);
    let gone = http.delete(&format!("{all}/{name}"), &Value::Null).await.unwrap();
    assert_eq!(gone.status.as_u16(), 200, "{kind} {version}: {}", gone.text);
}

/// Everything given is there; defaults may have been added.
fn contains(what: &str, there: &Value, given: &Value) {
    match (there, given) {
        (Value::Object(there), Value::Object(given)) => {
            for (key, value) in given {
                contains(&format!("{what}: {key}"), there.get(key).unwrap_or(&Value::Null), value);
            }
        }
        (Value::Array(there), Value::Array(given)) => {
            assert_eq!(there.len(), given.len(), "{what}");
            there.iter().zip(given).for_each(|(there, given)| contains(what, there, given));
        }
        _ => assert_eq!(there, given, "{what}"),
    }
}
