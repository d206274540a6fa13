//! Why a pod does not run, in the words of the scheduler, the kubelet and the container itself, and what to do.

use mesh_injector::PROXY_CONTAINER;
use mesh_kube::k8s_openapi::api::apps::v1::Deployment;
use mesh_kube::k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};

/// The container that writes redirect rules.
const INIT: &str = "linkerd-init";

/// Something that is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) why: String,
    /// Empty where nothing particular can be said.
    pub(super) fix: String,
}

impl Trouble {
    /// A question the API server did not answer.
    pub(super) fn unanswered(error: &mesh_kube::kube::Error) -> Self {
        let fix = "ask it yourself:  kubectl cluster-info   (and check what your account may read)";
        Self { why: mesh_kube::explain(error), fix: fix.to_owned() }
    }
}

/// Why a pod is not ready, if its status tells.
pub(super) fn of_pod(pod: &Pod) -> Option<Trouble> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(why) = unschedulable(pod) {
        return Some(Trouble { why, fix: "add nodes or room on them".to_owned() });
    }
    let status = pod.status.as_ref()?;
    let init = status.init_container_statuses.iter().flatten();
    for container in init.chain(status.container_statuses.iter().flatten()) {
        if let Some(trouble) = of_container(container, namespace, name) {
            return Some(trouble);
        }
    }
    None
}

fn of_container(container: &ContainerStatus, namespace: &str, pod: &str) -> Option<Trouble> {
    let waiting = container.state.as_ref().and_then(|s| s.waiting.as_ref());
    let reason = waiting.and_then(|w| w.reason.as_deref()).unwrap_or_default();
    let message = waiting.and_then(|w| w.message.as_deref()).map(last_line).unwrap_or_default();
    let of = format!("container {} of {pod}", container.name);
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => Some(Trouble {
            why: format!("{of}: image {} cannot be pulled: {message}", container.image),
            fix: "put the image where the nodes can pull it, or name where it is (--registry, --proxy-version, \
                  --set imagePullSecrets[0].name=…):  meshctl upgrade … | kubectl apply -f -"
                .to_owned(),
        }),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => Some(Trouble {
            why: format!("{of} cannot be started: {message}"),
            fix: format!("look at it:  kubectl -n {namespace} describe pod {pod}"),
        }),
        _ => ended(container, &of, namespace, pod),
    }
}

/// A container that ended with an error, and its last words.
fn ended(container: &ContainerStatus, of: &str, namespace: &str, pod: &str) -> Option<Trouble> {
    let terminated = |s: &Option<ContainerState>| s.as_ref().and_then(|s| s.terminated.clone());
    let end = terminated(&container.state).filter(|t| t.exit_code != 0);
    let running = container.state.as_ref().is_some_and(|s| s.running.is_some());
    let end = end.or_else(|| terminated(&container.last_state).filter(|t| t.exit_code != 0 && !running))?;
    let words = end.message.as_deref().map(last_line).unwrap_or_default();
    let why = format!("{of} ends with exit code {}: {words}", end.exit_code);
    let denied = ["not permitted", "Permission denied", "NET_ADMIN"].iter().any(|w| words.contains(w));
    let fix = if container.name == INIT && denied {
        "the container lacks NET_ADMIN: allow it in the namespace (pod-security.kubernetes.io/enforce=privileged), or let \
         a CNI plugin write the rules:  meshctl upgrade --linkerd-cni-enabled | kubectl apply -f -"
            .to_owned()
    } else if container.name == INIT {
        format!(
            "the node must support nftables (Linux 4.18 or newer):  kubectl -n {namespace} logs {pod} -c {INIT}"
        )
    } else {
        format!("see what it says:  kubectl -n {namespace} logs {pod} -c {} --previous", container.name)
    };
    Some(Trouble { why, fix })
}

/// Why the scheduler finds no node for a pod.
pub(super) fn unschedulable(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    Some(format!("{name} has no node: {}", condition.message.as_deref().unwrap_or("no reason is given")))
}

/// A proxy that is not ready in a pod that runs.
pub(super) fn of_proxy(pod: &Pod) -> Option<String> {
    // Why others do not run has been told.
    let status = pod.status.as_ref().filter(|s| s.phase.as_deref() == Some("Running"))?;
    let all =
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    let proxy = all.into_iter().find(|c| c.name == PROXY_CONTAINER)?;
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    (!proxy.ready).then(|| format!("{name}: the proxy is not ready, after {} restarts", proxy.restart_count))
}

/// Why a Deployment's last change has not reached its pods.
pub(super) fn of_deployment(deployment: &Deployment) -> Option<Trouble> {
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
    let status = deployment.status.as_ref()?;
    let conditions = status.conditions.iter().flatten();
    let refused = conditions.clone().find(|c| c.type_ == "ReplicaFailure" && c.status == "True");
    if let Some(message) = refused.map(|c| c.message.as_deref().unwrap_or_default()) {
        let fix = if message.contains("PodSecurity") || message.contains("NET_ADMIN") {
            format!(
                "run:  kubectl label --overwrite namespace {namespace} pod-security.kubernetes.io/enforce=privileged"
            )
        } else {
            format!("look at it:  kubectl -n {namespace} describe rs")
        };
        return Some(Trouble { why: format!("{name} cannot create pods: {message}"), fix });
    }
    let wanted = deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    let updated = status.updated_replicas.unwrap_or(0);
    let behind = status.observed_generation.is_some() && updated < wanted;
    let late = conditions.clone().find(|c| c.type_ == "Progressing" && c.status == "False");
    let why = match (late, behind) {
        (Some(condition), _) => {
            format!("{name}: {}", condition.message.as_deref().unwrap_or("it makes no progress"))
        }
        (None, true) => format!("{name}: {updated} of {wanted} pods are up to date"),
        (None, false) => return None,
    };
    Some(Trouble { why, fix: String::new() })
}

/// The last line of a message: what a program says before it ends.
fn last_line(text: &str) -> String {
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
