//! `meshctl upgrade`: the installed control plane, with what this version and the flags change.

use crate::charts::Chart;
use crate::globals::Globals;
use crate::install::{Settings, overlay, verify};
use crate::installed;
use crate::manifest::{self, Format};
use crate::report::Problem;
use crate::values::merge;
use anyhow::Context;
use mesh_tls::TrustBundle;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Arguments of `meshctl upgrade`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Upgrade in two steps:\n  meshctl upgrade --crds | kubectl apply -f -\n  \
    meshctl upgrade | kubectl apply -f -\n\nSettings and certificates of the installation are kept unless flags \
    change them.")]
pub(crate) struct Args {
    /// Print the custom resource definitions, which come first.
    #[arg(long)]
    crds: bool,
    /// Also when a trust anchor in use would be dropped.
    #[arg(long)]
    force: bool,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    settings: Settings,
}

/// Prints the manifests.
pub(crate) async fn run(args: Args, globals: &Globals) -> anyhow::Result<ExitCode> {
    let namespace = &globals.linkerd_namespace;
    if args.crds {
        let values = Chart::Crds.default_values()?;
        manifest::print(&manifest::parse(Chart::Crds.render(namespace, &values)?)?, args.output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut installed = installed::values(globals).await?;
    let anchors = installed["identityTrustAnchorsPEM"].as_str().unwrap_or_default().to_owned();
    // The version is this binary's, not the one that was installed.
    merge(&mut installed, &json!({"linkerdVersion": ""}));
    if let Some((cert, key)) = installed::issuer(globals).await? {
        merge(&mut installed, &json!({"identity": {"issuer": {"tls": {"crtPEM": cert, "keyPEM": key}}}}));
    }
    let mut values = Chart::ControlPlane.default_values()?;
    merge(&mut values, &installed);
    overlay(&args.settings, &mut values)?;
    verify(&values)?;
    if !args.force {
        keeps_anchors(&anchors, &values)?;
    }
    let documents = Chart::ControlPlane.render(namespace, &values)?;
    manifest::print(&manifest::parse(documents)?, args.output)?;
    Ok(ExitCode::SUCCESS)
}

/// Proxies hold certificates below the anchors they know: dropping one in the same step cuts them off.
fn keeps_anchors(before: &str, values: &Value) -> anyhow::Result<()> {
    let Ok(before) = TrustBundle::from_pem(before) else { return Ok(()) };
    let pem = values["identityTrustAnchorsPEM"].as_str().unwrap_or_default();
    let after = TrustBundle::from_pem(pem).context("the trust anchors cannot be used")?;
    match before.certs().iter().all(|c| after.certs().contains(c)) {
        true => Ok(()),
        false => Err(Problem::new(
            "a trust anchor in use would be dropped",
            "proxies whose certificates are below it could not talk to others any more",
            "give a bundle with the old and the new anchor first, renew the issuer, then drop the old one with --force",
        )
        .into()),
    }
}
