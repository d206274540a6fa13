use super::*;
use serde_json::json;

const DEFAULT: &str = "25,3306";

fn service(ports: Value) -> Value {
    json!({"metadata": {"name": "db"}, "spec": {"ports": ports}})
}

fn namespace(opaque: Option<&str>) -> Annotations {
    opaque.map(|p| (OPAQUE_PORTS.to_owned(), p.to_owned())).into_iter().collect()
}

#[test]
fn the_ports_whose_target_is_opaque_by_default_are_written_down() {
    let s =
        service(json!([{"port": 80}, {"port": 33, "targetPort": 3306}, {"port": 25, "targetPort": "smtp"}]));
    assert_eq!(opaque_ports_of_service(&s, &namespace(None), DEFAULT).as_deref(), Some("33,25"));
}

#[test]
fn the_namespace_is_inherited_and_the_own_annotation_kept() {
    let mut s = service(json!([{"port": 3306}]));
    assert_eq!(opaque_ports_of_service(&s, &namespace(Some("9")), DEFAULT).as_deref(), Some("9"));
    s["metadata"]["annotations"] = json!({OPAQUE_PORTS: ""});
    assert_eq!(opaque_ports_of_service(&s, &namespace(Some("9")), DEFAULT), None);
}

#[test]
fn nothing_opaque_writes_nothing() {
    assert_eq!(opaque_ports_of_service(&service(json!([{"port": 80}])), &namespace(None), DEFAULT), None);
    assert_eq!(opaque_ports_of_service(&json!({}), &namespace(None), DEFAULT), None);
}
