use super::*;
use serde_json::json;

fn addresses() -> Addresses {
    Addresses {
        node: Ipv4Addr::new(198, 18, 1, 2),
        services: "10.43.0.0/16".parse().unwrap(),
        external: "198.18.1.0/24".parse().unwrap(),
    }
}

fn service(name: &str, spec: Value) -> Value {
    json!({ "metadata": { "namespace": "shop", "name": name }, "spec": spec, "status": { "loadBalancer": {} } })
}

fn slice(name: &str, port: &str, number: u16, endpoints: &[(&str, Option<bool>)]) -> Value {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|(ip, ready)| json!({ "addresses": [ip], "conditions": { "ready": ready, "serving": true, "terminating": ready == &Some(false) } }))
        .collect();
    json!({
        "metadata": { "namespace": "shop", "name": format!("{name}-1"), "labels": { SERVICE_NAME: name } },
        "ports": [{ "name": port, "port": number, "protocol": "TCP" }], "endpoints": endpoints,
    })
}

fn rendered(services: &[Value], slices: &[Value]) -> String {
    render(&addresses(), services.iter(), slices.iter())
}

#[test]
fn a_cluster_ip_is_spread_over_ready_endpoints() {
    let service =
        service("web", json!({ "clusterIP": "10.43.0.20", "ports": [{ "name": "http", "port": 80 }] }));
    let slice = slice(
        "web",
        "http",
        8080,
        &[("10.42.0.6", Some(true)), ("10.42.0.5", None), ("10.42.0.7", Some(false))],
    );
    let script = rendered(&[service], &[slice]);
    assert_eq!(script, include_str!("golden/cluster_ip.nft"));
}

#[test]
fn load_balancer_and_node_port_lead_to_the_same_endpoints() {
    let mut service = service(
        "gateway",
        json!({ "type": "LoadBalancer", "clusterIP": "10.43.0.21",
            "ports": [{ "name": "mc-gateway", "port": 4143, "nodePort": 30143, "protocol": "TCP" }] }),
    );
    service["status"] = json!({ "loadBalancer": { "ingress": [{ "ip": "198.18.1.10" }] } });
    let script = rendered(&[service], &[slice("gateway", "mc-gateway", 4143, &[("10.42.0.9", Some(true))])]);
    assert_eq!(script, include_str!("golden/load_balancer.nft"));
}

#[test]
fn without_ready_endpoints_those_still_serving_are_used() {
    let service = service("web", json!({ "clusterIP": "10.43.0.20", "ports": [{ "port": 80 }] }));
    let script = rendered(&[service], &[slice("web", "", 8080, &[("10.42.0.7", Some(false))])]);
    assert!(script.contains("dnat to 10.42.0.7:8080"), "{script}");
}

#[test]
fn headless_services_and_unserved_ports_make_no_rules() {
    let headless = service("headless", json!({ "clusterIP": "None", "ports": [{ "port": 80 }] }));
    let empty = service("empty", json!({ "clusterIP": "10.43.0.30", "ports": [{ "port": 80 }] }));
    let script = rendered(&[headless, empty], &[slice("headless", "", 80, &[("10.42.0.7", Some(true))])]);
    assert!(!script.contains("svc/"), "{script}");
    assert!(script.contains("reject with tcp reset"));
}

#[test]
fn client_affinity_hashes_the_source() {
    let spec = json!({ "clusterIP": "10.43.0.20", "sessionAffinity": "ClientIP", "ports": [{ "port": 80 }] });
    let endpoints = slice("web", "", 80, &[("10.42.0.7", Some(true)), ("10.42.0.8", Some(true))]);
    assert!(rendered(&[service("web", spec)], &[endpoints]).contains("jhash ip saddr mod 2"));
}
