//! What has to hold before an installation, and whether the account may install.

use super::Context;
use super::outcome::{Category, Verdict};
use crate::charts::Chart;
use crate::injector_ready::TRIAL_NAMESPACE;
use crate::owned::Kind;
use crate::uninstall::with_certificates;
use mesh_kube::k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use mesh_kube::k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use mesh_kube::k8s_openapi::jiff::Timestamp;
use mesh_kube::kube::api::{ListParams, ObjectMeta, PostParams};
use mesh_kube::kube::{self, Api};
use serde_json::{Value, json};

/// Nodes report at least every five minutes.
const HEARTBEAT_SECONDS: i64 = 300;

/// The first Linux on which address translation by nftables and by iptables can stand beside each other.
const MINIMUM_KERNEL: (u32, u32) = (4, 18);

/// Before an installation.
pub(super) async fn pre(context: &Context, cni: bool) -> Category {
    let mut category = Category::new("pre-kubernetes-setup");
    let namespace = &context.namespace;
    let namespaces: Api<Namespace> = Api::all(context.client.clone());
    let verdict = match namespaces.get_opt(namespace).await {
        Err(error) => Verdict::unanswered(&error),
        Ok(found) => Verdict::error_if(
            found.map(|_| format!("namespace {namespace} exists")),
            "meshctl upgrade changes an installation; meshctl uninstall removes one; -L names another namespace",
        ),
    };
    category.add("pre-ns", "control plane namespace does not already exist", verdict);
    permissions(context, &mut category).await;
    category.add("pre-k8s-clock-skew", "no clock skew detected", clock(context).await);
    if !cni {
        let verdict = net_admin(context).await;
        category.add("pre-k8s-cluster-net-admin", "pods may have the capability NET_ADMIN", verdict);
        category.add("pre-k8s-node-kernel", "nodes can apply redirect rules", kernels(context).await);
    }
    category
}

/// Whether the account may create every kind of object that the charts hold.
async fn permissions(context: &Context, category: &mut Category) {
    let namespace = &context.namespace;
    let kinds = kinds(namespace);
    for (namespaced, anchor) in [(false, "pre-k8s-cluster-k8s"), (true, "pre-k8s")] {
        for kind in kinds.iter().filter(|k| k.is_namespaced() == namespaced) {
            let within = namespaced.then_some(namespace.as_str());
            let verdict = may(context, "create", kind.group(), kind.plural(), within).await;
            category.add(anchor, format!("can create {}s", kind.name()), verdict);
        }
    }
    category.add("pre-k8s", "can read Secrets", may(context, "get", "", "secrets", Some(namespace)).await);
}

/// The kinds of all objects that an installation makes.
fn kinds(namespace: &str) -> Vec<Kind> {
    let control_plane = Chart::ControlPlane.default_values().and_then(|mut values| {
        crate::values::merge(&mut values, &Chart::ControlPlane.ha_values()?);
        Chart::ControlPlane.render(namespace, &with_certificates(values))
    });
    let crds = Chart::Crds.default_values().and_then(|values| Chart::Crds.render(namespace, &values));
    let documents = [control_plane, crds].into_iter().filter_map(Result::ok).flatten().collect();
    let manifests = crate::manifest::parse(documents).unwrap_or_default();
    let mut kinds: Vec<Kind> = manifests.iter().filter_map(|m| Kind::of(&m.object)).collect();
    kinds.sort_by_key(|k| k.name());
    kinds.dedup_by_key(|k| k.name());
    kinds
}

async fn may(context: &Context, verb: &str, group: &str, resource: &str, namespace: Option<&str>) -> Verdict {
    let attributes = ResourceAttributes {
        verb: Some(verb.to_owned()),
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        namespace: namespace.map(str::to_owned),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        metadata: ObjectMeta::default(),
        spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() },
        status: None,
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(context.client.clone());
    match api.create(&PostParams::default(), &review).await {
        Err(error) => Verdict::unanswered(&error),
        Ok(answer) => {
            let allowed = answer.status.is_some_and(|s| s.allowed);
            let why = (!allowed).then(|| format!("this account may not {verb} {resource}"));
            Verdict::error_if(
                why,
                "have an administrator install, or grant the account cluster-admin meanwhile",
            )
        }
    }
}

/// Nodes stamp their heartbeats with their own clock.
async fn clock(context: &Context) -> Verdict {
    let nodes: Api<Node> = Api::all(context.client.clone());
    let list = match nodes.list(&ListParams::default()).await {
        Ok(list) => list,
        Err(error) => return Verdict::unanswered(&error),
    };
    let now = Timestamp::now();
    let skewed: Vec<String> = list
        .items
        .into_iter()
        .filter_map(|node| {
            let ready = node.status?.conditions?.into_iter().find(|c| c.type_ == "Ready")?;
            let age = now.as_second() - ready.last_heartbeat_time?.0.as_second();
            let name = node.metadata.name.unwrap_or_default();
            (age.abs() > HEARTBEAT_SECONDS).then(|| format!("{name} ({age} s)"))
        })
        .collect();
    let why =
        (!skewed.is_empty()).then(|| format!("heartbeats are off by more than 5 m: {}", skewed.join(", ")));
    Verdict::warning_if(why, "synchronise the clocks of this machine and of the nodes")
}

/// Tries to create a pod with the capability, without creating it.
///
/// A namespace with a label of its own says nothing about others, so only a refusal where no label asks for one counts:
/// it comes from the cluster's defaults, or from a policy engine, and would meet every injected pod.
async fn net_admin(context: &Context) -> Verdict {
    let namespaces: Api<Namespace> = Api::all(context.client.clone());
    let labels = match namespaces.get_opt(TRIAL_NAMESPACE).await {
        Ok(found) => found.and_then(|n| n.metadata.labels).unwrap_or_default(),
        Err(error) => return Verdict::unanswered(&error),
    };
    let level = labels.get("pod-security.kubernetes.io/enforce").map(String::as_str);
    if level.is_some_and(|l| l != "privileged") {
        return Verdict::Good;
    }
    let pod: Pod = match serde_json::from_value(trial()) {
        Ok(pod) => pod,
        Err(error) => return Verdict::Error(error.to_string(), "report this".to_owned()),
    };
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), TRIAL_NAMESPACE);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let why = match pods.create(&dry, &pod).await {
        Ok(_) => return Verdict::Good,
        // The account may not make pods, which an installation needs no right to.
        Err(kube::Error::Api(status))
            if status.code == 403 && status.message.contains("cannot create resource") =>
        {
            return Verdict::Good;
        }
        Err(error) => mesh_kube::explain(&error),
    };
    let about_rights = ["NET_ADMIN", "capabilit", "PodSecurity", "privileged", "denied the request"];
    if about_rights.iter().any(|word| why.contains(word)) {
        return Verdict::Error(
            why,
            "allow NET_ADMIN in meshed namespaces (label them pod-security.kubernetes.io/enforce=privileged, or make \
             an exception in the policy engine), or let a CNI plugin write the rules (--linkerd-cni-enabled)"
                .to_owned(),
        );
    }
    let fix =
        format!("see what else limits pods:  kubectl -n {TRIAL_NAMESPACE} get resourcequota,limitrange");
    Verdict::Warning(format!("a trial pod was refused: {why}"), fix)
}

/// A pod with an init container as the injector adds it.
fn trial() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "isthmus-check", "namespace": TRIAL_NAMESPACE},
        "spec": {
            "automountServiceAccountToken": false,
            "initContainers": [{
                "name": "linkerd-init",
                "image": "isthmus/init",
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
                    "readOnlyRootFilesystem": true,
                    "runAsUser": 0,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
            }],
            "containers": [{
                "name": "app",
                "image": "isthmus/init",
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "capabilities": {"drop": ["ALL"]},
                    "runAsNonRoot": true,
                    "runAsUser": 65534,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
            }],
        },
    })
}

/// The kernels of Linux nodes, as their kubelets report them.
async fn kernels(context: &Context) -> Verdict {
    let nodes: Api<Node> = Api::all(context.client.clone());
    let list = match nodes.list(&ListParams::default()).await {
        Ok(list) => list.items,
        Err(error) => return Verdict::unanswered(&error),
    };
    let old = list.into_iter().filter_map(|node| {
        let info = node.status?.node_info?;
        let told = info.operating_system == "linux" && kernel(&info.kernel_version)? < MINIMUM_KERNEL;
        told.then(|| format!("{} runs {}", node.metadata.name.unwrap_or_default(), info.kernel_version))
    });
    let old: Vec<String> = old.collect();
    let (major, minor) = MINIMUM_KERNEL;
    Verdict::error_if(
        (!old.is_empty()).then(|| old.join(", ")),
        format!(
            "run Linux {major}.{minor} or newer on them, or keep meshed pods elsewhere; the rules are nftables' and go \
             well beside iptables from then on"
        ),
    )
}

/// `6.1.0-28-amd64` is (6, 1).
fn kernel(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(['.', '-', '+']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests;
