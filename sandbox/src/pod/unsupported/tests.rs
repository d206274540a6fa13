use serde_json::json;

use super::*;

#[test]
fn every_field_that_is_not_honoured_is_named_with_its_path() {
    let pod = json!({ "spec": {
        "hostPID": true, "nodeSelector": {}, "securityContext": { "sysctls": [{ "name": "x", "value": "y" }] },
        "containers": [{
            "name": "c", "tty": false, "resources": { "limits": { "cpu": "1" } },
            "ports": [{ "hostPort": 80 }],
        }],
        "volumes": [
            { "name": "a", "emptyDir": { "sizeLimit": "1Gi" } },
            { "name": "b", "persistentVolumeClaim": { "claimName": "x" } },
        ],
    } });
    let paths: Vec<String> =
        fields(&pod).iter().filter_map(|field| Some(field.split_once(": ")?.0.to_owned())).collect();
    assert_eq!(
        paths,
        [
            "spec.hostPID",
            "spec.securityContext.sysctls",
            "spec.containers[c].resources.limits",
            "spec.containers[c].ports.hostPort",
            "spec.volumes[a].emptyDir.sizeLimit",
            "spec.volumes[b].persistentVolumeClaim",
        ]
    );
}
