use super::*;

#[test]
fn service_account_identity_round_trips() {
    let id: Identity = "web.shop.serviceaccount.identity.linkerd.cluster.local".parse().unwrap();
    let parts = id.workload().unwrap();
    assert_eq!((parts.service_account.as_str(), parts.namespace.as_str()), ("web", "shop"));
    assert_eq!(
        (parts.control_plane_namespace.as_str(), parts.trust_domain.as_str()),
        ("linkerd", "cluster.local")
    );
    assert_eq!(parts.identity().unwrap(), id);
}

#[test]
fn dotted_service_account_keeps_its_dots() {
    let id: Identity = "a.b.shop.serviceaccount.identity.linkerd.td".parse().unwrap();
    assert_eq!(id.workload().unwrap().service_account, "a.b");
}

#[test]
fn identity_refuses_what_is_not_a_dns_name() {
    assert!(matches!("".parse::<Identity>(), Err(IdentityError::Length(0))));
    assert!("UPPER.case".parse::<Identity>().is_err());
    assert!("a..b".parse::<Identity>().is_err());
    assert!("spaces here".parse::<Identity>().is_err());
    assert!(matches!("plain.name".parse::<Identity>().unwrap().workload(), Err(IdentityError::Form(_))));
}
