use serde_json::json;

use super::*;

const ADDRESSES: Addresses =
    Addresses { pod: Ipv4Addr::new(10, 42, 0, 2), host: Ipv4Addr::new(198, 18, 1, 2) };

#[test]
fn fields_read_as_the_kubelet_writes_them() {
    let pod = json!({
        "metadata": { "name": "web", "namespace": "shop", "labels": { "b": "2", "a": "say \"hi\"" } },
        "spec": { "nodeName": "n" },
    });
    let read = |path| field(&pod, path, ADDRESSES);
    assert_eq!(read("metadata.name").unwrap(), "web");
    assert_eq!(read("metadata.labels").unwrap(), "a=\"say \\\"hi\\\"\"\nb=\"2\"");
    assert_eq!(read("metadata.labels['b']").unwrap(), "2");
    assert_eq!(read("metadata.annotations['none']").unwrap(), "");
    assert_eq!(read("status.podIP").unwrap(), "10.42.0.2");
    assert_eq!(read("spec.nope"), None);
}

#[test]
fn quantities_are_divided_and_rounded_up() {
    let thousandths = |text: &str| quantity(&json!(text));
    assert_eq!(thousandths("100m"), Some(100));
    assert_eq!(thousandths("1.5"), Some(1500));
    assert_eq!(thousandths("64Mi"), Some(64 * 1024 * 1024 * 1000));
    assert_eq!(thousandths("1x"), None);

    let pod = json!({ "spec": { "containers": [{
        "name": "c", "resources": { "limits": { "cpu": "1500m", "memory": "20Mi" } },
    }] } });
    let read = |reference: Value| resource(&pod, &reference, "c").unwrap();
    assert_eq!(read(json!({ "resource": "limits.cpu" })), "2");
    assert_eq!(read(json!({ "resource": "limits.memory", "divisor": "1Mi" })), "20");
    assert_eq!(read(json!({ "resource": "requests.cpu" })), "0");
}
