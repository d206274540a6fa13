use super::*;
use proptest::prelude::*;

#[test]
fn mirror_of_a_short_name_is_service_dash_cluster() {
    let west: ClusterName = "west".parse().unwrap();
    assert_eq!(mirror_name("catalog", &west), ("catalog-west".to_owned(), false));
}

#[test]
fn local_is_not_a_cluster_name() {
    assert_eq!("local".parse::<ClusterName>(), Err(NameError::Reserved("local".to_owned())));
}

proptest! {
    #[test]
    fn every_mirror_name_is_a_label_and_distinct(a in "[a-z]([-a-z0-9]{0,61}[a-z0-9])?", b in "[a-z]([-a-z0-9]{0,61}[a-z0-9])?", c in "[a-z]{1,20}") {
        prop_assume!(c != "local");
        let cluster: ClusterName = c.parse().unwrap();
        let (na, _) = mirror_name(&a, &cluster);
        let (nb, _) = mirror_name(&b, &cluster);
        prop_assert!(validate_dns_label(&na).is_ok());
        prop_assert_eq!(a == b, na == nb);
    }
}
