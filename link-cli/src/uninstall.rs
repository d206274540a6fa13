//! `meshctl uninstall`: what to delete.

use crate::charts::Chart;
use crate::globals::Globals;
use crate::install_checks::unreachable;
use crate::manifest::{self, Format, Manifest};
use crate::overrides;
use crate::owned::{key, labelled};
use crate::render::to_yaml;
use crate::report::Problem;
use crate::values::merge;
use mesh_kube::k8s_openapi::api::core::v1::Pod;
use mesh_kube::kube::Api;
use mesh_kube::kube::api::ListParams;
use mesh_types::labels;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::ExitCode;

/// Arguments of `meshctl uninstall`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  meshctl uninstall | kubectl delete -f -")]
pub(crate) struct Args {
    /// Also while pods have a proxy.
    #[arg(short, long)]
    force: bool,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// Prints every object of the installation: what this version installs, and what the cluster holds of any other.
pub(crate) async fn run(args: Args, globals: &Globals) -> anyhow::Result<ExitCode> {
    let namespace = &globals.linkerd_namespace;
    if !args.force {
        refuse_while_injected(globals).await?;
    }
    let values = with_certificates(Chart::ControlPlane.default_values()?);
    let mut documents = Chart::ControlPlane.render(namespace, &values)?;
    documents.extend(Chart::Crds.render(namespace, &Chart::Crds.default_values()?)?);
    let mut more = Vec::new();
    for name in [mesh_injector::webhook::CERTIFICATE_SECRET, overrides::SECRET] {
        more.push(
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}}),
        );
    }
    let ours = format!("{}={namespace}", labels::CONTROL_PLANE_NS);
    more.extend(labelled(&globals.client().await?, namespace, &ours).await?);
    manifest::print(&to_delete(&manifest::parse(documents)?, &more), args.output)?;
    Ok(ExitCode::SUCCESS)
}

/// Values with something where the chart insists on certificates, for where only names matter.
pub(crate) fn with_certificates(mut values: Value) -> Value {
    let filler = json!({"identityTrustAnchorsPEM": "-", "identity": {"issuer": {"tls": {"crtPEM": "-", "keyPEM": "-"}}}});
    merge(&mut values, &filler);
    values
}

/// The bare names of objects, each once, in the reverse of the order they are made in. Webhooks go first, so that
/// nothing waits for a server that is gone; custom resources and namespaces go last.
pub(crate) fn to_delete(manifests: &[Manifest], more: &[Value]) -> Vec<Manifest> {
    let all = manifests.iter().map(|m| &m.object).chain(more).rev();
    let mut seen = BTreeSet::new();
    let mut once: Vec<&Value> = all.filter(|o| seen.insert(key(o))).collect();
    once.sort_by_key(|object| match object["kind"].as_str().unwrap_or_default() {
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => 0,
        "CustomResourceDefinition" => 2,
        "Namespace" => 3,
        _ => 1,
    });
    let bare = |object: &Value| {
        let mut bare = json!({
            "apiVersion": object["apiVersion"],
            "kind": object["kind"],
            "metadata": {"name": object["metadata"]["name"]},
        });
        if let Some(namespace) = object["metadata"].get("namespace") {
            bare["metadata"]["namespace"] = namespace.clone();
        }
        Manifest { text: to_yaml(&bare), object: bare }
    };
    once.into_iter().map(bare).collect()
}

async fn refuse_while_injected(globals: &Globals) -> anyhow::Result<()> {
    let namespace = &globals.linkerd_namespace;
    let pods: Api<Pod> = Api::all(globals.client().await?);
    let ours = ListParams::default().labels(&format!(
        "{}={namespace},!{}",
        labels::CONTROL_PLANE_NS,
        labels::CONTROL_PLANE_COMPONENT
    ));
    let injected = pods.list(&ours).await.map_err(|e| unreachable(&e))?;
    let namespaces: BTreeSet<String> =
        injected.items.into_iter().filter_map(|p| p.metadata.namespace).collect();
    if namespaces.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = namespaces.into_iter().collect();
    Err(Problem::new(
        "pods still have a proxy",
        format!("in namespaces {}", list.join(", ")),
        "remove the annotation linkerd.io/inject and restart them (meshctl uninject --help), or pass --force",
    )
    .into())
}

#[cfg(test)]
mod tests;
