//! Settings of Services that have no effect where they stand, and settings of Services and pods that differ.

use super::Context;
use super::control_plane::annotation;
use super::outcome::{Category, Verdict};
use mesh_kube::k8s_openapi::api::core::v1::{Pod, Service};
use mesh_kube::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mesh_kube::kube::api::ListParams;
use mesh_kube::kube::{Api, ResourceExt as _};
use mesh_types::{OpaquePorts, annotations, labels};
use std::collections::BTreeMap;

/// Adds the checks of Services to those of the data plane.
pub(super) async fn services(
    context: &Context,
    namespace: Option<&str>,
    pods: &[Pod],
    category: &mut Category,
) {
    let api: Api<Service> = match namespace {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    };
    let services = match api.list(&ListParams::default()).await {
        Ok(list) => list.items,
        Err(error) => {
            let verdict = Verdict::unanswered(&error);
            category.add("l5d-data-plane-services-labels", "data plane service labels are right", verdict);
            return;
        }
    };
    let as_label =
        |key: &String| key.starts_with(annotations::CONFIG_PREFIX) && key != labels::ADMISSION_WEBHOOKS;
    let why = named(&services, |s| s.labels().keys().any(as_label));
    category.add(
        "l5d-data-plane-services-labels",
        "data plane service labels are configured correctly",
        Verdict::warning_if(
            why.map(|names| format!("annotations written as labels: {names}")),
            "move config.linkerd.io/… from labels to annotations of the Service",
        ),
    );
    let as_annotation = [labels::EXPORTED, labels::FEDERATED];
    let why = named(&services, |s| as_annotation.iter().any(|key| s.annotations().contains_key(*key)));
    category.add(
        "l5d-data-plane-services-annotations",
        "data plane service annotations are configured correctly",
        Verdict::warning_if(
            why.map(|names| format!("labels written as annotations: {names}")),
            "move mirror.linkerd.io/exported and mirror.linkerd.io/federated from annotations to labels of the Service",
        ),
    );
    let differ: Vec<String> = services.iter().filter_map(|s| disagreement(s, pods)).collect();
    category.add(
        "linkerd-opaque-ports-definition",
        "opaque ports are properly annotated",
        Verdict::warning_if(
            (!differ.is_empty()).then(|| differ.join("; ")),
            "set config.linkerd.io/opaque-ports alike on the Service and on the pods behind it (or on their namespace)",
        ),
    );
}

fn named(services: &[Service], holds: impl Fn(&Service) -> bool) -> Option<String> {
    let found = services.iter().filter(|s| holds(s));
    let names: Vec<String> =
        found.map(|s| format!("{}/{}", s.namespace().unwrap_or_default(), s.name_any())).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// A port that is opaque for the Service and not for a pod behind it, or the other way round.
fn disagreement(service: &Service, pods: &[Pod]) -> Option<String> {
    let spec = service.spec.as_ref()?;
    let selector = spec.selector.as_ref().filter(|s| !s.is_empty())?;
    let selects = |pod: &&Pod| pod.namespace() == service.namespace() && within(selector, pod.labels());
    let pod = pods.iter().find(selects)?;
    // Without an annotation the Service goes by its namespace or the defaults, which its pods do too.
    let of_service = OpaquePorts::parse(service.annotations().get(annotations::OPAQUE_PORTS)?);
    let of_pod = OpaquePorts::parse(annotation(pod, annotations::OPAQUE_PORTS)?);
    for port in spec.ports.iter().flatten() {
        let port_number = u16::try_from(port.port).ok()?;
        let target = match &port.target_port {
            Some(IntOrString::Int(target)) => u16::try_from(*target).ok()?,
            Some(IntOrString::String(_)) => continue,
            None => port_number,
        };
        let there = of_service.contains(port_number, port.name.as_deref());
        let here = of_pod.contains(target, None);
        if there != here {
            let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
            let words = |opaque| if opaque { "opaque" } else { "not opaque" };
            return Some(format!(
                "port {port_number} of Service {namespace}/{name} is {}, port {target} of pod {} is {}",
                words(there),
                pod.name_any(),
                words(here)
            ));
        }
    }
    None
}

fn within(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}
