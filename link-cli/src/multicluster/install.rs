//! `meshctl multicluster install` and `uninstall`.

use crate::charts::Chart;
use crate::globals::Globals;
use crate::install_checks::unreachable;
use crate::installed;
use crate::manifest::{self, Format};
use crate::report::Problem;
use crate::uninstall::to_delete;
use crate::values::{ValueArgs, merge, nested};
use mesh_kube::kube::Api;
use mesh_kube::kube::api::ListParams;
use mesh_kube::link::Link;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `meshctl multicluster install`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  meshctl --context east multicluster install | kubectl --context east apply -f -"
)]
pub(crate) struct Args {
    /// Namespace of the extension.
    #[arg(short, long, default_value = mesh_types::MULTICLUSTER_NAMESPACE, value_name = "NAMESPACE")]
    namespace: String,
    /// Whether to install a gateway; a cluster that only imports needs none.
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true",
          action = clap::ArgAction::Set, value_name = "BOOL")]
    gateway: bool,
    /// Port of the gateway.
    #[arg(long, default_value_t = mesh_types::ports::INBOUND, value_name = "PORT")]
    gateway_port: u16,
    /// Port on which other clusters probe the gateway.
    #[arg(long, default_value_t = mesh_types::ports::ADMIN, value_name = "PORT")]
    gateway_probe_port: u16,
    /// Seconds between probes.
    #[arg(long, default_value_t = 3, value_name = "SECONDS")]
    gateway_probe_seconds: u32,
    /// How the gateway is published.
    #[arg(long, default_value = "LoadBalancer", value_parser = ["LoadBalancer", "NodePort", "ClusterIP"], value_name = "TYPE")]
    gateway_service_type: String,
    /// Whether to make the account that other clusters read exported services with.
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true",
          action = clap::ArgAction::Set, value_name = "BOOL")]
    service_mirror_credentials: bool,
    /// Replicas and spreading for high availability.
    #[arg(long)]
    ha: bool,
    /// How long to wait for the injector, without which the gateway would have no proxy; 0s does not wait.
    #[arg(long, default_value = "5m", value_parser = mesh_types::parse_duration, value_name = "DURATION")]
    wait: Duration,
    /// Do not look at a cluster.
    #[arg(long)]
    ignore_cluster: bool,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    values: ValueArgs,
}

/// Arguments of `meshctl multicluster uninstall`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  meshctl multicluster uninstall | kubectl delete -f -")]
pub(crate) struct UninstallArgs {
    /// Namespace of the extension.
    #[arg(short, long, default_value = mesh_types::MULTICLUSTER_NAMESPACE, value_name = "NAMESPACE")]
    namespace: String,
    /// Also while links exist.
    #[arg(short, long)]
    force: bool,
}

/// Prints the manifests.
pub(crate) async fn run(args: Args, globals: &Globals) -> anyhow::Result<ExitCode> {
    let mut values = Chart::Multicluster.default_values()?;
    if args.ha {
        merge(&mut values, &Chart::Multicluster.ha_values()?);
    }
    merge(&mut values, &json!({"linkerdNamespace": globals.linkerd_namespace}));
    if !args.ignore_cluster {
        merge(&mut values, &of_the_cluster(globals).await?);
        crate::injector_ready::wait(globals, args.wait).await?;
    }
    let flags = json!({
        "gateway": {
            "enabled": args.gateway,
            "port": args.gateway_port,
            "serviceType": args.gateway_service_type,
            "probe": {"port": args.gateway_probe_port, "seconds": args.gateway_probe_seconds},
        },
        "remoteMirrorServiceAccount": args.service_mirror_credentials,
    });
    merge(&mut values, &flags);
    args.values.apply(&mut values)?;
    let documents = Chart::Multicluster.render(&args.namespace, &values)?;
    manifest::print(&manifest::parse(documents)?, args.output)?;
    Ok(ExitCode::SUCCESS)
}

/// What the control plane was installed with and this extension must agree to; its images lie where those do.
async fn of_the_cluster(globals: &Globals) -> anyhow::Result<Value> {
    const SHARED: &[(&str, &str)] = &[
        ("/clusterDomain", "clusterDomain"),
        ("/identityTrustDomain", "identityTrustDomain"),
        ("/imagePullPolicy", "imagePullPolicy"),
        ("/imagePullSecrets", "imagePullSecrets"),
        ("/linkerdVersion", "linkerdVersion"),
        ("/controllerImage", "serviceMirror/image"),
        ("/controllerImageVersion", "serviceMirror/imageVersion"),
        ("/proxyInit/image/name", "gateway/image"),
        ("/proxyInit/image/version", "gateway/imageVersion"),
    ];
    let installed = installed::values(globals).await?;
    let mut shared = json!({});
    for (theirs, ours) in SHARED {
        if let Some(value) = installed.pointer(theirs) {
            merge(&mut shared, &nested(ours, value.clone()));
        }
    }
    Ok(shared)
}

/// Prints what to delete.
pub(crate) async fn uninstall(args: UninstallArgs, globals: &Globals) -> anyhow::Result<ExitCode> {
    if !args.force {
        let links: Api<Link> = Api::all(globals.client().await?);
        let found = match links.list(&ListParams::default()).await {
            Ok(list) => list.items,
            // No definition, so no links either.
            Err(error) if mesh_kube::is_not_found(&error) => Vec::new(),
            Err(error) => return Err(unreachable(&error).into()),
        };
        if !found.is_empty() {
            let names: Vec<String> = found.into_iter().filter_map(|l| l.metadata.name).collect();
            return Err(Problem::new(
                "clusters are still linked",
                format!("there are links: {}", names.join(", ")),
                "unlink them first (meshctl multicluster unlink --help), or pass --force",
            )
            .into());
        }
    }
    let values = Chart::Multicluster.default_values()?;
    let manifests = manifest::parse(Chart::Multicluster.render(&args.namespace, &values)?)?;
    manifest::print(&to_delete(&manifests, &[]), Format::Yaml)?;
    Ok(ExitCode::SUCCESS)
}
