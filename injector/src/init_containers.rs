//! The containers that run before the sidecar: one writes the redirect rules, one proves them.

use crate::sidecar::resources;
use crate::values::Values;
use crate::{INIT_CONTAINER, VALIDATOR_CONTAINER};
use mesh_types::ports;
use serde_json::{Value, json};

/// The user the validator runs as: anybody but the proxy.
const NOBODY: u32 = 65_534;

/// Init containers in the order they run. With a CNI plugin only the proof remains.
pub(crate) fn init_containers(values: &Values) -> Vec<Value> {
    let validator = validator(values);
    let mut all = if values.cni_enabled { vec![validator] } else { vec![redirect(values), validator] };
    if let Some(resources) = resources(values) {
        all.iter_mut().for_each(|container| container["resources"] = resources.clone());
    }
    all
}

fn redirect(values: &Values) -> Value {
    let (init, proxy) = (&values.proxy_init, &values.proxy);
    let mut args = vec!["redirect".to_owned()];
    let mut flag = |name: &str, value: String| {
        args.push(format!("--{name}"));
        args.push(value);
    };
    flag("ipv6", (!values.disable_ipv6).to_string());
    flag("incoming-proxy-port", proxy.ports.inbound.to_string());
    flag("outgoing-proxy-port", proxy.ports.outbound.to_string());
    flag("proxy-uid", proxy.uid.to_string());
    if proxy.gid >= 0 {
        flag("proxy-gid", proxy.gid.to_string());
    }
    flag("inbound-ports-to-ignore", inbound_ports_to_ignore(values));
    if !init.ignore_outbound_ports.is_empty() {
        flag("outbound-ports-to-ignore", init.ignore_outbound_ports.clone());
    }
    if !init.skip_subnets.is_empty() {
        flag("subnets-to-ignore", init.skip_subnets.clone());
    }
    if init.close_wait_timeout_secs > 0 {
        flag("timeout-close-wait-secs", init.close_wait_timeout_secs.to_string());
    }
    // The kernel setting lies outside the pod's own namespaces.
    let privileged = init.privileged || init.close_wait_timeout_secs > 0;
    json!({
        "name": INIT_CONTAINER,
        "image": values.image(&init.image),
        "imagePullPolicy": values.pull_policy(&init.image),
        "args": args,
        "securityContext": {
            "allowPrivilegeEscalation": privileged,
            "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
            "privileged": privileged,
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": init.run_as_user != 0,
            "runAsUser": init.run_as_user,
            "runAsGroup": init.run_as_group,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
    })
}

fn inbound_ports_to_ignore(values: &Values) -> String {
    let p = &values.proxy.ports;
    let mut list = format!("{},{}", p.control, p.admin);
    if values.proxy.gateway {
        // Probed by mirrors of other clusters, without a mesh identity.
        list.push_str(&format!(",{}", ports::GATEWAY_PROBE));
    }
    if !values.proxy_init.ignore_inbound_ports.is_empty() {
        list.push_str(&format!(",{}", values.proxy_init.ignore_inbound_ports));
    }
    list
}

fn validator(values: &Values) -> Value {
    let validator = &values.network_validator;
    let listen = match validator.listen_addr.as_str() {
        "" => format!("0.0.0.0:{}", values.proxy.ports.outbound),
        addr => addr.to_owned(),
    };
    let mut args = vec!["validate".to_owned()];
    for (name, value) in
        [("connect-addr", &validator.connect_addr), ("listen-addr", &listen), ("timeout", &validator.timeout)]
    {
        args.push(format!("--{name}"));
        args.push(value.clone());
    }
    if !values.disable_ipv6 {
        args.push("--ipv6".to_owned());
    }
    json!({
        "name": VALIDATOR_CONTAINER,
        "image": values.image(&values.proxy_init.image),
        "imagePullPolicy": values.pull_policy(&values.proxy_init.image),
        "args": args,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": NOBODY,
            "runAsGroup": NOBODY,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
    })
}
