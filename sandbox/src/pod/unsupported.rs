//! Fields of a pod that the sandbox does not honour. Each is told in an event; none is ignored silently.

use serde_json::Value;

use crate::controllers::object;

/// Pod fields, and why.
const POD: [(&str, &str); 15] = [
    ("hostPID", "the pod has process ids of its own"),
    ("hostIPC", "the pod has IPC of its own"),
    ("shareProcessNamespace", "each container has process ids of its own"),
    ("nodeSelector", "there is one node"),
    ("affinity", "there is one node"),
    ("topologySpreadConstraints", "there is one node"),
    ("runtimeClassName", "there is one runtime"),
    ("activeDeadlineSeconds", "the pod runs as long as it likes"),
    ("ephemeralContainers", "they are not started"),
    ("resourceClaims", "there are no devices"),
    ("securityContext/seccompProfile", "no system call is filtered"),
    ("securityContext/seLinuxOptions", "there is no SELinux"),
    ("securityContext/appArmorProfile", "there is no AppArmor"),
    ("securityContext/sysctls", "sysctls stay as they are"),
    ("hostUsers", "users are the host's"),
];
/// Container fields, and why.
const CONTAINER: [(&str, &str); 10] = [
    ("resources/limits", "resources are not limited"),
    ("volumeDevices", "there are no block devices"),
    ("stdin", "standard input is empty"),
    ("tty", "there is no terminal"),
    ("lifecycle/stopSignal", "the signal is TERM"),
    ("securityContext/seccompProfile", "no system call is filtered"),
    ("securityContext/seLinuxOptions", "there is no SELinux"),
    ("securityContext/appArmorProfile", "there is no AppArmor"),
    ("securityContext/procMount", "/proc is mounted as by default"),
    ("restartPolicyRules", "the restart policy decides alone"),
];
/// Volume sources that exist here.
const VOLUMES: [&str; 6] = ["emptyDir", "configMap", "secret", "projected", "downwardAPI", "hostPath"];

/// One sentence per field that is set and not honoured.
pub(crate) fn fields(pod: &Value) -> Vec<String> {
    let mut out = Vec::new();
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    note(&mut out, spec, "spec", &POD);
    if object::text(spec, "/dnsPolicy") == "Default" {
        out.push("spec.dnsPolicy: the host's DNS is not reachable; cluster DNS answers".to_owned());
    }
    for list in ["initContainers", "containers"] {
        for container in object::items(spec, &format!("/{list}")) {
            let path = format!("spec.{list}[{}]", object::text(container, "/name"));
            note(&mut out, container, &path, &CONTAINER);
            let host_port = |port: &Value| object::int(port, "/hostPort").is_some_and(|port| port != 0);
            if !object::flag(spec, "/hostNetwork") && object::items(container, "/ports").iter().any(host_port)
            {
                out.push(format!("{path}.ports.hostPort: the node's address does not lead to the pod"));
            }
            for mount in object::items(container, "/volumeMounts") {
                if !matches!(object::text(mount, "/mountPropagation"), "" | "None") {
                    let name = object::text(mount, "/name");
                    out.push(format!(
                        "{path}.volumeMounts[{name}].mountPropagation: mounts do not propagate"
                    ));
                }
            }
        }
    }
    for volume in object::items(spec, "/volumes") {
        let path = format!("spec.volumes[{}]", object::text(volume, "/name"));
        if volume.pointer("/emptyDir/sizeLimit").is_some_and(|limit| !limit.is_null()) {
            out.push(format!("{path}.emptyDir.sizeLimit: the size is not limited"));
        }
        for source in volume.as_object().into_iter().flat_map(|volume| volume.keys()) {
            if source != "name" && !VOLUMES.contains(&source.as_str()) {
                out.push(format!("{path}.{source}: this source does not exist in the sandbox"));
            }
        }
    }
    out
}

fn note(out: &mut Vec<String>, object: &Value, path: &str, fields: &[(&str, &str)]) {
    for (field, why) in fields {
        if object.pointer(&format!("/{field}")).is_some_and(is_set) {
            out.push(format!("{path}.{}: {why}", field.replace('/', ".")));
        }
    }
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
