use super::*;
use serde_json::json;

const DEFAULT: &str = "25,3306";

fn written(service: &Value, namespace: &Annotations) -> Option<String> {
    let (ports, warning) = opaque_ports_of_service(service, namespace, DEFAULT);
    assert_eq!(warning, None);
    ports
}

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
    assert_eq!(written(&s, &namespace(None)).as_deref(), Some("33,25"));
}

#[test]
fn the_namespace_is_inherited_and_the_own_annotation_kept() {
    let mut s = service(json!([{"port": 3306}]));
    assert_eq!(written(&s, &namespace(Some("9"))).as_deref(), Some("9"));
    s["metadata"]["annotations"] = json!({OPAQUE_PORTS: ""});
    assert_eq!(written(&s, &namespace(Some("9"))), None);
}

#[test]
fn nothing_opaque_writes_nothing() {
    assert_eq!(written(&service(json!([{"port": 80}])), &namespace(None)), None);
    assert_eq!(written(&json!({}), &namespace(None)), None);
}

#[test]
fn a_list_that_cannot_be_read_is_told_of_and_not_handed_down() {
    let told = |service: &Value, namespace: &Annotations| {
        let (ports, warning) = opaque_ports_of_service(service, namespace, DEFAULT);
        assert_eq!(ports, None);
        warning.unwrap().to_string()
    };
    let mut s = service(json!([{"name": "sql", "port": 3306}]));
    assert!(told(&s, &namespace(Some("80-70"))).contains("on the namespace"));
    s["metadata"]["annotations"] = json!({OPAQUE_PORTS: "sq1"});
    assert!(told(&s, &namespace(None)).contains("nor the name of a port of this service"));
    s["metadata"]["annotations"] = json!({OPAQUE_PORTS: "sql"});
    assert_eq!(written(&s, &namespace(None)), None);
}
