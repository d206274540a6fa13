//! A pod in, the pod with its sidecar out.

use crate::annotations::{NATIVE_SIDECAR, NATIVE_SIDECAR_OLD};
use crate::decide::{SkipReason, decide};
use crate::init_containers::init_containers;
use crate::overlay::{Annotations, overlay, unknown_port_names};
use crate::pod::{annotations_of, container_ports, containers};
use crate::service::opaque_among;
use crate::sidecar::{proxy_container, push, volumes};
use crate::values::Values;
use crate::warning::Warning;
use mesh_types::{annotations, labels};
use serde_json::{Value, json};

/// The annotation by which kubectl picks a container where none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// What is known of a pod beside the pod itself.
#[derive(Clone, Copy, Debug)]
pub struct Workload<'a> {
    /// Namespace the pod will be in.
    pub namespace: &'a str,
    /// Annotations of that namespace.
    pub namespace_annotations: &'a Annotations,
    /// The workload the pod belongs to.
    pub owner: Option<&'a Owner>,
    /// Namespace of the control plane.
    pub control_plane_namespace: &'a str,
    /// Who injects, for the annotation `linkerd.io/created-by`.
    pub created_by: &'a str,
}

/// The workload at the top of a pod's chain of owners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Kind, such as `Deployment`.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// What became of a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Injection {
    /// The pod with its sidecar, and what could not be obeyed.
    Injected(Box<Value>, Vec<Warning>),
    /// The pod is to stay as it is.
    Skipped(SkipReason),
}

/// Adds the sidecar to a pod (or to a pod template, which has the same shape).
pub fn inject(pod: &Value, workload: &Workload<'_>, values: &Values) -> Injection {
    let own = annotations_of(pod);
    let ingress = match decide(pod, &own, workload.namespace_annotations) {
        Ok(ingress) => ingress,
        Err(reason) => return Injection::Skipped(reason),
    };
    let (mut values, mut warnings) = overlay(values, &own, workload.namespace_annotations);
    values.proxy.ingress = ingress;
    warnings.extend(port_names(pod, &own, workload.namespace_annotations));
    warnings.extend(fit_to_cluster(&mut values, &own, workload));
    let mut out = pod.clone();
    add_containers(&mut out, pod, workload, &values);
    for volume in volumes() {
        push(&mut out["spec"]["volumes"], volume);
    }
    add_labels(&mut out, workload);
    add_annotations(&mut out, pod, &own, workload, &values);
    Injection::Injected(Box::new(out), warnings)
}

/// Names of opaque ports that this pod does not have.
fn port_names(pod: &Value, own: &Annotations, namespace: &Annotations) -> Option<Warning> {
    let found = |from: &Annotations, place| from.get(annotations::OPAQUE_PORTS).map(|t| (t.clone(), place));
    let (text, place) = found(own, "pod").or_else(|| found(namespace, "namespace"))?;
    let names: Vec<&str> = container_ports(pod).into_iter().map(|(name, _)| name).collect();
    unknown_port_names(&text, place, "pod", &names)
}

/// Leaves out what the cluster is too old for, and tells of what the kind of sidecar means for a Job.
fn fit_to_cluster(values: &mut Values, own: &Annotations, workload: &Workload<'_>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let keys = [NATIVE_SIDECAR].into_iter().chain(NATIVE_SIDECAR_OLD);
    let asked =
        keys.into_iter().any(|k| own.contains_key(k) || workload.namespace_annotations.contains_key(k));
    if let Some(version) = values.kubernetes {
        // Whoever asks by name knows that the feature gate is open, as it can be since 1.28.
        if !version.has_native_sidecars() && !asked {
            values.proxy.native_sidecar = false;
        }
        if !version.has_sleep_action() && values.proxy.wait_before_exit_seconds > 0 {
            values.proxy.wait_before_exit_seconds = 0;
            warnings.push(Warning::NoSleepAction { version });
        }
    }
    let job = workload.owner.is_some_and(|o| ["Job", "CronJob"].contains(&o.kind.as_str()));
    if job && !values.proxy.native_sidecar && !values.proxy.enable_shutdown_endpoint {
        warnings.push(Warning::ClassicSidecarInJob { admin: values.proxy.ports.admin });
    }
    warnings
}

/// The difference between two pods as a JSON patch (RFC 6902).
pub fn patch(before: &Value, after: &Value) -> json_patch::Patch {
    json_patch::diff(before, after)
}

fn add_containers(out: &mut Value, pod: &Value, workload: &Workload<'_>, values: &Values) {
    let proxy = proxy_container(pod, workload, values);
    let before = init_containers(values);
    let own_init: Vec<Value> = containers(pod, "initContainers").cloned().collect();
    let own: Vec<Value> = containers(pod, "containers").cloned().collect();
    let (init, main) = if values.proxy.native_sidecar {
        // The proxy runs before the pod's own init containers, so that they are meshed too.
        let init = before.into_iter().chain([proxy]).chain(own_init).collect::<Vec<_>>();
        (init, own)
    } else {
        // Without the proxy running, redirected traffic has nowhere to go: rules come after other init containers.
        let init = own_init.into_iter().chain(before).collect();
        let main = match values.proxy.await_ready {
            true => [proxy].into_iter().chain(own).collect(),
            false => own.into_iter().chain([proxy]).collect(),
        };
        (init, main)
    };
    out["spec"]["initContainers"] = Value::Array(init);
    out["spec"]["containers"] = Value::Array(main);
}

fn add_labels(out: &mut Value, workload: &Workload<'_>) {
    let map = &mut out["metadata"]["labels"];
    map[labels::CONTROL_PLANE_NS] = json!(workload.control_plane_namespace);
    map[labels::WORKLOAD_NS] = json!(workload.namespace);
    if let Some(owner) = workload.owner {
        let key = format!("{}{}", labels::PROXY_OWNER_PREFIX, owner.kind.to_lowercase());
        map[key] = json!(owner.name);
    }
}

fn add_annotations(
    out: &mut Value,
    pod: &Value,
    own: &Annotations,
    workload: &Workload<'_>,
    values: &Values,
) {
    let map = &mut out["metadata"]["annotations"];
    map[annotations::CREATED_BY] = json!(workload.created_by);
    let image = values.image(&values.proxy.image);
    let version = image.rsplit_once(':').map_or("", |(_, version)| version);
    map[annotations::PROXY_VERSION] = json!(version);
    if let Ok(bundle) = mesh_tls::TrustBundle::from_pem(&values.identity_trust_anchors_pem) {
        map[annotations::TRUST_ROOT_SHA256] = json!(bundle.sha256());
    }
    if let Some(ports) = opaque_ports(pod, own, workload.namespace_annotations, values) {
        map[annotations::OPAQUE_PORTS] = json!(ports);
    }
    let first = containers(pod, "containers").next().and_then(|c| c.get("name"));
    let proxy_is_first = !values.proxy.native_sidecar && values.proxy.await_ready;
    if let (true, Some(first), false) = (proxy_is_first, first, own.contains_key(DEFAULT_CONTAINER)) {
        map[DEFAULT_CONTAINER] = first.clone();
    }
}

/// What to write down as opaque, so that the control plane need not know the defaults of this injector.
fn opaque_ports(pod: &Value, own: &Annotations, ns: &Annotations, values: &Values) -> Option<String> {
    if own.contains_key(annotations::OPAQUE_PORTS) {
        return None;
    }
    if ns.contains_key(annotations::OPAQUE_PORTS) {
        return Some(values.proxy.opaque_ports.clone());
    }
    let numbers: Vec<u16> = container_ports(pod).into_iter().map(|(_, number)| number).collect();
    opaque_among(&values.proxy.opaque_ports.parse().ok()?, &numbers)
}

#[cfg(test)]
mod tests;
