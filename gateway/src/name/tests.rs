use super::*;

#[test]
fn only_services_of_the_cluster_are_forwarded() {
    let suffixes = ["svc.cluster.local".to_owned()];
    for name in ["web.shop.svc.cluster.local", "web-0.web.shop.svc.cluster.local"] {
        assert!(is_ours(name, &suffixes), "{name}");
    }
    for name in [
        "shop.svc.cluster.local",
        "svc.cluster.local",
        "web.shop.svc.other.local",
        "web.shop.evilsvc.cluster.local",
        "example.org",
        ".shop.svc.cluster.local",
        "a.b.c.d.svc.cluster.local",
        "",
    ] {
        assert!(!is_ours(name, &suffixes), "{name}");
    }
}

#[test]
fn gateways_of_any_trust_domain_are_known_by_their_name() {
    let named = |name: &str| is_gateway(&name.parse().unwrap());
    let suffix = "serviceaccount.identity.linkerd.example.org";
    assert!(named(&format!("linkerd-gateway.linkerd-multicluster.{suffix}")));
    assert!(!named(&format!("linkerd-gateway.shop.{suffix}")));
    assert!(!named(&format!("web.linkerd-multicluster.{suffix}")));
}
