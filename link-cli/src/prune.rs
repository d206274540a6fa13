//! `meshctl prune`: what an earlier version installed and this one does not have any more.

use crate::charts::Chart;
use crate::globals::Globals;
use crate::installed::{ISSUER, Source, TRUST_ROOTS};
use crate::manifest::{self, Format};
use crate::owned::{key, labelled};
use crate::uninstall::to_delete;
use crate::{overrides, uninstall};
use mesh_types::labels;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::ExitCode;

/// Arguments of `meshctl prune`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example, after an upgrade:\n  meshctl prune | kubectl delete -f -\n\nPrints nothing where \
    nothing is left over."
)]
pub(crate) struct Args {
    /// Output format.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// Prints what is left over.
pub(crate) async fn run(args: Args, globals: &Globals) -> anyhow::Result<ExitCode> {
    let namespace = &globals.linkerd_namespace;
    let values = Source::cluster(globals).await?.replay().await?;
    let mut kept: BTreeSet<_> = made_elsewhere(namespace).iter().map(key).collect();
    for (chart, values) in
        [(Chart::ControlPlane, uninstall::with_certificates(values)), (Chart::Crds, json!({}))]
    {
        let manifests = manifest::parse(chart.render(namespace, &values)?)?;
        kept.extend(manifests.iter().map(|m| key(&m.object)));
    }
    let ours = format!("{}={namespace}", labels::CONTROL_PLANE_NS);
    let found = labelled(&globals.client().await?, namespace, &ours).await?;
    let left: Vec<Value> = found.into_iter().filter(|object| !kept.contains(&key(object))).collect();
    if left.is_empty() {
        eprintln!("nothing is left over");
        return Ok(ExitCode::SUCCESS);
    }
    manifest::print(&to_delete(&[], &left), args.output)?;
    Ok(ExitCode::SUCCESS)
}

/// What belongs to an installation and is in no chart, or not in every one.
fn made_elsewhere(namespace: &str) -> Vec<Value> {
    let object =
        |kind: &str, name: &str| json!({"kind": kind, "metadata": {"name": name, "namespace": namespace}});
    vec![
        object("Secret", mesh_injector::webhook::CERTIFICATE_SECRET),
        object("Secret", overrides::SECRET),
        object("Secret", ISSUER),
        object("ConfigMap", TRUST_ROOTS),
        json!({"kind": "Namespace", "metadata": {"name": namespace}}),
    ]
}
