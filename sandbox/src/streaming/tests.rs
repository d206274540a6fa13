use super::*;

fn pod(containers: &[&str]) -> Value {
    let containers: Vec<_> = containers.iter().map(|name| json!({ "name": name })).collect();
    json!({ "metadata": { "namespace": "shop", "name": "web" }, "spec": { "containers": containers } })
}

#[test]
fn the_container_may_be_left_out_only_when_it_is_clear() {
    assert_eq!(container(&pod(&["main"]), None).unwrap().container, "main");
    let message = container(&pod(&["main", "proxy"]), None).unwrap_err();
    assert!(message.contains("choose one of: [main proxy]"), "{message}");
    assert_eq!(container(&pod(&["main", "proxy"]), Some("proxy")).unwrap().container, "proxy");
    assert!(container(&pod(&["main"]), Some("other")).is_err());
    let mut annotated = pod(&["main", "proxy"]);
    annotated["metadata"]["annotations"] = json!({ "kubectl.kubernetes.io/default-container": "main" });
    assert_eq!(container(&annotated, None).unwrap().container, "main");
}

#[test]
fn query_parameters_are_decoded() {
    let query = parameters("command=sh&command=-c&command=echo+a%20b&tty=true");
    let command: Vec<_> =
        query.iter().filter(|(key, _)| key == "command").map(|(_, value)| value.as_str()).collect();
    assert_eq!(command, ["sh", "-c", "echo a b"]);
    assert!(is_set(&query, "tty") && !is_set(&query, "stdin"));
}
