use super::{ListKind, Shape, find_type, kinds, type_of};

#[test]
fn every_reference_in_the_table_resolves() {
    fn check(shape: &Shape) {
        match shape {
            Shape::Ref(name) => assert!(find_type(name).is_some(), "{name}"),
            Shape::Map { value, .. } => check(value),
            Shape::List { item, .. } => check(item),
            _ => {}
        }
    }
    assert!(kinds().len() > 50);
    for kind in kinds() {
        let ty = find_type(kind.type_name).unwrap_or_else(|| panic!("{}", kind.type_name));
        ty.fields.values().for_each(|f| check(&f.shape));
    }
}

#[test]
fn list_keys_are_fields_of_the_listed_type() {
    for kind in super::TABLE.types.values() {
        for (name, field) in &kind.fields {
            if let Shape::List { item, kind: ListKind::Map(keys) } = &field.shape
                && let Shape::Ref(item) = item.as_ref()
            {
                let item = find_type(item).unwrap();
                assert!(keys.iter().all(|k| item.fields.contains_key(k)), "{}.{name}", kind.name);
            }
        }
    }
}

#[test]
fn kinds_are_found_by_api_version() {
    assert_eq!(type_of("v1", "Pod").unwrap().definition, "io.k8s.api.core.v1.Pod");
    assert_eq!(type_of("apps/v1", "Deployment").unwrap().name, "apps.v1.Deployment");
    assert!(type_of("apps/v1", "Pod").is_none());
    let ports =
        &type_of("v1", "Service").and_then(|_| find_type("core.v1.ServiceSpec")).unwrap().fields["ports"];
    assert!(
        matches!(&ports.shape, Shape::List { kind: ListKind::Map(keys), .. } if keys == &["port", "protocol"])
    );
}
