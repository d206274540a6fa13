//! The proxy's environment: the `LINKERD2_PROXY_*` contract between injector and proxy.

use crate::Values;
use crate::inject::Workload;
use crate::pod::{container_ports, resolve_named_ports};
use crate::values::Proxy;
use mesh_types::ports;
use serde_json::{Value, json};

/// How long protocol detection waits where its timeout is switched off.
const NEVER: &str = "365d";

/// A list of EnvVar in the order Kubernetes will expand `$(…)` references.
struct Env(Vec<Value>);

impl Env {
    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.push(json!({"name": name, "value": value.into()}));
    }

    fn proxy(&mut self, name: &str, value: impl Into<String>) {
        self.set(&format!("LINKERD2_PROXY_{name}"), value);
    }

    fn proxy_if(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.proxy(name, value);
        }
    }

    fn field(&mut self, name: &str, path: &str) {
        self.0.push(json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}));
    }
}

/// The environment of the proxy in `pod`.
pub(crate) fn proxy_env(pod: &Value, workload: &Workload<'_>, values: &Values) -> Vec<Value> {
    let mut env = Env(Vec::new());
    downward(&mut env);
    env.set("_l5d_ns", workload.control_plane_namespace);
    env.set("_l5d_trustdomain", values.trust_domain());
    process(&mut env, &values.proxy);
    control_plane(&mut env, workload, values);
    streams(&mut env, &values.proxy);
    listeners(&mut env, values);
    inbound(&mut env, pod, values);
    timeouts(&mut env, &values.proxy);
    identity(&mut env, workload, values);
    let mut list = env.0;
    for extra in values.proxy.additional_env.iter().chain(&values.proxy.experimental_env) {
        // The last one wins: users may override anything.
        list.retain(|e| e.get("name") != extra.get("name"));
        list.push(extra.clone());
    }
    list
}

fn downward(env: &mut Env) {
    env.field("_pod_name", "metadata.name");
    env.field("_pod_ns", "metadata.namespace");
    env.field("_pod_uid", "metadata.uid");
    env.field("_pod_ip", "status.podIP");
    env.field("_pod_nodeName", "spec.nodeName");
    env.field("_pod_sa", "spec.serviceAccountName");
    env.set("_pod_containerName", crate::PROXY_CONTAINER);
}

fn process(env: &mut Env, proxy: &Proxy) {
    let limit = whole_cpus(&proxy.resources.cpu.limit);
    if proxy.cores > 0 {
        env.proxy("CORES", proxy.cores.to_string());
    } else if let Some(limit) = limit {
        env.proxy("CORES", limit.to_string());
    }
    env.proxy("CORES_MIN", proxy.runtime.workers.minimum.to_string());
    if let Some(limit) = limit {
        env.proxy("CORES_MAX", limit.to_string());
    }
    if let Some(ratio) = proxy.runtime.workers.maximum_cpu_ratio {
        env.proxy("CORES_MAX_RATIO", ratio.to_string());
    }
    let headers = if proxy.log_http_headers == "insecure" { "" } else { ",[{headers}]=off,[{request}]=off" };
    env.proxy("LOG", format!("{}{headers}", proxy.log_level));
    env.proxy("LOG_FORMAT", proxy.log_format.as_str());
    env.proxy("SHUTDOWN_ENDPOINT_ENABLED", proxy.enable_shutdown_endpoint.to_string());
    env.proxy_if("SHUTDOWN_GRACE_PERIOD", &proxy.shutdown_grace_period);
    env.proxy_if("ACCESS_LOG", &proxy.access_log);
}

/// CPUs a limit such as `1500m` amounts to, rounded up.
fn whole_cpus(limit: &str) -> Option<u64> {
    let millis = match limit.strip_suffix('m') {
        Some(millis) => millis.parse::<f64>().ok()?,
        None => limit.parse::<f64>().ok()? * 1000.0,
    };
    (millis > 0.0).then(|| (millis / 1000.0).ceil() as u64)
}

fn control_plane(env: &mut Env, workload: &Workload<'_>, values: &Values) {
    let (ns, domain, trust) =
        (workload.control_plane_namespace, &values.cluster_domain, values.trust_domain());
    let name = |sa: &str| format!("{sa}.{ns}.serviceaccount.identity.{ns}.{trust}");
    env.proxy(
        "DESTINATION_SVC_ADDR",
        format!("linkerd-dst-headless.{ns}.svc.{domain}.:{}", ports::DESTINATION),
    );
    env.proxy("DESTINATION_SVC_NAME", name("linkerd-destination"));
    env.proxy("DESTINATION_PROFILE_NETWORKS", values.cluster_networks.as_str());
    let suffixes =
        if values.proxy.enable_external_profiles { ".".to_owned() } else { format!("svc.{domain}.") };
    env.proxy("DESTINATION_PROFILE_SUFFIXES", suffixes);
    let context = r#"{"ns":"$(_pod_ns)", "nodeName":"$(_pod_nodeName)", "pod":"$(_pod_name)"}"#;
    env.proxy("DESTINATION_CONTEXT", context);
    env.proxy("POLICY_SVC_ADDR", format!("linkerd-policy.{ns}.svc.{domain}.:{}", ports::POLICY));
    env.proxy("POLICY_SVC_NAME", name("linkerd-destination"));
    env.proxy("POLICY_WORKLOAD", r#"{"ns":"$(_pod_ns)", "pod":"$(_pod_name)"}"#);
    env.proxy("POLICY_CLUSTER_NETWORKS", values.cluster_networks.as_str());
    env.proxy("INBOUND_DEFAULT_POLICY", values.proxy.default_inbound_policy.as_str());
}

fn streams(env: &mut Env, proxy: &Proxy) {
    let streams = &proxy.control.streams;
    env.proxy("CONTROL_STREAM_INITIAL_TIMEOUT", streams.initial_timeout.as_str());
    env.proxy("CONTROL_STREAM_IDLE_TIMEOUT", streams.idle_timeout.as_str());
    env.proxy("CONTROL_STREAM_LIFETIME", streams.lifetime.as_str());
}

fn listeners(env: &mut Env, values: &Values) {
    let (p, any) = (&values.proxy.ports, if values.disable_ipv6 { "0.0.0.0" } else { "[::]" });
    env.proxy("CONTROL_LISTEN_ADDR", format!("{any}:{}", p.control));
    env.proxy("ADMIN_LISTEN_ADDR", format!("{any}:{}", p.admin));
    env.proxy("INBOUND_LISTEN_ADDR", format!("{any}:{}", p.inbound));
    let v4 = format!("127.0.0.1:{}", p.outbound);
    env.proxy("OUTBOUND_LISTEN_ADDR", v4.as_str());
    let all = if values.disable_ipv6 { v4 } else { format!("{v4},[::1]:{}", p.outbound) };
    env.proxy("OUTBOUND_LISTEN_ADDRS", all);
    if values.proxy.gateway {
        env.proxy("INBOUND_GATEWAY_SUFFIXES", format!("svc.{}.", values.cluster_domain));
        env.set("ISTHMUS_GATEWAY_PROBE_LISTEN_ADDR", format!("{any}:{}", ports::GATEWAY_PROBE));
    }
    if values.proxy.ingress {
        env.proxy("INGRESS_MODE", "true");
    }
}

fn inbound(env: &mut Env, pod: &Value, values: &Values) {
    let named = container_ports(pod);
    let proxy = &values.proxy;
    let mut numbers: Vec<u16> = named.iter().map(|(_, number)| *number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let computed = numbers.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
    let watched = if proxy.pod_inbound_ports.is_empty() { &computed } else { &proxy.pod_inbound_ports };
    env.field("LINKERD2_PROXY_INBOUND_IPS", "status.podIPs");
    env.proxy("INBOUND_PORTS", watched.as_str());
    let opaque = resolve_named_ports(&proxy.opaque_ports, &named);
    env.proxy_if("INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", &opaque);
    env.proxy_if("INBOUND_PORTS_REQUIRE_IDENTITY", &proxy.require_identity_on_inbound_ports);
}

fn timeouts(env: &mut Env, proxy: &Proxy) {
    env.proxy("INBOUND_CONNECT_TIMEOUT", proxy.inbound_connect_timeout.as_str());
    env.proxy("OUTBOUND_CONNECT_TIMEOUT", proxy.outbound_connect_timeout.as_str());
    env.proxy("OUTBOUND_DISCOVERY_IDLE_TIMEOUT", proxy.outbound_discovery_cache_unused_timeout.as_str());
    env.proxy("INBOUND_DISCOVERY_IDLE_TIMEOUT", proxy.inbound_discovery_cache_unused_timeout.as_str());
    if proxy.disable_outbound_protocol_detect_timeout {
        env.proxy("OUTBOUND_DETECT_TIMEOUT", NEVER);
    }
    if proxy.disable_inbound_protocol_detect_timeout {
        env.proxy("INBOUND_DETECT_TIMEOUT", NEVER);
    }
    env.proxy("INBOUND_ACCEPT_KEEPALIVE", "10000ms");
    env.proxy("OUTBOUND_CONNECT_KEEPALIVE", "10000ms");
    env.proxy("INBOUND_ACCEPT_USER_TIMEOUT", "30s");
    env.proxy("OUTBOUND_CONNECT_USER_TIMEOUT", "30s");
    for (name, direction) in [("INBOUND", &proxy.inbound), ("OUTBOUND", &proxy.outbound)] {
        let http2 = &direction.server.http2;
        env.proxy(&format!("{name}_SERVER_HTTP2_KEEP_ALIVE_INTERVAL"), http2.keep_alive_interval.as_str());
        env.proxy(&format!("{name}_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT"), http2.keep_alive_timeout.as_str());
    }
    env.proxy("OUTBOUND_METRICS_HOSTNAME_LABELS", proxy.metrics.hostname_labels.to_string());
}

fn identity(env: &mut Env, workload: &Workload<'_>, values: &Values) {
    let (ns, domain, trust) =
        (workload.control_plane_namespace, &values.cluster_domain, values.trust_domain());
    env.proxy("IDENTITY_DIR", crate::sidecar::IDENTITY_DIR);
    env.proxy("IDENTITY_TRUST_ANCHORS", values.identity_trust_anchors_pem.as_str());
    env.proxy("IDENTITY_TOKEN_FILE", format!("{}/linkerd-identity-token", crate::sidecar::TOKEN_DIR));
    env.proxy(
        "IDENTITY_SVC_ADDR",
        format!("linkerd-identity-headless.{ns}.svc.{domain}.:{}", ports::IDENTITY),
    );
    env.proxy(
        "IDENTITY_LOCAL_NAME",
        "$(_pod_sa).$(_pod_ns).serviceaccount.identity.$(_l5d_ns).$(_l5d_trustdomain)",
    );
    env.proxy("IDENTITY_SVC_NAME", format!("linkerd-identity.{ns}.serviceaccount.identity.{ns}.{trust}"));
}

#[cfg(test)]
mod tests;
