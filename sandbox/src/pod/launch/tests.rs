use serde_json::json;

use super::*;

const DNS: Ipv4Addr = Ipv4Addr::new(10, 43, 0, 10);

#[test]
fn resolv_conf_follows_the_dns_policy() {
    let pod = |spec: Value| json!({ "metadata": { "namespace": "shop" }, "spec": spec });
    assert_eq!(
        resolv_conf(&pod(json!({ "dnsPolicy": "ClusterFirst" })), DNS, "cluster.local"),
        "nameserver 10.43.0.10\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
    );
    let own = json!({ "dnsPolicy": "None", "dnsConfig": {
        "nameservers": ["1.2.3.4"], "searches": ["x"], "options": [{ "name": "ndots", "value": "1" }, { "name": "tcp" }],
    } });
    assert_eq!(
        resolv_conf(&pod(own), DNS, "cluster.local"),
        "nameserver 1.2.3.4\nsearch x\noptions ndots:1 tcp\n"
    );
}

#[test]
fn arguments_follow_the_command_or_the_images_binary() {
    let image = Image { binary: "/b".into(), entrypoint: "/isthmus/isthmus-demo".into(), is_ours: true };
    let env = [("PORT".to_owned(), "80".to_owned())].into();
    let of = |container: Value| argv(&container, &image, &env);
    assert_eq!(of(json!({ "args": ["web", "$(PORT)"] })), ["/isthmus/isthmus-demo", "web", "80"]);
    assert_eq!(of(json!({ "command": ["sh"], "args": ["-c", "x"] })), ["sh", "-c", "x"]);
}

#[test]
fn hosts_name_the_pod_and_its_aliases() {
    let pod = json!({
        "metadata": { "namespace": "shop" },
        "spec": { "subdomain": "web", "hostAliases": [{ "ip": "1.1.1.1", "hostnames": ["a", "b"] }] },
    });
    let text = hosts(&pod, "web-0", Ipv4Addr::new(10, 42, 0, 2), "cluster.local");
    assert!(text.ends_with("10.42.0.2\tweb-0.web.shop.svc.cluster.local\tweb-0\n1.1.1.1\ta\tb\n"), "{text}");
}
