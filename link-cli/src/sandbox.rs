//! `meshctl sandbox`: whole clusters on this machine. Everything here blocks and runs outside of any async runtime,
//! because the supervisor is this very binary and must own its threads.

mod demo;
mod fault;

use crate::report::Problem;
use mesh_sandbox::{Sandbox, Status, UpOptions};
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Subcommands of `meshctl sandbox`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Bring clusters up: API server, node, network and DNS each, in one background process.
    #[command(after_help = "Example:\n  meshctl sandbox up --clusters east,west\n  \
        export KUBECONFIG=$(meshctl sandbox kubeconfig)\n  kubectl --context east get nodes\n\nNeeds root. The host's network is left alone; \
        nothing stays behind after meshctl sandbox down.")]
    Up(UpArgs),
    /// Show what the mesh does: two linked clusters serve a shop, lose one side, and get it back.
    Demo(demo::Args),
    /// Take the clusters down.
    Down(StateArgs),
    /// Show what runs.
    Status(StatusArgs),
    /// Print the path of the kubeconfig, which has a context for each cluster.
    Kubeconfig(StateArgs),
    /// Open a shell with KUBECONFIG set, inside a cluster's network where Services and pods answer.
    Shell(ShellArgs),
    /// Break something, and mend it.
    #[command(subcommand)]
    Fault(fault::Command),
    /// Write the packets of a pod to a pcap file.
    Capture(CaptureArgs),
    /// What `up` runs in the background.
    #[command(hide = true)]
    Supervise {
        /// Options as JSON.
        options: String,
    },
}

/// Where a sandbox keeps its state.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct StateArgs {
    /// State directory; several sandboxes have several.
    #[arg(long, env = mesh_sandbox::STATE_DIR_ENV, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// Arguments of `meshctl sandbox up`.
#[derive(Debug, clap::Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Names of the clusters, which are also their contexts.
    #[arg(long, value_delimiter = ',', default_value = "east,west", value_name = "NAMES")]
    clusters: Vec<String>,
    /// Different subnets for each cluster, and routes between their pods.
    #[arg(long)]
    flat: bool,
    /// Where to look for the binaries of images, after the folder of meshctl; may be repeated.
    #[arg(long = "bin-dir", value_name = "DIR")]
    bin_dirs: Vec<PathBuf>,
    /// Stay in this process instead of going to the background; prints "ready" to stdout.
    #[arg(long)]
    foreground: bool,
    /// With --foreground: take everything down when standard input closes.
    #[arg(long, requires = "foreground")]
    until_stdin_closes: bool,
}

/// Arguments of `meshctl sandbox status`.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

/// Output formats of tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// Arguments of `meshctl sandbox shell`.
#[derive(Debug, clap::Args)]
pub(crate) struct ShellArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Cluster whose network the shell is in (default: the host's).
    cluster: Option<String>,
}

/// Arguments of `meshctl sandbox capture`.
#[derive(Debug, clap::Args)]
pub(crate) struct CaptureArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Cluster of the pod.
    cluster: String,
    /// The pod, as namespace/name.
    #[arg(value_parser = namespaced)]
    pod: (String, String),
    /// File to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Stop after so many seconds (default: when standard input closes).
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
}

/// `namespace/name`.
fn namespaced(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((ns, name)) if !ns.is_empty() && !name.is_empty() => Ok((ns.to_owned(), name.to_owned())),
        _ => Err("write namespace/name".to_owned()),
    }
}

/// Runs a subcommand.
pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    carry_out(command).map_err(|error| match error.downcast::<mesh_sandbox::Error>() {
        Ok(error) => told(&error).into(),
        Err(other) => other,
    })
}

/// A refusal of the sandbox in three lines.
fn told(error: &mesh_sandbox::Error) -> Problem {
    use mesh_sandbox::Error;
    let (what, why, fix) = match error {
        Error::NotRunning(dir) => {
            let why = format!("none has its state in {}", dir.display());
            (
                "no sandbox is running",
                why,
                "start one:  meshctl sandbox up   (or name another with --state-dir)",
            )
        }
        Error::Refused(why) => ("the sandbox refused", why.clone(), "see what runs:  meshctl sandbox status"),
        other => ("the sandbox cannot do that", other.to_string(), "see what runs:  meshctl sandbox status"),
    };
    Problem::new(what, why, fix)
}

fn carry_out(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(args) => up(args),
        Command::Demo(args) => demo::run(args),
        Command::Down(args) => {
            let was_running = mesh_sandbox::down(args.state_dir)?;
            eprintln!("{}", if was_running { "√ sandbox is down" } else { "√ no sandbox was running" });
            Ok(ExitCode::SUCCESS)
        }
        Command::Status(args) => status(args),
        Command::Kubeconfig(args) => {
            println!("{}", mesh_sandbox::kubeconfig_path(args.state_dir)?.display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Shell(args) => {
            let ended = mesh_sandbox::shell(args.state.state_dir, args.cluster.as_deref())?;
            let code = ended.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1);
            Ok(ExitCode::from(code))
        }
        Command::Fault(command) => fault::run(command),
        Command::Capture(args) => capture(args),
        Command::Supervise { options } => {
            mesh_sandbox::supervise(&options)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn up(args: UpArgs) -> anyhow::Result<ExitCode> {
    let options = UpOptions {
        clusters: args.clusters,
        flat: args.flat,
        bin_dirs: args.bin_dirs,
        state_dir: args.state.state_dir,
    };
    let mut report = |line: &str| eprintln!("{line}");
    if args.foreground {
        mesh_sandbox::up_in_foreground(&options, args.until_stdin_closes, &mut report)
            .map_err(|e| failed_to_come_up(&e))?;
        return Ok(ExitCode::SUCCESS);
    }
    let status = mesh_sandbox::up(&options, &mut report).map_err(|e| failed_to_come_up(&e))?;
    let names: Vec<&str> = status.clusters.iter().map(|c| c.name.as_str()).collect();
    eprintln!("√ {} up", names.join(" and "));
    eprintln!("\n  export KUBECONFIG={}", status.kubeconfig.display());
    if let Some(first) = names.first() {
        eprintln!("  kubectl --context {first} get nodes");
    }
    Ok(ExitCode::SUCCESS)
}

fn failed_to_come_up(error: &mesh_sandbox::Error) -> Problem {
    let fix = match error {
        mesh_sandbox::Error::Preflight(_) => "put right what is named above, then try again",
        mesh_sandbox::Error::AlreadyRunning { .. } => {
            "take it down first:  meshctl sandbox down   (or give another --state-dir)"
        }
        mesh_sandbox::Error::Options(_) => {
            return Problem::usage(
                "the sandbox did not come up",
                error.to_string().replace('\n', "; "),
                "for example:  meshctl sandbox up --clusters east,west",
            );
        }
        _ => "look into the log in the state directory; meshctl sandbox down removes what is left",
    };
    Problem::new("the sandbox did not come up", error.to_string(), fix)
}

fn status(args: StatusArgs) -> anyhow::Result<ExitCode> {
    let status = mesh_sandbox::status(args.state.state_dir)?;
    match args.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&status)?),
        Output::Table => print!("{}", table(&status)),
    }
    Ok(ExitCode::SUCCESS)
}

fn table(status: &Status) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["CLUSTER", "API", "NODE", "PODS", "SERVICES", "ADDRESS", "SERVER"]);
    for cluster in &status.clusters {
        table.add_row([
            cluster.name.clone(),
            mark(cluster.api_serving),
            mark(cluster.node_ready),
            format!("{}/{}", cluster.pods_ready, cluster.pods),
            cluster.services.to_string(),
            cluster.node_address.to_string(),
            cluster.server.clone(),
        ]);
    }
    let mut text: String = table.lines().map(|line| format!("{}\n", line.trim())).collect();
    for fault in &status.faults {
        text.push_str(&format!("‼ {} → {}: {}\n", fault.from, fault.to, fault.fault));
    }
    text.push_str(&format!("up for {:.0} s, pid {}\n", status.uptime_seconds, status.pid));
    text
}

fn mark(good: bool) -> String {
    if good { "√" } else { "×" }.to_owned()
}

fn capture(args: CaptureArgs) -> anyhow::Result<ExitCode> {
    let sandbox = Sandbox::connect(args.state.state_dir)?;
    let (namespace, pod) = &args.pod;
    let capture = sandbox.capture(&args.cluster, namespace, pod, &args.out)?;
    eprintln!("capturing {namespace}/{pod} in {} …", args.cluster);
    match args.seconds {
        Some(seconds) => std::thread::sleep(Duration::from_secs(seconds)),
        // Whatever is typed is of no interest, only the end of it.
        None => drop(std::io::stdin().read_to_end(&mut Vec::new())?),
    }
    let (file, packets) = capture.end()?;
    eprintln!("√ {packets} packets in {}", file.display());
    Ok(ExitCode::SUCCESS)
}
