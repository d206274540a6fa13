//! `meshctl uninstall`: what to delete.

use crate::charts::Chart;
use crate::globals::Globals;
use crate::install_checks::unreachable;
use crate::manifest::{self, Format, Manifest};
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
}

/// Prints every object of the installation, custom resources and namespace last.
pub(crate) async fn run(args: Args, globals: &Globals) -> anyhow::Result<ExitCode> {
    let namespace = &globals.linkerd_namespace;
    if !args.force {
        refuse_while_injected(globals).await?;
    }
    let mut values = Chart::ControlPlane.default_values()?;
    // Only names matter here; the chart insists on certificates.
    let filler = json!({"identityTrustAnchorsPEM": "-", "identity": {"issuer": {"tls": {"crtPEM": "-", "keyPEM": "-"}}}});
    merge(&mut values, &filler);
    let mut documents = Chart::ControlPlane.render(namespace, &values)?;
    documents.extend(Chart::Crds.render(namespace, &Chart::Crds.default_values()?)?);
    let certificate = json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": mesh_injector::webhook::CERTIFICATE_SECRET, "namespace": namespace}});
    manifest::print(&to_delete(&manifest::parse(documents)?, &[certificate]), Format::Yaml)?;
    Ok(ExitCode::SUCCESS)
}

/// The bare names of objects, in the reverse of the order they were made in.
pub(crate) fn to_delete(manifests: &[Manifest], more: &[Value]) -> Vec<Manifest> {
    let all = manifests.iter().map(|m| &m.object).chain(more).rev();
    all.map(|object| {
        let mut bare = json!({
            "apiVersion": object["apiVersion"],
            "kind": object["kind"],
            "metadata": {"name": object["metadata"]["name"]},
        });
        if let Some(namespace) = object["metadata"].get("namespace") {
            bare["metadata"]["namespace"] = namespace.clone();
        }
        Manifest { text: to_yaml(&bare), object: bare }
    })
    .collect()
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
