use super::*;
use crate::fixtures::{gateway_slice, service, settings, slice};
use serde_json::json;

fn query(name: &str) -> ServiceQuery {
    ServiceQuery { service: Key::new("shop", name), port: 80, part: None }
}

fn put(hub: &Hub, name: &str, ip: &str) {
    let (key, service) = service(json!({
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"clusterIPs": [ip], "ports": [{"name": "http", "port": 80}]}
    }));
    hub.change(|index| index.set_service(&key, Some(service)));
}

#[tokio::test]
async fn listeners_wake_for_their_own_service_only() {
    let hub = Hub::new(settings());
    put(&hub, "a", "10.43.0.1");
    put(&hub, "b", "10.43.0.2");
    let (a, b) = (hub.endpoints(&query("a")), hub.endpoints(&query("b")));
    let (key, slice) = slice(gateway_slice("a-1", "a", "east", "198.18.1.10", None));
    hub.change(|index| index.set_slice(&key, Some(slice)));
    assert!(a.has_changed().expect("open"));
    assert!(!b.has_changed().expect("open"));
    assert_eq!(a.borrow().endpoints.len(), 1);
}

#[tokio::test]
async fn an_address_follows_the_service_that_takes_it() {
    let hub = Hub::new(settings());
    let addr = ProfileQuery::Addr("10.43.0.1:80".parse().expect("an address"));
    let views = hub.profile(&addr);
    assert_eq!(**views.borrow(), ProfileView::Unknown { opaque: false });
    put(&hub, "a", "10.43.0.1");
    assert!(matches!(&**views.borrow(), ProfileView::Service { .. }));
    hub.change(|index| index.set_service(&Key::new("shop", "a"), None));
    assert_eq!(**views.borrow(), ProfileView::Unknown { opaque: false });
}

#[tokio::test]
async fn answers_without_listeners_are_cleared_away() {
    let hub = Hub::new(settings());
    let kept = hub.endpoints(&query("kept"));
    for n in 0..SWEEP_MIN * 2 {
        drop(hub.endpoints(&query(&format!("s{n}"))));
    }
    assert!(hub.answers()[0] <= SWEEP_MIN + 1, "{:?}", hub.answers());
    put(&hub, "kept", "10.43.0.1");
    assert!(kept.borrow().exists);
}
