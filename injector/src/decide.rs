//! Whether a pod is to be injected, and if not, why.

use crate::overlay::Annotations;
use crate::pod::containers;
use crate::{INIT_CONTAINER, PROXY_CONTAINER};
use mesh_types::annotations::INJECT;
use serde_json::Value;

/// Why a pod is left alone. The text of [`as_str`](Self::as_str) appears in events and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SkipReason {
    /// The pod shares the node's network, where rules would redirect the whole node.
    HostNetwork,
    /// A proxy is in the pod already.
    SidecarExists,
    /// Neither the pod nor its namespace asks for injection.
    AnnotationAbsent,
    /// The pod asks to be left alone.
    DisabledAtWorkload,
    /// The namespace asks to be left alone.
    DisabledAtNamespace,
    /// The pod's annotation has a value nobody knows.
    InvalidAtWorkload,
    /// The namespace's annotation has a value nobody knows.
    InvalidAtNamespace,
}

impl SkipReason {
    /// The reason as events and metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HostNetwork => "host_network_enabled",
            Self::SidecarExists => "sidecar_already_exists",
            Self::AnnotationAbsent => "injection_enable_annotation_absent",
            Self::DisabledAtWorkload | Self::DisabledAtNamespace => "injection_disable_annotation_present",
            Self::InvalidAtWorkload => "invalid_inject_annotation_at_workload",
            Self::InvalidAtNamespace => "invalid_inject_annotation_at_ns",
        }
    }

    /// Whether an annotation holds what it cannot hold, so that somebody meant something else.
    pub fn is_mistake(self) -> bool {
        matches!(self, Self::InvalidAtWorkload | Self::InvalidAtNamespace)
    }

    /// The reason as a sentence for people.
    pub fn explain(self) -> &'static str {
        match self {
            Self::HostNetwork => "hostNetwork is enabled",
            Self::SidecarExists => "pod has a sidecar injected already",
            Self::AnnotationAbsent => {
                "neither the namespace nor the pod have the annotation \"linkerd.io/inject: enabled\""
            }
            Self::DisabledAtWorkload => "the pod has the annotation \"linkerd.io/inject: disabled\"",
            Self::DisabledAtNamespace => "the namespace has the annotation \"linkerd.io/inject: disabled\"",
            Self::InvalidAtWorkload => {
                "the pod's annotation linkerd.io/inject must be enabled, disabled or ingress"
            }
            Self::InvalidAtNamespace => {
                "the namespace's annotation linkerd.io/inject must be enabled, disabled or ingress"
            }
        }
    }
}

/// Sidecars of other meshes and ingress gateways that are proxies themselves.
const FOREIGN_IMAGES: [&str; 4] = [
    "cr.l5d.io/linkerd/proxy:",
    "gcr.io/istio-release/proxyv2:",
    "gcr.io/heptio-images/contour:",
    "docker.io/envoyproxy/envoy-alpine:",
];

/// Decides on a pod. `Ok(true)` asks for ingress mode.
///
/// # Errors
/// The reason to leave the pod alone.
pub fn decide(pod: &Value, workload: &Annotations, namespace: &Annotations) -> Result<bool, SkipReason> {
    if pod.pointer("/spec/hostNetwork").and_then(Value::as_bool) == Some(true) {
        return Err(SkipReason::HostNetwork);
    }
    if has_sidecar(pod) {
        return Err(SkipReason::SidecarExists);
    }
    match (workload.get(INJECT).map(String::as_str), namespace.get(INJECT).map(String::as_str)) {
        (Some("enabled"), _) | (None, Some("enabled")) => Ok(false),
        (Some("ingress"), _) | (None, Some("ingress")) => Ok(true),
        (Some("disabled"), _) => Err(SkipReason::DisabledAtWorkload),
        (Some(_), _) => Err(SkipReason::InvalidAtWorkload),
        (None, Some("disabled")) => Err(SkipReason::DisabledAtNamespace),
        (None, Some(_)) => Err(SkipReason::InvalidAtNamespace),
        (None, None) => Err(SkipReason::AnnotationAbsent),
    }
}

fn has_sidecar(pod: &Value) -> bool {
    let all = containers(pod, "containers").chain(containers(pod, "initContainers"));
    all.into_iter().any(|c| {
        let name = c.get("name").and_then(Value::as_str).unwrap_or_default();
        let image = c.get("image").and_then(Value::as_str).unwrap_or_default();
        [PROXY_CONTAINER, INIT_CONTAINER, "istio-proxy", "istio-init"].contains(&name)
            || FOREIGN_IMAGES.iter().any(|prefix| image.starts_with(prefix))
    })
}
