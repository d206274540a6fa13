use super::*;
use crate::fixtures::{gateway_slice, pod, service, settings, slice};
use mesh_types::LOCAL_MEMBER;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::net::SocketAddr;

fn index() -> Index {
    Index::new(settings())
}

fn put_service(index: &mut Index, object: Value) -> Touched {
    let (key, service) = service(object);
    index.set_service(&key, Some(service))
}

fn put_slice(index: &mut Index, object: Value) -> Touched {
    let (key, slice) = slice(object);
    index.set_slice(&key, Some(slice))
}

fn put_pod(index: &mut Index, object: Value) -> Touched {
    let (key, pod) = pod(object);
    index.set_pod(&key, Some(pod))
}

fn web_service() -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"clusterIP": "10.43.0.7", "clusterIPs": ["10.43.0.7"],
                 "ports": [{"name": "http", "port": 80, "targetPort": "main"}, {"name": "db", "port": 3306}]}
    })
}

fn web_slice(ready: bool) -> Value {
    json!({
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}, {"name": "db", "port": 3306}],
        "endpoints": [{
            "addresses": ["10.42.0.5"], "conditions": {"ready": ready}, "nodeName": "n1", "zone": "z1",
            "hostname": "web-0", "targetRef": {"kind": "Pod", "name": "web-a", "namespace": "shop"}
        }]
    })
}

fn web_pod(meshed: bool, annotations: Value) -> Value {
    let mut labels = json!({"pod-template-hash": "abc"});
    if meshed {
        labels["linkerd.io/control-plane-ns"] = "linkerd".into();
        labels["linkerd.io/proxy-deployment"] = "web".into();
    }
    json!({
        "metadata": {"name": "web-a", "namespace": "shop", "labels": labels, "annotations": annotations},
        "spec": {"serviceAccountName": "web", "containers": [{"name": "c", "ports": [{"name": "main", "containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIPs": [{"ip": "10.42.0.5"}]}
    })
}

fn web(meshed: bool, annotations: Value) -> Index {
    let mut index = index();
    put_service(&mut index, web_service());
    put_slice(&mut index, web_slice(true));
    put_pod(&mut index, web_pod(meshed, annotations));
    index
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn key(name: &str) -> Key {
    Key::new("shop", name)
}

#[test]
fn a_meshed_endpoint_has_identity_hint_and_transport_port() {
    let view = web(true, json!({})).endpoints(&key("web"), 80, None);
    let endpoint = &view.endpoints[&addr("10.42.0.5:8080")];
    assert_eq!(endpoint.weight, 10_000);
    assert_eq!(endpoint.identity.as_deref(), Some("web.shop.serviceaccount.identity.linkerd.cluster.local"));
    assert_eq!((endpoint.hint, endpoint.transport_port), (Hint::H2, Some(4143)));
    let label = |name: &str| endpoint.labels.get(name).map(String::as_str);
    assert_eq!(label("deployment"), Some("web"));
    assert_eq!(label("pod"), Some("web-a"));
    assert_eq!(label("zone"), Some("z1"));
}

#[test]
fn an_unmeshed_endpoint_is_plain() {
    let view = web(false, json!({})).endpoints(&key("web"), 80, None);
    let endpoint = &view.endpoints[&addr("10.42.0.5:8080")];
    assert_eq!(
        (endpoint.identity.as_ref(), endpoint.hint, endpoint.transport_port),
        (None, Hint::Unknown, None)
    );
}

#[test]
fn a_port_that_skips_the_proxy_is_plain_though_its_pod_is_meshed() {
    let notes = json!({"config.linkerd.io/skip-inbound-ports": "8080"});
    let view = web(true, notes).endpoints(&key("web"), 80, None);
    let endpoint = &view.endpoints[&addr("10.42.0.5:8080")];
    assert_eq!((endpoint.identity.as_ref(), endpoint.hint), (None, Hint::Unknown));
}

#[test]
fn opaque_ports_are_hinted_by_default_list_number_or_name() {
    let index = web(true, json!({}));
    assert_eq!(
        index.endpoints(&key("web"), 3306, None).endpoints[&addr("10.42.0.5:3306")].hint,
        Hint::Opaque
    );
    let index = web(true, json!({"config.linkerd.io/opaque-ports": "main"}));
    assert_eq!(index.endpoints(&key("web"), 80, None).endpoints[&addr("10.42.0.5:8080")].hint, Hint::Opaque);
    assert_eq!(index.endpoints(&key("web"), 3306, None).endpoints[&addr("10.42.0.5:3306")].hint, Hint::H2);
}

#[test]
fn an_endpoint_is_not_told_before_its_pod_is_known() {
    let mut index = index();
    put_service(&mut index, web_service());
    put_slice(&mut index, web_slice(true));
    assert!(index.endpoints(&key("web"), 80, None).endpoints.is_empty());
    let touched = put_pod(&mut index, web_pod(true, json!({})));
    assert!(touched.services.contains(&key("web")));
    assert_eq!(index.endpoints(&key("web"), 80, None).endpoints.len(), 1);
}

#[test]
fn unready_endpoints_and_undefined_ports_have_no_endpoints() {
    let mut index = web(true, json!({}));
    assert!(index.endpoints(&key("web"), 81, None).endpoints.is_empty());
    put_slice(&mut index, web_slice(false));
    let view = index.endpoints(&key("web"), 80, None);
    assert!(view.exists && view.endpoints.is_empty());
    assert!(!index.endpoints(&key("other"), 80, None).exists);
}

#[test]
fn one_endpoint_can_be_asked_for_by_its_host_name() {
    let index = web(true, json!({}));
    assert_eq!(index.endpoints(&key("web"), 80, Some("web-0")).endpoints.len(), 1);
    assert!(index.endpoints(&key("web"), 80, Some("web-1")).endpoints.is_empty());
}

#[test]
fn a_mirror_leads_to_the_gateway_under_the_remote_name() {
    let mut index = index();
    put_service(
        &mut index,
        json!({
            "metadata": {"name": "web-east", "namespace": "shop", "labels": {"mirror.linkerd.io/mirrored-service": "true"}},
            "spec": {"clusterIPs": ["10.43.0.8"], "ports": [{"name": "http", "port": 80}, {"name": "db", "port": 3306}]}
        }),
    );
    put_slice(&mut index, gateway_slice("web-east", "web-east", "east", "198.18.1.10", None));
    let view = index.endpoints(&key("web-east"), 80, None);
    let endpoint = &view.endpoints[&addr("198.18.1.10:4143")];
    assert!(endpoint.identity.as_deref().is_some_and(|i| i.starts_with("linkerd-gateway.")));
    assert_eq!(endpoint.authority_override.as_deref(), Some("web.shop.svc.cluster.local:80"));
    assert_eq!((endpoint.hint, endpoint.transport_port), (Hint::H2, None));
    let opaque = index.endpoints(&key("web-east"), 3306, None);
    assert_eq!(opaque.endpoints[&addr("198.18.1.10:4143")].hint, Hint::Opaque);
}

fn federated() -> Index {
    let mut index = web(true, json!({}));
    put_service(
        &mut index,
        json!({
            "metadata": {
                "name": "web-federated", "namespace": "shop",
                "labels": {"mirror.linkerd.io/federated-service": "true"},
                "annotations": {"multicluster.linkerd.io/local-discovery": "web"}
            },
            "spec": {"clusterIPs": ["10.43.0.9"], "ports": [{"name": "http", "port": 80}]}
        }),
    );
    put_slice(
        &mut index,
        gateway_slice("web-federated-east", "web-federated", "east", "198.18.1.10", Some(3)),
    );
    put_slice(
        &mut index,
        gateway_slice("web-federated-north", "web-federated", "north", "198.18.3.10", Some(0)),
    );
    index
}

#[test]
fn a_federated_service_merges_local_endpoints_and_gateways_by_ready_count() {
    let view = federated().endpoints(&key("web-federated"), 80, None);
    let weights: Vec<_> = view.endpoints.iter().map(|(a, e)| (a.to_string(), e.weight)).collect();
    assert_eq!(weights, [("10.42.0.5:8080".to_owned(), 10_000), ("198.18.1.10:4143".to_owned(), 30_000)]);
}

#[test]
fn members_of_a_federated_service_are_asked_for_by_cluster() {
    let index = federated();
    let of = |member: &str| -> Vec<String> {
        let view = index.endpoints(&key("web-federated"), 80, Some(member));
        view.endpoints.keys().map(ToString::to_string).collect()
    };
    assert_eq!(of(LOCAL_MEMBER), ["10.42.0.5:8080"]);
    assert_eq!(of("east"), ["198.18.1.10:4143"]);
    assert!(of("north").is_empty() && of("south").is_empty());
}

#[test]
fn a_change_of_the_local_member_touches_the_federated_service() {
    let mut index = federated();
    let touched = put_slice(&mut index, web_slice(false));
    assert_eq!(touched.services, [key("web"), key("web-federated")].into());
    assert!(index.endpoints(&key("web-federated"), 80, Some(LOCAL_MEMBER)).endpoints.is_empty());
}

#[test]
fn profiles_tell_services_pods_undefined_ports_and_strangers_apart() {
    let index = web(true, json!({}));
    let ProfileView::Service { name, opaque, .. } = index.profile_of(addr("10.43.0.7:80")) else {
        panic!("service")
    };
    assert_eq!((name.as_str(), opaque), ("web.shop.svc.cluster.local", false));
    assert_eq!(index.profile_of(addr("10.43.0.7:81")), ProfileView::UndefinedPort);
    let ProfileView::Pod { endpoint, .. } = index.profile_of(addr("10.42.0.5:9999")) else { panic!("pod") };
    assert_eq!(endpoint.transport_port, Some(4143));
    assert_eq!(index.profile_of(addr("1.1.1.1:25")), ProfileView::Unknown { opaque: true });
    assert_eq!(index.profile_of(addr("1.1.1.1:443")), ProfileView::Unknown { opaque: false });
}

#[test]
fn a_finished_pod_gives_its_address_up() {
    let mut index = web(true, json!({}));
    let mut done = web_pod(true, json!({}));
    done["status"]["phase"] = "Succeeded".into();
    let touched = put_pod(&mut index, done);
    assert!(touched.ips.contains(&"10.42.0.5".parse().expect("an address")));
    assert!(matches!(index.profile_of(addr("10.42.0.5:80")), ProfileView::Unknown { .. }));
}

#[test]
fn what_is_told_again_touches_nothing() {
    let mut index = web(true, json!({}));
    assert!(put_service(&mut index, web_service()).is_empty());
    assert!(put_slice(&mut index, web_slice(true)).is_empty());
    assert!(put_pod(&mut index, web_pod(true, json!({}))).is_empty());
}

proptest! {
    /// Whatever the order of changes, the index answers as one that was told the final state only.
    #[test]
    fn order_of_changes_does_not_matter(steps in prop::collection::vec((0..3usize, any::<bool>()), 0..40)) {
        let mut index = index();
        let mut last = [false; 3];
        for (kind, present) in steps {
            last[kind] = present;
            step(&mut index, kind, present);
        }
        let mut fresh = Index::new(settings());
        for (kind, present) in last.into_iter().enumerate() {
            step(&mut fresh, kind, present);
        }
        prop_assert_eq!(index.endpoints(&key("web"), 80, None), fresh.endpoints(&key("web"), 80, None));
        for ip in ["10.43.0.7:80", "10.42.0.5:8080"] {
            prop_assert_eq!(index.profile_of(addr(ip)), fresh.profile_of(addr(ip)));
        }
        prop_assert_eq!(index.sizes(), fresh.sizes());
    }
}

fn step(index: &mut Index, kind: usize, present: bool) {
    match kind {
        0 => index.set_service(&key("web"), present.then(|| service(web_service()).1)),
        1 => index.set_slice(&key("web-1"), present.then(|| slice(web_slice(true)).1)),
        _ => index.set_pod(&key("web-a"), present.then(|| pod(web_pod(true, json!({}))).1)),
    };
}

#[test]
fn zones_of_nodes_are_learned_from_the_endpoints_on_them() {
    let mut index = index();
    assert_eq!(index.zone_of("n1"), None);
    let mut object = web_slice(true);
    object["endpoints"][0]["hints"] = json!({"forZones": [{"name": "z1"}]});
    put_service(&mut index, web_service());
    put_pod(&mut index, web_pod(true, json!({})));
    put_slice(&mut index, object);
    assert_eq!(index.zone_of("n1"), Some("z1"));
    let view = index.endpoints(&key("web"), 80, None);
    assert_eq!(view.endpoints[&addr("10.42.0.5:8080")].for_zones, ["z1"]);
    index.set_slice(&key("web-1"), None);
    assert_eq!(index.zone_of("n1"), None);
}
