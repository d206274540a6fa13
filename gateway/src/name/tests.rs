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
