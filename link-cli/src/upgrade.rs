//! `meshctl upgrade`: the installed control plane, with what this version and the flags change.

mod anchors;

use crate::charts::Chart;
use crate::globals::Globals;
use crate::install::{Settings, overlay, told_without_effect, verify};
use crate::installed::{ISSUER, Source};
use crate::manifest::{self, Format};
use crate::overrides;
use crate::report::Problem;
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `meshctl upgrade`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Upgrade in three steps:\n  meshctl upgrade --crds | kubectl apply -f -\n  \
    meshctl upgrade | kubectl apply -f -\n  meshctl prune | kubectl delete -f -\n\nWhat the installation was told \
    and its certificates are kept unless flags change them. To roll back, run the same with the meshctl of the version \
    before.")]
pub(crate) struct Args {
    /// Print the custom resource definitions, which come first.
    #[arg(long)]
    crds: bool,
    /// Also when proxies may still need a trust anchor that would be dropped.
    #[arg(long)]
    force: bool,
    /// Read the installation from manifests that meshctl install printed, not from a cluster.
    #[arg(long, value_name = "FILE")]
    from_manifests: Option<PathBuf>,
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
    let source = match &args.from_manifests {
        Some(path) => Source::file(path, namespace)?,
        None => Source::cluster(globals).await?,
    };
    let mut values = source.replay().await?;
    let before = values["identityTrustAnchorsPEM"].as_str().unwrap_or_default().to_owned();
    overlay(&args.settings, &mut values)?;
    issuer_is_there(&values, &args.settings, namespace)?;
    verify(&values)?;
    if !args.force {
        anchors::kept(&source, &before, &values).await?;
    }
    told_without_effect(&values)?;
    let mut manifests = manifest::parse(Chart::ControlPlane.render(namespace, &values)?)?;
    manifests
        .push(overrides::secret(namespace, &overrides::of(&values, &Chart::ControlPlane.default_values()?)));
    manifest::print(&manifests, args.output)?;
    Ok(ExitCode::SUCCESS)
}

/// The issuer has one keeper: this installation, or something else.
fn issuer_is_there(values: &Value, settings: &Settings, namespace: &str) -> anyhow::Result<()> {
    let issuer = &values["identity"]["issuer"];
    let external = issuer["scheme"] == "kubernetes.io/tls";
    if external && settings.gives_issuer() {
        return Err(Problem::usage(
            "the issuer is kept by something else",
            "identity.issuer.scheme is kubernetes.io/tls",
            "give the certificate to whatever keeps it, or take over with:  --set identity.issuer.scheme=linkerd.io/tls",
        )
        .into());
    }
    let given = |key: &str| issuer["tls"][key].as_str().is_some_and(|pem| !pem.is_empty());
    let is_there = external || (given("crtPEM") && given("keyPEM"));
    if !is_there {
        return Err(Problem::new(
            "the issuer is gone",
            format!("Secret {namespace}/{ISSUER} does not exist, or holds no crt.pem and key.pem"),
            "give one below the same trust anchor:  meshctl upgrade --identity-issuer-certificate-file … \
             --identity-issuer-key-file …   (meshctl trust init makes one)",
        )
        .into());
    }
    Ok(())
}
