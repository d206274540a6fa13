//! Inbound answers of the index; outbound ones are tested where they are made.

use super::*;
use crate::fixtures::{index, namespace, pod};
use mesh_api::inbound::authn::Permit;
use mesh_api::inbound::authn::permit_mesh_tls::Clients;
use mesh_api::inbound::proxy_protocol::Kind;
use serde_json::{Value, json};

fn web(notes: Value) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "shop", "annotations": notes},
        "spec": {"containers": [{
            "name": "c", "ports": [{"name": "http", "containerPort": 8080}],
            "livenessProbe": {"httpGet": {"path": "/live?full=1", "port": "http"}},
            "readinessProbe": {"httpGet": {"path": "ready", "port": 8080}},
        }, {
            "name": "d", "startupProbe": {"grpc": {"port": 9000}},
            "livenessProbe": {"httpGet": {"path": "/tls", "port": 9443, "scheme": "HTTPS"}},
        }]},
        "status": {"podIP": "10.42.0.5"}
    })
}

fn server(index: &Index, port: u16) -> Server {
    index.inbound(&Key::new("shop", "web"), port).expect("the pod")
}

/// The policy's name and whether a mesh identity is asked for; nothing for deny.
fn allowed(server: &Server) -> Option<(String, bool)> {
    let authz = server.authorizations.first()?;
    let permit = authz.authentication.as_ref().and_then(|a| a.permit.as_ref()).expect("a permit");
    Some((authz.labels["name"].clone(), matches!(permit, Permit::MeshTls(_))))
}

#[test]
fn policy_comes_from_pod_then_namespace_then_install() {
    let mut index = index();
    pod(&mut index, web(json!({})));
    assert_eq!(allowed(&server(&index, 8080)), Some(("all-unauthenticated".to_owned(), false)));
    let note = |policy: &str| json!({"config.linkerd.io/default-inbound-policy": policy});
    namespace(&mut index, json!({"metadata": {"name": "shop", "annotations": note("all-authenticated")}}));
    assert_eq!(allowed(&server(&index, 8080)), Some(("all-authenticated".to_owned(), true)));
    pod(&mut index, web(note("deny")));
    assert_eq!(allowed(&server(&index, 8080)), None);
    assert_eq!(server(&index, 8080).labels["name"], "deny");
    pod(&mut index, web(note("nonsense")));
    assert_eq!(allowed(&server(&index, 8080)), Some(("all-authenticated".to_owned(), true)), "as if absent");
}

#[test]
fn every_default_policy_has_its_networks_and_clients() {
    let mut index = index();
    for (policy, cluster, meshed) in [
        ("all-unauthenticated", false, false),
        ("all-authenticated", false, true),
        ("cluster-unauthenticated", true, false),
        ("cluster-authenticated", true, true),
        ("audit", false, false),
    ] {
        pod(&mut index, web(json!({"config.linkerd.io/default-inbound-policy": policy})));
        let server = server(&index, 8080);
        assert_eq!(allowed(&server), Some((policy.to_owned(), meshed)));
        let networks = &server.authorizations[0].networks;
        assert_eq!(networks.len(), if cluster { 1 } else { 2 }, "{policy}");
    }
}

#[test]
fn any_mesh_identity_is_a_suffix_without_labels() {
    let mut index = index();
    pod(&mut index, web(json!({"config.linkerd.io/default-inbound-policy": "all-authenticated"})));
    let server = server(&index, 8080);
    let permit = server.authorizations[0].authentication.clone().and_then(|a| a.permit);
    let Some(Permit::MeshTls(tls)) = permit else { panic!("mesh TLS") };
    let Some(Clients::Identities(clients)) = tls.clients else { panic!("identities") };
    assert!(
        clients.identities.is_empty() && clients.suffixes.len() == 1 && clients.suffixes[0].parts.is_empty()
    );
}

#[test]
fn ports_that_require_identity_do_whatever_the_policy_is() {
    let mut index = index();
    pod(&mut index, web(json!({"config.linkerd.io/proxy-require-identity-inbound-ports": "8080"})));
    assert_eq!(allowed(&server(&index, 8080)), Some(("all-authenticated".to_owned(), true)));
    assert_eq!(allowed(&server(&index, 8081)), Some(("all-unauthenticated".to_owned(), false)));
}

#[test]
fn probes_are_allowed_under_deny_by_their_exact_paths() {
    let mut index = index();
    pod(&mut index, web(json!({"config.linkerd.io/default-inbound-policy": "deny"})));
    let paths = |port: u16| -> Vec<String> {
        let Some(Kind::Detect(detect)) = server(&index, port).protocol.and_then(|p| p.kind) else {
            panic!("detect")
        };
        let probe = detect.http_routes.iter().filter(|r| !r.authorizations.is_empty());
        let matches = probe.flat_map(|r| &r.rules).flat_map(|r| &r.matches);
        matches
            .map(|m| format!("{:?}", m.path.as_ref().and_then(|p| p.kind.as_ref()).expect("a path")))
            .collect()
    };
    assert_eq!(paths(8080), [r#"Exact("/live")"#, r#"Exact("/ready")"#]);
    assert_eq!(paths(9000), [r#"Exact("/grpc.health.v1.Health/Check")"#]);
    assert!(paths(9443).is_empty() && paths(1).is_empty());
}

#[test]
fn opaque_ports_are_not_detected() {
    let mut index = index();
    pod(&mut index, web(json!({})));
    let opaque = |index: &Index, port| {
        matches!(server(index, port).protocol.and_then(|p| p.kind), Some(Kind::Opaque(_)))
    };
    assert!(opaque(&index, 3306) && !opaque(&index, 8080));
    pod(&mut index, web(json!({"config.linkerd.io/opaque-ports": "http"})));
    assert!(opaque(&index, 8080) && !opaque(&index, 3306));
}

#[test]
fn a_change_of_a_namespace_touches_its_pods_only() {
    let mut index = index();
    for (ns, name) in [("shop", "a"), ("shop", "b"), ("shop2", "c")] {
        pod(&mut index, json!({"metadata": {"name": name, "namespace": ns}}));
    }
    let namespace =
        crate::model::Namespace { default_policy: Some(crate::DefaultPolicy::Deny), ..Default::default() };
    let touched = index.set_namespace(&Key::new("", "shop"), Some(namespace));
    assert_eq!(touched.pods, [Key::new("shop", "a"), Key::new("shop", "b")].into());
}
