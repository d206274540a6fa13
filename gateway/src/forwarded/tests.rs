use super::*;

fn host(text: &str) -> Authority {
    Authority::parse(text, 80).unwrap()
}

fn id(name: &str) -> Identity {
    name.parse().unwrap()
}

#[test]
fn the_server_learns_gateway_client_and_host() {
    let element = element(&id("gw.mesh"), &id("web.shop"), &host("cart.shop.svc.cluster.local:80"));
    assert_eq!(element, "by=gw.mesh;for=web.shop;host=cart.shop.svc.cluster.local:80;proto=https");
}

#[test]
fn only_the_same_gateway_for_the_same_host_is_a_loop() {
    let mut map = HeaderMap::new();
    map.insert(
        "forwarded",
        HeaderValue::from_static("for=1.2.3.4, By=gw.mesh; for=x; host=\"cart.shop:80\""),
    );
    assert!(loops(&map, &id("gw.mesh"), &host("cart.shop:80")));
    assert!(!loops(&map, &id("gw.mesh"), &host("web.shop:80")));
    assert!(!loops(&map, &id("other.mesh"), &host("cart.shop:80")));
}

#[test]
fn what_the_client_claims_is_dropped() {
    let mut map = HeaderMap::new();
    for (name, value) in [
        ("l5d-client-id", "forged"),
        ("forwarded", "for=forged"),
        ("isthmus-retry-safe", "true"),
        ("x-app", "1"),
    ] {
        map.append(name, HeaderValue::from_static(value));
    }
    stamp(&mut map, &HeaderValue::from_static("for=web.shop"));
    assert_eq!(map["forwarded"], "for=web.shop");
    assert_eq!(map["x-app"], "1");
    assert_eq!(map.len(), 2);
}
