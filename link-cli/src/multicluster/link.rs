//! `multicluster link`, `link-gen` and `unlink`: how one cluster comes to import what another exports.
//!
//! Without `--to-context` this is Linkerd's: the context names the exporting cluster, and the objects for the
//! importing one go to stdout. With it both sides are looked at first and then written in one step.

mod apply;
mod exporter;
mod importer;
mod objects;
mod preflight;
mod unlink;

use crate::globals::Globals;
use crate::manifest;
use crate::report::Problem;
use exporter::Exporter;
use importer::Importer;
use mesh_types::{ClusterName, MULTICLUSTER_NAMESPACE};
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub(crate) use unlink::{Args as UnlinkArgs, run as unlink};

/// How long link credentials last; `gateways` and `check` tell when they run out.
const CREDENTIALS_LIFETIME: Duration = Duration::from_secs(90 * 86_400);

/// What both `link` and `link-gen` take.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LinkArgs {
    /// Name of the exporting cluster, as it appears in mirrored names [default: the context's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster_name: Option<String>,
    /// Namespace of the multicluster extension, in both clusters
    #[arg(long, short = 'n', default_value = MULTICLUSTER_NAMESPACE, value_name = "NAMESPACE")]
    pub(crate) namespace: String,
    /// Address of the exporting cluster's API server as the importing cluster reaches it, such as https://10.0.0.1:6443
    #[arg(long, value_name = "URL")]
    pub(crate) api_server_address: Option<String>,
    /// Account in the exporting cluster whose token the importing cluster gets
    #[arg(long, default_value = "linkerd-service-mirror-remote-access-default", value_name = "NAME")]
    pub(crate) service_account_name: String,
    /// Name of the gateway Service in the exporting cluster
    #[arg(long, default_value = "linkerd-gateway", value_name = "NAME")]
    pub(crate) gateway_name: String,
    /// Namespace of the gateway Service [default: --namespace]
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) gateway_namespace: Option<String>,
    /// Addresses of the gateway, comma-separated; pins them instead of following the gateway Service
    #[arg(long, value_name = "ADDRESSES")]
    pub(crate) gateway_addresses: Option<String>,
    /// Port of the gateway [default: the gateway Service's mc-gateway port]
    #[arg(long, value_name = "PORT")]
    pub(crate) gateway_port: Option<u16>,
    /// Selects the services that are exported through the gateway
    #[arg(long, short = 'l', default_value = "mirror.linkerd.io/exported=true", value_name = "SELECTOR")]
    pub(crate) selector: String,
    /// Selects the services that are exported by remote discovery
    #[arg(long, default_value = "mirror.linkerd.io/exported=remote-discovery", value_name = "SELECTOR")]
    pub(crate) remote_discovery_selector: String,
    /// Selects the services that join the federated service of their name
    #[arg(long, default_value = "mirror.linkerd.io/federated=member", value_name = "SELECTOR")]
    pub(crate) federated_service_selector: String,
    /// Annotations that mirrors do not copy, comma-separated; prefix/* for all below a prefix
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) excluded_annotations: Vec<String>,
    /// Labels that mirrors do not copy, comma-separated; prefix/* for all below a prefix
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) excluded_labels: Vec<String>,
}

/// Links two clusters: --context exports, --to-context imports.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    link: LinkArgs,
    /// Context of the importing cluster: write both sides instead of printing YAML
    #[arg(long, value_name = "NAME")]
    to_context: Option<String>,
    /// Also link the other way round
    #[arg(long, requires = "to_context")]
    both: bool,
    /// Look at both sides and show what would be done, without doing it
    #[arg(long, requires = "to_context")]
    dry_run: bool,
    /// Link although the preflight found errors
    #[arg(long, requires = "to_context")]
    force: bool,
    /// How long to wait until the link works; 0s does not wait
    #[arg(long, default_value = "60s", value_name = "DURATION")]
    wait: String,
    /// Format of printed objects
    #[arg(long, short = 'o', value_enum, default_value_t)]
    output: manifest::Format,
}

/// Prints the objects that link the importing cluster to the one of --context.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct GenArgs {
    #[command(flatten)]
    link: LinkArgs,
    /// Format of printed objects
    #[arg(long, short = 'o', value_enum, default_value_t)]
    output: manifest::Format,
}

/// Runs `link-gen`.
pub(crate) async fn generate(args: GenArgs, globals: &Globals) -> anyhow::Result<ExitCode> {
    print_objects(&args.link, args.output, globals).await
}

/// Runs `link`.
pub(crate) async fn run(args: Args, globals: &Globals) -> anyhow::Result<ExitCode> {
    let Some(to_context) = args.to_context.clone() else {
        return print_objects(&args.link, args.output, globals).await;
    };
    let wait = mesh_types::parse_duration(&args.wait)
        .map_err(|e| Problem::usage("--wait cannot be read", e.to_string(), "give it as 60s or 2m"))?;
    let from_context = current_context(globals)?;
    if from_context == to_context {
        let why = format!("both --context and --to-context are {to_context:?}");
        return Err(Problem::usage("a cluster cannot be linked to itself", why, "name two contexts").into());
    }
    let mut ways = vec![(from_context.clone(), to_context.clone())];
    if args.both {
        ways.push((to_context, from_context));
    }
    let mut looked_at = Vec::new();
    for (index, (exporting, importing)) in ways.into_iter().enumerate() {
        // The names on the command line speak of the first direction.
        let mut link = args.link.clone();
        if index > 0 {
            link.cluster_name = None;
            link.api_server_address = None;
            link.gateway_addresses = None;
        }
        let patience = if args.dry_run { Duration::ZERO } else { wait };
        looked_at.push(look(link, exporting, importing, patience, globals).await?);
    }
    let mut fine = looked_at.iter().all(|way| way.fine);
    if args.dry_run {
        eprintln!("Nothing was changed. Run without --dry-run to apply.");
        return Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if !fine && !args.force {
        let why = "the preflight found errors (× above); nothing was changed";
        let fix =
            "do what stands below them and run the same command again, or link all the same with --force";
        return Err(Problem::new("not linked", why, fix).into());
    }
    for way in &looked_at {
        let account = apply::account_name(&way.importing);
        apply::Plan::new(&way.link, &way.exporter, &way.importer, &account, globals).apply().await?;
    }
    fine = true;
    for way in &looked_at {
        fine &=
            apply::wait_until_working(&way.importer, &way.link, way.exporter.cluster.as_str(), wait).await?;
    }
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One direction, looked at and not yet written.
struct Way {
    link: LinkArgs,
    importing: String,
    exporter: Exporter,
    importer: Importer,
    /// Whether the preflight found no errors.
    fine: bool,
}

/// The address of a Service leads to its pods some seconds after they are ready, once the nodes have heard of them; a
/// kube-proxy that could not write its rules tries again after 30 s (its `syncPeriod`).
const SETTLING: Duration = Duration::from_secs(45);

/// Looks at both sides of one direction and shows the plan. A gateway that is starting is given time to.
async fn look(
    link: LinkArgs,
    exporting: String,
    importing: String,
    patience: Duration,
    globals: &Globals,
) -> anyhow::Result<Way> {
    let mut exporter = exporter::wait_for_gateway(&link, &exporting, patience, globals).await?;
    let importer = importer::wait_for_mirror(&link, &importing, patience, globals).await?;
    let (began, mut told) = (Instant::now(), false);
    let (report, server) = loop {
        let (report, server) = preflight::run(&exporter, &importer, globals).await;
        match report.unreached() {
            Some(why) if began.elapsed() < patience.min(SETTLING) => {
                if !std::mem::replace(&mut told, true) {
                    eprintln!("waiting for the gateway of {exporting} to be reached from {importing}: {why}");
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            _ => break (report, server),
        }
    };
    exporter.server = server.unwrap_or(exporter.server);
    let account = apply::account_name(&importing);
    let plan = apply::Plan::new(&link, &exporter, &importer, &account, globals);
    eprint!("{}", plan.header(&exporting, &importing));
    eprint!("{}", report.render(&exporting, &importing));
    eprintln!("{}", plan.render(&exporting, &importing).await);
    let fine = !report.has_errors();
    Ok(Way { link, importing, exporter, importer, fine })
}

/// Linkerd's way: the objects for the importing cluster, on stdout.
async fn print_objects(
    link: &LinkArgs,
    output: manifest::Format,
    globals: &Globals,
) -> anyhow::Result<ExitCode> {
    if link.cluster_name.is_none() {
        let why = "--cluster-name is missing; it becomes part of every mirrored name";
        return Err(
            Problem::usage("nothing to link", why, "add --cluster-name west, or --to-context east").into()
        );
    }
    let exporter = Exporter::observe(link, globals.context.as_deref(), globals).await?;
    if let Some(useless) = &exporter.servers.useless
        && !exporter.servers.given
    {
        let chosen = &exporter.servers.candidates[0];
        eprintln!(
            "‼ the kubeconfig's {useless} is of no use to another cluster: the link uses {}, taken from {}; \
             give another with --api-server-address",
            chosen.url, chosen.from
        );
    }
    let token = exporter.token(&link.namespace, &link.service_account_name).await?;
    let objects = objects::for_importer(link, &exporter, &token, &globals.linkerd_namespace)?;
    manifest::print(&manifest::of(objects)?, output)?;
    Ok(ExitCode::SUCCESS)
}

/// The context the flags name, or the kubeconfig's current one.
fn current_context(globals: &Globals) -> anyhow::Result<String> {
    if let Some(context) = &globals.context {
        return Ok(context.clone());
    }
    let kubeconfig = exporter::read_kubeconfig(globals)?;
    kubeconfig.current_context.ok_or_else(|| {
        let why = "the kubeconfig has no current context";
        Problem::usage("which cluster exports?", why, "name it with --context").into()
    })
}

/// A cluster's name: given, or its context's.
fn cluster_name(given: Option<&str>, context: Option<&str>) -> anyhow::Result<ClusterName> {
    let name = given.or(context).unwrap_or_default();
    name.parse().map_err(|e: mesh_types::NameError| {
        Problem::usage(format!("{name:?} is no cluster name"), e.to_string(), "give one with --cluster-name")
            .into()
    })
}
