//! What a pair of proxies endures: faults under load, each with the failures it may cost, and a long run in which
//! endpoints, connections and certificates come and go. See `mesh-bed` for what it runs on.

mod fault;
mod record;
mod report;
mod scene;
mod soak;
mod traffic;
mod verdict;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use fault::Fault;
use report::{Faults, Report};
use scene::Settings;
use std::hint::black_box;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How long a soak lasts, minutes.
const MINUTES: u64 = 30;
const QUICK_MINUTES: u64 = 3;

/// Faults under load and a long run, for a client's proxy and those of its servers.
#[derive(Debug, Parser)]
#[command(name = "mesh-bench-endure", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run faults under load; fails when requests fail that a fault does not explain
    Faults {
        /// Shorter spans
        #[arg(long)]
        quick: bool,
        /// Only faults whose name contains this; may be repeated
        #[arg(long, value_name = "NAME")]
        only: Vec<String>,
        /// Print the faults and end
        #[arg(long)]
        list: bool,
        /// A proxy that is linked dynamically, whose wall clock can be moved
        #[arg(long, value_name = "PATH")]
        dynamic: Option<PathBuf>,
        /// Folder for faults.json and faults.md (default: bench, beside the binaries' folder)
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Run for long while endpoints, connections and certificates come and go; fails when anything grows or is lost
    Soak {
        /// How long
        #[arg(long)]
        minutes: Option<u64>,
        /// Three minutes, with shorter certificates
        #[arg(long)]
        quick: bool,
        /// Folder for soak.json and soak.md (default: bench, beside the binaries' folder)
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// The applications of a server
    #[command(hide = true)]
    App,
    /// Holds memory until it is killed
    #[command(hide = true)]
    Ballast {
        /// How much
        bytes: usize,
    },
}

fn main() -> ExitCode {
    match run(Args::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("× {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Faults { quick, only, list, dynamic, out } => {
            let mut chosen: Vec<Fault> = fault::all();
            chosen.retain(|f| only.is_empty() || only.iter().any(|name| f.name.contains(name.as_str())));
            ensure!(!chosen.is_empty(), "no fault is called {only:?}; --list names them");
            if list {
                chosen.iter().for_each(|fault| println!("{:<23} {}", fault.name, fault.what));
                return Ok(());
            }
            faults(&chosen, &Settings { bin: bin()?, quick, dynamic }, out)
        }
        Command::Soak { minutes, quick, out } => {
            let settings = Settings { bin: bin()?, quick, dynamic: None };
            let report = Report::new("soak", out, &settings.bin)?;
            let minutes = minutes.unwrap_or(if quick { QUICK_MINUTES } else { MINUTES });
            let outcome = soak::run(&settings, Duration::from_secs(60 * minutes))?;
            report.write(&outcome, &outcome.markdown())?;
            ensure!(outcome.problems.is_empty(), "the soak was not endured");
            Ok(())
        }
        Command::App => mesh_bed::run_applications(),
        Command::Ballast { bytes } => {
            // Written to, or the kernel would not give it.
            let held = black_box(vec![1_u8; bytes]);
            loop {
                std::thread::park();
                black_box(&held);
            }
        }
    }
}

fn faults(chosen: &[Fault], settings: &Settings, out: Option<PathBuf>) -> Result<()> {
    mesh_bed::require("ip", "iproute2")?;
    mesh_bed::require("nft", "nftables")?;
    let report = Report::new("faults", out, &settings.bin)?;
    let mut outcomes = Vec::new();
    for fault in chosen {
        let outcome = fault.run(settings);
        fault::sweep();
        let outcome = outcome.with_context(|| fault.name)?;
        eprintln!("  {}", report::line(&outcome));
        outcomes.push(outcome);
    }
    let outcome = Faults::new(settings.quick, outcomes);
    report.write(&outcome, &outcome.markdown())?;
    let failed = outcome.failed();
    ensure!(failed.is_empty(), "not as promised: {}", failed.join(", "));
    Ok(())
}

fn bin() -> Result<PathBuf> {
    let bin = std::env::var_os("ISTHMUS_BIN_DIR").context(
        "ISTHMUS_BIN_DIR is not set; `cargo xtask bench faults` and `soak` build the binaries and set it",
    )?;
    Ok(PathBuf::from(bin))
}
