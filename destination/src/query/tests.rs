use super::*;

const DOMAIN: &str = "cluster.local";

#[test]
fn names_of_services_members_and_hosts_are_read() {
    let plain = service_query("web.shop.svc.cluster.local:8080", DOMAIN).expect("a query");
    assert_eq!((plain.service, plain.port, plain.part), (Key::new("shop", "web"), 8080, None));
    let member = service_query("east.web-federated.shop.svc.cluster.local.", DOMAIN).expect("a query");
    assert_eq!((member.port, member.part.as_deref()), (80, Some("east")));
}

#[test]
fn addresses_and_foreign_names_are_refused_with_what_is_wanted() {
    assert!(matches!(service_query("10.0.0.1:80", DOMAIN), Err(QueryError::Address(_))));
    for name in
        ["example.com", "web.shop.svc.cluster.remote", "web.svc.cluster.local", "svc.cluster.local", ""]
    {
        assert!(service_query(name, DOMAIN).is_err(), "{name}");
    }
}

#[test]
fn context_tokens_are_read_in_both_forms_and_nonsense_is_nobody() {
    assert_eq!(Context::parse("ns:shop").ns, "shop");
    let context = Context::parse(r#"{"ns":"shop","nodeName":"n1","pod":"web-1"}"#);
    assert_eq!((context.ns.as_str(), context.node.as_str()), ("shop", "n1"));
    assert_eq!(Context::parse("{"), Context::default());
}
