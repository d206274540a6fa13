//! `meshctl sandbox demo`: two clusters, each with its own mesh, linked, serving a shop, losing one side and getting it
//! back. It uses the commands a person would, and ends by checking what it claimed.

mod checks;
mod kubernetes;
mod load;
mod story;

use super::StateArgs;
use crate::report::Problem;
use mesh_sandbox::{Sandbox, UpOptions};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Arguments of `meshctl sandbox demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    state: StateArgs,
    /// Leave the clusters running at the end
    #[arg(long)]
    keep: bool,
    /// Requests a second sent by the load generator (default: 500, or less where the machine does not carry that)
    #[arg(long, value_parser = clap::value_parser!(u32).range(10..=5000), value_name = "RATE")]
    rps: Option<u32>,
    /// Where to look for the binaries of images, after the folder of meshctl; may be repeated
    #[arg(long = "bin-dir", value_name = "DIR")]
    bin_dirs: Vec<PathBuf>,
}

/// Prints one line a step; long ones are begun on a terminal before they are done.
pub(crate) struct Steps {
    number: usize,
    failed: usize,
    started: Instant,
}

/// Steps of the story.
const STEPS: usize = 9;

impl Steps {
    fn new() -> Self {
        Self { number: 0, failed: 0, started: Instant::now() }
    }

    /// Begins a step.
    pub(crate) fn begin(&mut self, what: &str) {
        self.number += 1;
        self.started = Instant::now();
        if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
            eprint!("\r {}/{STEPS}  {what:<30} …", self.number);
        }
    }

    /// Ends a step with what came of it.
    pub(crate) fn end(&mut self, what: &str, outcome: &str) {
        if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
            eprint!("\r\x1b[2K");
        }
        eprintln!(" {}/{STEPS}  {what:<30} {outcome}", self.number);
    }

    /// Time since the step began.
    pub(crate) fn took(&self) -> String {
        format!("{:.1} s", self.started.elapsed().as_secs_f64())
    }

    /// Notes a claim; a claim that does not hold fails the demo. Answers with its mark.
    pub(crate) fn claim(&mut self, holds: bool) -> char {
        if !holds {
            self.failed += 1;
        }
        if holds { '√' } else { '×' }
    }
}

/// Runs the demo from nothing to nothing, or to running clusters with `--keep`.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut steps = Steps::new();
    let state_dir = args.state.state_dir.clone();
    let options =
        UpOptions { bin_dirs: args.bin_dirs.clone(), state_dir: state_dir.clone(), ..UpOptions::default() };
    steps.begin("two clusters up");
    let status = mesh_sandbox::up(&options, &mut |_| {}).map_err(|e| super::failed_to_come_up(&e))?;
    let up = status.clusters.iter().map(|c| format!("{} √", c.name)).collect::<Vec<_>>().join(" ");
    steps.end("two clusters up", &format!("{up:<40} {}", steps.took()));
    let outcome = tell(&args, &mut steps);
    if args.keep {
        eprintln!("\n The clusters are left running. meshctl sandbox down takes them down.");
        eprintln!("   export KUBECONFIG={}", status.kubeconfig.display());
        eprintln!("   meshctl --context east multicluster gateways");
    } else {
        let processes = checks::processes_below(status.pid);
        mesh_sandbox::down(state_dir)?;
        let left = checks::leftovers(&processes);
        if left.is_empty() {
            eprintln!("      all {} processes of the sandbox are gone √", processes.len());
        } else {
            steps.failed += 1;
            eprintln!("      left behind: {} ×", left.join(", "));
        }
    }
    outcome?;
    if steps.failed > 0 {
        let why = format!("{} of its claims did not hold (× above)", steps.failed);
        return Err(Problem::new(
            "the demo failed",
            why,
            "run it again with --keep and look at the clusters",
        )
        .into());
    }
    if !args.keep {
        eprintln!(
            "\n Next:  cargo xtask demo --keep   then   export KUBECONFIG=$(meshctl sandbox kubeconfig)"
        );
        eprintln!("        meshctl --context east multicluster gateways");
        eprintln!(
            "        meshctl --context east diagnostics endpoints catalog-federated.shop.svc.cluster.local:80"
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(args: &Args, steps: &mut Steps) -> anyhow::Result<()> {
    let sandbox = Sandbox::connect(args.state.state_dir.clone())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(story::tell(&sandbox, args.rps, steps));
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}
