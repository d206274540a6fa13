use super::*;

#[test]
fn objects_are_named_bare_and_once_with_webhooks_first_and_namespaces_last() {
    let object = |kind: &str, name: &str| {
        json!({"apiVersion": "v1", "kind": kind,
        "metadata": {"name": name, "namespace": "ns", "labels": {}}, "spec": {}})
    };
    let manifests: Vec<Manifest> = [
        ("Namespace", "a"),
        ("CustomResourceDefinition", "b"),
        ("Secret", "c"),
        ("MutatingWebhookConfiguration", "d"),
        ("Service", "e"),
    ]
    .into_iter()
    .map(|(kind, name)| Manifest { text: String::new(), object: object(kind, name) })
    .collect();
    let out = to_delete(&manifests, &[object("ConfigMap", "f"), object("Service", "e")]);
    let names: Vec<&str> = out.iter().map(|m| m.object["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["d", "e", "f", "c", "b", "a"]);
    assert_eq!(out[3].object.get("spec"), None);
    assert_eq!(out[3].text, "apiVersion: v1\nkind: Secret\nmetadata:\n  name: c\n  namespace: ns\n");
}
