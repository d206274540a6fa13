//! `meshctl check`: is the cluster fit for the mesh, and is the mesh well?
//!
//! Every check has an anchor that stays the same over versions; its hint leads to a page about it (`docs/checks.md`).

mod anchors;
mod cluster;
mod control_plane;
mod data_plane;
mod definitions;
mod extensions;
mod identity;
mod multicluster;
mod networks;
mod objects;
mod outcome;
mod pre;
mod services;
mod trouble;
mod webhook;

use crate::globals::Globals;
use mesh_kube::Client;
use outcome::Report;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Arguments of `meshctl check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code 0 when nothing failed (warnings do not count), 1 otherwise.")]
pub(crate) struct Args {
    /// Check whether the control plane can be installed.
    #[arg(long, conflicts_with = "proxy")]
    pre: bool,
    /// With --pre: redirect rules will be written by a CNI plugin.
    #[arg(long, requires = "pre")]
    linkerd_cni_enabled: bool,
    /// Check only the custom resource definitions.
    #[arg(long, conflicts_with_all = ["pre", "proxy"])]
    crds: bool,
    /// Also check the proxies of workloads.
    #[arg(long)]
    proxy: bool,
    /// With --proxy: only workloads of this namespace.
    #[arg(short, long, requires = "proxy", value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Version that meshctl should have.
    #[arg(long, value_name = "VERSION")]
    expected_version: Option<String>,
    /// Output format; short shows only what is not well.
    #[arg(short, long, default_value = "table", value_parser = ["table", "short", "json"], value_name = "FORMAT")]
    output: String,
    /// How long to wait for what may become well by itself, such as pods that start.
    #[arg(long, default_value = "5m", value_parser = mesh_types::parse_duration, value_name = "DURATION")]
    wait: Duration,
}

/// Arguments of `meshctl multicluster check`.
#[derive(Debug, clap::Args)]
pub(crate) struct MulticlusterArgs {
    /// Namespace of the extension.
    #[arg(short, long, default_value = mesh_types::MULTICLUSTER_NAMESPACE, value_name = "NAMESPACE")]
    namespace: String,
    /// Output format; short shows only what is not well.
    #[arg(short, long, default_value = "table", value_parser = ["table", "short", "json"], value_name = "FORMAT")]
    output: String,
    /// How long to wait for what may become well by itself.
    #[arg(long, default_value = "5m", value_parser = mesh_types::parse_duration, value_name = "DURATION")]
    wait: Duration,
}

/// Runs the checks of the multicluster extension alone.
pub(crate) async fn run_multicluster(args: MulticlusterArgs, globals: &Globals) -> anyhow::Result<ExitCode> {
    let mut report = Report::new(&args.output);
    let (category, client) = cluster::api(globals).await;
    report.add(category);
    if let Some(client) = client {
        let namespace = globals.linkerd_namespace.clone();
        let context =
            Context { client, namespace, deadline: Instant::now() + args.wait, expected_version: None };
        report.add(multicluster::multicluster(&context, &args.namespace).await);
    }
    Ok(if report.finish()? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What checks work with.
struct Context {
    client: Client,
    /// Namespace of the control plane.
    namespace: String,
    /// What is not well by then counts as failed.
    deadline: Instant,
    /// The version that meshctl should have, if the user has a wish.
    expected_version: Option<String>,
}

/// Runs the checks.
pub(crate) async fn run(args: Args, globals: &Globals) -> anyhow::Result<ExitCode> {
    let mut report = Report::new(&args.output);
    let (category, client) = cluster::api(globals).await;
    report.add(category);
    if let Some(client) = client {
        let namespace = globals.linkerd_namespace.clone();
        let expected_version = args.expected_version.clone();
        let context = Context { client, namespace, deadline: Instant::now() + args.wait, expected_version };
        checks(&args, &context, &mut report).await;
    }
    Ok(if report.finish()? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn checks(args: &Args, context: &Context, report: &mut Report) {
    report.add(cluster::version(context).await);
    if args.pre {
        report.add(pre::pre(context, args.linkerd_cni_enabled).await);
        return;
    }
    report.add(definitions::definitions(context).await);
    if args.crds {
        return;
    }
    let (category, installed) = control_plane::existence(context).await;
    report.add(category);
    // Without the installed values nothing below could be judged.
    let Some(values) = installed else { return };
    report.add(objects::objects(context, &values).await);
    report.add(identity::identity(context).await);
    report.add(webhook::webhook(context).await);
    report.add(networks::networks(context, &values).await);
    report.add(control_plane::versions(context, &values).await);
    report.add(control_plane::proxies(context).await);
    if values["highAvailability"] == true {
        report.add(control_plane::replicas(context).await);
    }
    report.add(extensions::extensions(context).await);
    if let Some(namespace) = multicluster::namespace(context).await {
        report.add(multicluster::multicluster(context, &namespace).await);
    }
    if args.proxy {
        for category in data_plane::data_plane(context, args.namespace.as_deref()).await {
            report.add(category);
        }
    }
}

/// Looks again and again until nothing is missing or the deadline has come; answers what is missing then.
async fn until_well<F, T>(context: &Context, mut look: impl FnMut() -> F) -> Option<T>
where
    F: Future<Output = Option<T>>,
{
    /// Between two looks.
    const PERIOD: Duration = Duration::from_millis(500);
    loop {
        let missing = look().await?;
        if Instant::now() + PERIOD > context.deadline {
            return Some(missing);
        }
        tokio::time::sleep(PERIOD).await;
    }
}
