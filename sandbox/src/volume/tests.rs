use std::sync::Arc;

use super::*;
use serde_json::json;

fn lookup(kind: &str, name: &str) -> Option<Arc<Value>> {
    match (kind, name) {
        ("ConfigMap", "roots") => Some(Arc::new(
            json!({ "data": { "ca.crt": "PEM" }, "binaryData": { "raw": STANDARD.encode([0, 1]) } }),
        )),
        ("Secret", "issuer") => Some(Arc::new(
            json!({ "data": { "tls.key": STANDARD.encode("KEY"), "tls.crt": STANDARD.encode("CRT") } }),
        )),
        _ => None,
    }
}

fn rendered(volume: Value) -> Result<Vec<(String, String, u32)>, String> {
    let pod = json!({ "metadata": { "namespace": "shop", "name": "web", "labels": { "b": "2", "a": "1" } } });
    let token = |audience: &str, seconds: i64| Ok(format!("token for {audience:?} {seconds} s"));
    let files = files(&volume, &pod, &lookup, &token)?;
    let told =
        |(path, file): (String, File)| (path, String::from_utf8_lossy(&file.content).into_owned(), file.mode);
    Ok(files.into_iter().map(told).collect())
}

fn told(files: &[(&str, &str, u32)]) -> Result<Vec<(String, String, u32)>, String> {
    Ok(files.iter().map(|(path, content, mode)| ((*path).to_owned(), (*content).to_owned(), *mode)).collect())
}

#[test]
fn config_maps_and_secrets_are_files_by_key_or_item() {
    assert_eq!(
        rendered(json!({ "configMap": { "name": "roots" } })),
        told(&[("ca.crt", "PEM", 0o644), ("raw", "\0\u{1}", 0o644)])
    );
    let secret = json!({ "secret": { "secretName": "issuer", "defaultMode": 0o400,
        "items": [{ "key": "tls.key", "path": "keys/key.pem", "mode": 0o440 }, { "key": "tls.crt", "path": "crt.pem" }] } });
    assert_eq!(rendered(secret), told(&[("crt.pem", "CRT", 0o400), ("keys/key.pem", "KEY", 0o440)]));
}

#[test]
fn projected_volumes_gather_tokens_roots_and_the_downward_api() {
    let volume = json!({ "projected": { "sources": [
        { "serviceAccountToken": { "path": "token", "audience": "identity.l5d.io", "expirationSeconds": 86400 } },
        { "configMap": { "name": "roots", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
        { "downwardAPI": { "items": [{ "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } }] } },
    ] } });
    assert_eq!(
        rendered(volume),
        told(&[
            ("ca.crt", "PEM", 0o644),
            ("labels", "a=\"1\"\nb=\"2\"", 0o644),
            ("token", "token for \"identity.l5d.io\" 86400 s", 0o644),
        ])
    );
}

#[test]
fn what_is_missing_or_escapes_is_named() {
    assert_eq!(
        rendered(json!({ "secret": { "secretName": "nope" } })),
        Err("secret \"nope\" not found".to_owned())
    );
    assert_eq!(rendered(json!({ "secret": { "secretName": "nope", "optional": true } })), Ok(Vec::new()));
    let escaping =
        json!({ "configMap": { "name": "roots", "items": [{ "key": "ca.crt", "path": "../x" }] } });
    assert!(rendered(escaping).unwrap_err().contains("\"../x\""));
    assert!(!is_data(&json!({ "name": "x", "emptyDir": {} })));
}
