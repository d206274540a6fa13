use super::*;

#[test]
fn workloads_are_read_in_both_forms() {
    assert_eq!(workload(r#"{"ns":"shop","pod":"web-1"}"#), Ok(Key::new("shop", "web-1")));
    assert_eq!(workload("shop:web-1"), Ok(Key::new("shop", "web-1")));
    for bad in ["", "shop", ":web", "{}", r#"{"ns":"shop"}"#, "{"] {
        assert!(workload(bad).is_err(), "{bad}");
    }
}

#[test]
fn authorities_are_services_members_or_addresses() {
    let Ok(Destination::Name { service, port, part }) =
        authority("web.shop.svc.cluster.local:8080", "cluster.local")
    else {
        panic!("a name")
    };
    assert_eq!((service, port, part), (Key::new("shop", "web"), 8080, None));
    assert!(matches!(authority("10.43.0.9:80", "cluster.local"), Ok(Destination::Addr(_))));
    assert!(matches!(authority("example.com:80", "cluster.local"), Err(QueryError::Name { .. })));
}
