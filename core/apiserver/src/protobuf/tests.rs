use super::decode;
use proptest::prelude::*;
use serde_json::json;

fn varint(mut n: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n >= 0x80 {
        bytes.push((n as u8 & 0x7f) | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}

fn number(field: u64, n: i64) -> Vec<u8> {
    [varint(field << 3), varint(n as u64)].concat()
}

fn bytes(field: u64, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    [varint(field << 3 | 2), varint(payload.len() as u64), payload.to_vec()].concat()
}

fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [bytes(1, api_version), bytes(2, kind)].concat();
    [b"k8s\0".to_vec(), bytes(1, meta), bytes(2, raw)].concat()
}

#[test]
fn a_deployment_decodes_as_its_json() {
    let metadata =
        [bytes(1, "web"), bytes(2, ""), bytes(8, ""), bytes(11, [bytes(1, "app"), bytes(2, "web")].concat())]
            .concat();
    let probe =
        [bytes(1, bytes(2, bytes(2, [number(1, 1), number(2, 0), bytes(3, "http")].concat()))), number(3, 0)]
            .concat();
    let port = [bytes(1, ""), number(2, 0), number(3, 8080)].concat();
    let limits = [bytes(1, "cpu"), bytes(2, bytes(1, "500m"))].concat();
    let container = [
        bytes(1, "c"),
        bytes(2, "i"),
        bytes(3, "a"),
        bytes(3, "b"),
        bytes(6, port),
        bytes(8, bytes(1, limits)),
        bytes(11, probe),
    ]
    .concat();
    let volume = [bytes(1, "v"), bytes(2, bytes(2, ""))].concat();
    let template =
        [bytes(1, bytes(1, "")), bytes(2, [bytes(1, volume), bytes(2, container)].concat())].concat();
    let spec = [number(1, 0), bytes(3, template)].concat();
    let decoded =
        decode(&envelope("apps/v1", "Deployment", &[bytes(1, metadata), bytes(2, spec)].concat())).unwrap();
    assert_eq!(
        decoded,
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {"replicas": 0, "template": {"metadata": {}, "spec": {
                "volumes": [{"name": "v", "emptyDir": {}}],
                "containers": [{"name": "c", "image": "i", "command": ["a", "b"], "ports": [{"containerPort": 8080}],
                    "resources": {"limits": {"cpu": "500m"}}, "readinessProbe": {"httpGet": {"port": "http"}}}]}}}})
    );
}

#[test]
fn secrets_times_and_lists_in_maps_decode() {
    let data = [bytes(1, "k"), bytes(2, "hi")].concat();
    let secret = decode(&envelope("v1", "Secret", &[bytes(2, data), bytes(3, "Opaque")].concat())).unwrap();
    assert_eq!((&secret["data"]["k"], &secret["type"]), (&json!("aGk="), &json!("Opaque")));
    let lease =
        bytes(2, [number(2, 15), bytes(4, [number(1, 1_700_000_000), number(2, 1000)].concat())].concat());
    let lease = decode(&envelope("coordination.k8s.io/v1", "Lease", &lease)).unwrap();
    assert_eq!(
        lease["spec"],
        json!({"leaseDurationSeconds": 15, "renewTime": "2023-11-14T22:13:20.000001Z"})
    );
    let extra = [bytes(1, "scopes"), bytes(2, [bytes(1, "a"), bytes(1, "b")].concat())].concat();
    let review =
        decode(&envelope("authorization.k8s.io/v1", "SubjectAccessReview", &bytes(2, bytes(5, extra))))
            .unwrap();
    assert_eq!(review["spec"]["extra"], json!({"scopes": ["a", "b"]}));
}

#[test]
fn what_cannot_be_decoded_says_so() {
    assert_eq!(decode(b"{}").unwrap_err().code().as_u16(), 400);
    assert_eq!(decode(&envelope("x.io/v1", "Link", &[])).unwrap_err().code().as_u16(), 415);
    assert_eq!(decode(&envelope("v1", "Pod", &[0xff])).unwrap_err().code().as_u16(), 400);
    let unknown = decode(&envelope("v1", "Pod", &bytes(99, "x"))).unwrap_err();
    assert!(unknown.to_string().contains("field 99 of io.k8s.api.core.v1.Pod"), "{unknown}");
}

proptest! {
    #[test]
    fn no_bytes_panic(raw in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = decode(&raw);
        let _ = decode(&envelope("v1", "Pod", &raw));
        let _ = decode(&envelope("apps/v1", "Deployment", &bytes(2, &raw)));
    }
}
