//! From a Link and its Secret to checked settings: every mistake is named with the field and the remedy.

use crate::model::{Expression, Key, LinkConfig, Selector};
use base64::Engine as _;
use mesh_kube::k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use mesh_kube::link::LinkSpec;
use mesh_types::{Identity, parse_duration};
use serde_json::Value;
use std::time::Duration;

/// Annotation on a Link: the gateway Service there as `namespace/name`, watched for its addresses. Without it, the
/// addresses in the Link stand.
pub const GATEWAY_SERVICE: &str = "isthmus.dev/gateway-service";

/// A probe may take this long where the Link says nothing, and never longer than the period: Linkerd's 30 s would hide
/// a dead gateway for too long.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const PROBE_PERIOD: Duration = Duration::from_secs(3);
const PROBE_FAILURES: u32 = 3;

/// Where the addresses of a gateway come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewaySource {
    /// Written in the Link: host names or addresses, and a port.
    Pinned {
        /// Host names or IP addresses.
        hosts: Vec<String>,
        /// Port that traffic takes.
        port: u16,
    },
    /// Watched: the Service there.
    Service(Key),
}

/// A Link that can be worked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its settings.
    pub config: LinkConfig,
    /// Its gateway.
    pub gateway: GatewaySource,
    /// The kubeconfig of the linked cluster.
    pub kubeconfig: String,
    /// When its token runs out, in seconds since 1970; `None` where it does not say.
    pub expires: Option<i64>,
}

/// Checks a Link object and its credentials Secret.
///
/// # Errors
/// All mistakes, one a line.
pub fn accept(link: &Value, secret: Option<&Value>) -> Result<Accepted, String> {
    let key = Key::of(link);
    let spec: LinkSpec =
        serde_json::from_value(link["spec"].clone()).map_err(|e| format!("spec cannot be read: {e}"))?;
    let mut wrong = Vec::new();
    let cluster =
        spec.target_cluster_name.parse().map_err(|e| wrong.push(format!("spec.targetClusterName: {e}"))).ok();
    let identity = spec.gateway_identity.clone().unwrap_or_default();
    if let Err(error) = identity.parse::<Identity>() {
        wrong.push(format!("spec.gatewayIdentity: {error}"));
    }
    let gateway = gateway_source(link, &spec).map_err(|e| wrong.push(e)).ok();
    let probe = probe(&spec).map_err(|e| wrong.push(e)).ok();
    let kubeconfig = kubeconfig(&spec, secret).map_err(|e| wrong.push(e)).ok();
    let (Some(cluster), Some(gateway), Some(probe), Some(kubeconfig)) = (cluster, gateway, probe, kubeconfig)
    else {
        return Err(wrong.join("\n"));
    };
    if !wrong.is_empty() {
        return Err(wrong.join("\n"));
    }
    let domain = Some(spec.target_cluster_domain.clone()).filter(|d| !d.is_empty());
    let config = LinkConfig {
        key,
        cluster,
        target_domain: domain.unwrap_or_else(|| mesh_types::CLUSTER_DOMAIN.to_owned()),
        gateway_identity: identity,
        exported: selector(spec.selector),
        federated: selector(spec.federated_service_selector),
        excluded_annotations: spec.excluded_annotations,
        excluded_labels: spec.excluded_labels,
        probe_period: probe.period,
        probe_timeout: probe.timeout,
        probe_failures: probe.failures,
        probe_path: probe.path,
        probe_port: probe.port,
    };
    let expires = expiry(&kubeconfig);
    Ok(Accepted { config, gateway, kubeconfig, expires })
}

fn gateway_source(link: &Value, spec: &LinkSpec) -> Result<GatewaySource, String> {
    if let Some(service) = link["metadata"]["annotations"][GATEWAY_SERVICE].as_str() {
        let (namespace, name) = service
            .split_once('/')
            .ok_or_else(|| format!("annotation {GATEWAY_SERVICE}: {service:?} must be namespace/name"))?;
        return Ok(GatewaySource::Service(Key::new(namespace, name)));
    }
    let addresses = spec.gateway_address.as_deref().unwrap_or_default();
    let hosts: Vec<String> =
        addresses.split(',').map(str::trim).filter(|h| !h.is_empty()).map(str::to_owned).collect();
    if hosts.is_empty() {
        return Err("spec.gatewayAddress: no address; link again with --gateway-addresses".to_owned());
    }
    let port = spec.gateway_port.as_deref().unwrap_or("4143");
    let port = number(port, "spec.gatewayPort")?;
    Ok(GatewaySource::Pinned { hosts, port })
}

struct Probe {
    period: Duration,
    timeout: Duration,
    failures: u32,
    path: String,
    port: u16,
}

fn probe(spec: &LinkSpec) -> Result<Probe, String> {
    let given = spec.probe_spec.clone().unwrap_or_default();
    let or = |text: &str, default: Duration, field: &str| match text {
        "" => Ok(default),
        text => parse_duration(text).map_err(|e| format!("spec.probeSpec.{field}: {e}")),
    };
    let period = or(&given.period, PROBE_PERIOD, "period")?.max(Duration::from_millis(100));
    let timeout = or(&given.timeout, PROBE_TIMEOUT, "timeout")?.min(period);
    let failures =
        match given.failure_threshold.as_str() {
            "" => PROBE_FAILURES,
            text => text.parse::<u32>().ok().filter(|n| *n > 0).ok_or_else(|| {
                format!("spec.probeSpec.failureThreshold: {text:?} must be a number over 0")
            })?,
        };
    Ok(Probe {
        period,
        timeout,
        failures,
        path: if given.path.is_empty() { "/ready".to_owned() } else { given.path },
        port: if given.port.is_empty() {
            mesh_types::ports::ADMIN
        } else {
            number(&given.port, "spec.probeSpec.port")?
        },
    })
}

fn kubeconfig(spec: &LinkSpec, secret: Option<&Value>) -> Result<String, String> {
    let name = &spec.cluster_credentials_secret;
    if name.is_empty() {
        return Err("spec.clusterCredentialsSecret: no name of a Secret".to_owned());
    }
    let secret = secret.ok_or_else(|| format!("Secret {name} does not exist beside the Link; link again"))?;
    let data = secret["data"]["kubeconfig"]
        .as_str()
        .ok_or_else(|| format!("Secret {name} has no key kubeconfig"))?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(data);
    let text = bytes.ok().and_then(|b| String::from_utf8(b).ok());
    text.ok_or_else(|| format!("Secret {name}: kubeconfig is not text"))
}

/// The end of a service account's token, as its second part (RFC 7519) says it.
fn expiry(kubeconfig: &str) -> Option<i64> {
    let config: Value = serde_saphyr::from_str(kubeconfig).ok()?;
    let token = config["users"].as_array()?.iter().find_map(|u| u["user"]["token"].as_str())?;
    let claims = token.split('.').nth(1)?;
    let claims =
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    serde_json::from_slice::<Value>(&claims).ok()?["exp"].as_i64()
}

fn number(text: &str, field: &str) -> Result<u16, String> {
    let parsed = text.trim().parse::<u16>().ok().filter(|p| *p != 0);
    parsed.ok_or_else(|| format!("{field}: {text:?} must be a port from 1 to 65535"))
}

fn selector(selector: Option<LabelSelector>) -> Selector {
    let Some(selector) = selector else { return Selector::default() };
    let expressions = selector.match_expressions.unwrap_or_default().into_iter();
    Selector {
        match_labels: selector.match_labels.unwrap_or_default(),
        match_expressions: expressions
            .map(|e| Expression { key: e.key, operator: e.operator, values: e.values.unwrap_or_default() })
            .collect(),
    }
}

#[cfg(test)]
mod tests;
