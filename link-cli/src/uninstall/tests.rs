use super::*;

#[test]
fn objects_are_named_bare_and_in_reverse() {
    let object = |kind: &str, name: &str| {
        json!({"apiVersion": "v1", "kind": kind,
        "metadata": {"name": name, "namespace": "ns", "labels": {}}, "spec": {}})
    };
    let manifests: Vec<Manifest> = [object("Namespace", "a"), object("Service", "b")]
        .into_iter()
        .map(|object| Manifest { text: String::new(), object })
        .collect();
    let out = to_delete(&manifests, &[object("Secret", "c")]);
    let names: Vec<&str> = out.iter().map(|m| m.object["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["c", "b", "a"]);
    assert_eq!(out[0].object.get("spec"), None);
    assert_eq!(out[0].text, "apiVersion: v1\nkind: Secret\nmetadata:\n  name: c\n  namespace: ns\n");
}
