//! Whether every object of the installation is there: those that the chart makes of the installed values.

use super::Context;
use super::outcome::{Category, Verdict};
use crate::charts::Chart;
use crate::installed::{ISSUER, TRUST_ROOTS};
use crate::manifest::Manifest;
use crate::owned::Kind;
use crate::uninstall::with_certificates;
use crate::values::merge;
use mesh_kube::k8s_openapi::api::core::v1::Namespace;
use mesh_kube::kube::Api;
use mesh_types::labels;
use serde_json::Value;

const PUT_BACK: &str = "put them back:  meshctl upgrade | kubectl apply -f -";

/// Kinds with a check of their own, as Linkerd has it, and the one for all others.
const CHECKS: [(&str, &[&str], &str); 6] = [
    ("l5d-existence-cr", &["ClusterRole"], "control plane ClusterRoles exist"),
    ("l5d-existence-crb", &["ClusterRoleBinding"], "control plane ClusterRoleBindings exist"),
    ("l5d-existence-sa", &["ServiceAccount"], "control plane ServiceAccounts exist"),
    (
        "l5d-existence-mwc",
        &["MutatingWebhookConfiguration"],
        "control plane MutatingWebhookConfigurations exist",
    ),
    ("l5d-existence-rbac", &["Role", "RoleBinding"], "control plane Roles and RoleBindings exist"),
    (
        "l5d-existence-objects",
        &["Deployment", "Service", "ConfigMap", "Secret", "PodDisruptionBudget"],
        "control plane Deployments, Services and their settings exist",
    ),
];

/// Whether all are there.
pub(super) async fn objects(context: &Context, values: &Value) -> Category {
    let mut category = Category::new("linkerd-config");
    category.add("l5d-existence-ns", "control plane Namespace is set up", namespace(context, values).await);
    let manifests = match made_of(context, values) {
        Ok(manifests) => manifests,
        Err(error) => {
            let why = format!("the installed values are not for this meshctl: {error}");
            let verdict =
                Verdict::Warning(why, "use the meshctl of that version, or:  meshctl upgrade".to_owned());
            category.add("l5d-existence-objects", "control plane objects exist", verdict);
            return category;
        }
    };
    for (anchor, kinds, description) in CHECKS {
        let of_kinds = |m: &&Manifest| kinds.iter().any(|k| m.object["kind"] == *k);
        let verdict = exist(context, manifests.iter().filter(of_kinds)).await;
        category.add(anchor, description, verdict);
    }
    category
}

/// The objects that this version makes of the installed values.
fn made_of(context: &Context, values: &Value) -> anyhow::Result<Vec<Manifest>> {
    let mut all = Chart::ControlPlane.default_values()?;
    merge(&mut all, values);
    crate::manifest::parse(Chart::ControlPlane.render(&context.namespace, &with_certificates(all))?)
}

async fn exist(context: &Context, manifests: impl Iterator<Item = &Manifest>) -> Verdict {
    let mut missing = Vec::new();
    for Manifest { object, .. } in manifests {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        // Checks of linkerd-identity tell more about these two.
        if [ISSUER, TRUST_ROOTS].contains(&name) {
            continue;
        }
        let Some(kind) = Kind::of(object) else { continue };
        match kind.api(&context.client, &context.namespace).get_metadata_opt(name).await {
            Ok(Some(_)) => {}
            Ok(None) => missing.push(format!("{} {name}", kind.name())),
            Err(error) => return Verdict::unanswered(&error),
        }
    }
    let why = (!missing.is_empty()).then(|| format!("missing: {}", missing.join(", ")));
    Verdict::error_if(why, PUT_BACK)
}

/// Labels without which the control plane is hindered: webhooks of its own, or a Pod Security level that forbids what
/// its init containers need.
async fn namespace(context: &Context, values: &Value) -> Verdict {
    let ns = &context.namespace;
    let namespaces: Api<Namespace> = Api::all(context.client.clone());
    let found = match namespaces.get_opt(ns).await {
        Ok(found) => found,
        Err(error) => return Verdict::unanswered(&error),
    };
    let has = found.and_then(|n| n.metadata.labels).unwrap_or_default();
    let level = has.get("pod-security.kubernetes.io/enforce").map_or("privileged", String::as_str);
    if level != "privileged" && values["cniEnabled"] != true {
        return Verdict::Error(
            format!("namespace {ns} enforces the Pod Security level {level}, which forbids NET_ADMIN"),
            format!(
                "run:  kubectl label --overwrite namespace {ns} pod-security.kubernetes.io/enforce=privileged"
            ),
        );
    }
    let disabled = has.get(labels::ADMISSION_WEBHOOKS).map(String::as_str) == Some("disabled");
    Verdict::warning_if(
        (!disabled).then(|| format!("namespace {ns} has no label {}=disabled", labels::ADMISSION_WEBHOOKS)),
        format!(
            "run:  kubectl label namespace {ns} {}=disabled   (Helm cannot label the namespace it installs into)",
            labels::ADMISSION_WEBHOOKS
        ),
    )
}
