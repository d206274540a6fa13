//! `meshctl sandbox fault`: what tests and demonstrations break.

use super::{StateArgs, namespaced};
use mesh_sandbox::{FaultStatus, Sandbox};
use std::process::ExitCode;
use std::time::Duration;

/// SIGKILL.
const KILL: i32 = 9;

/// Subcommands of `meshctl sandbox fault`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Drop every packet between two clusters.
    Partition {
        #[command(flatten)]
        state: StateArgs,
        /// One cluster.
        a: String,
        /// The other.
        b: String,
    },
    /// Lift every partition, latency and bandwidth limit.
    Heal {
        #[command(flatten)]
        state: StateArgs,
    },
    /// Delay every packet between clusters.
    Latency {
        #[command(flatten)]
        state: StateArgs,
        /// Delay of each packet, one way, such as 20ms.
        #[arg(value_parser = mesh_types::parse_duration)]
        delay: Duration,
        /// From this cluster (default: between all).
        #[arg(requires = "to")]
        from: Option<String>,
        /// To this cluster.
        to: Option<String>,
    },
    /// Limit the bit rate between clusters.
    Bandwidth {
        #[command(flatten)]
        state: StateArgs,
        /// Bits per second, such as 200mbit or 10kbit; 0 lifts the limit.
        #[arg(value_parser = bits)]
        rate: u64,
        /// From this cluster (default: between all).
        #[arg(requires = "to")]
        from: Option<String>,
        /// To this cluster.
        to: Option<String>,
    },
    /// Make a cluster's API server unreachable from pods and from other clusters.
    StopApi {
        #[command(flatten)]
        state: StateArgs,
        /// The cluster.
        cluster: String,
    },
    /// Undo stop-api.
    StartApi {
        #[command(flatten)]
        state: StateArgs,
        /// The cluster.
        cluster: String,
    },
    /// Kill a container's first process.
    KillContainer {
        #[command(flatten)]
        state: StateArgs,
        /// The cluster.
        cluster: String,
        /// The pod, as namespace/name.
        #[arg(value_parser = namespaced)]
        pod: (String, String),
        /// The container.
        container: String,
        /// Signal number.
        #[arg(long, default_value_t = KILL)]
        signal: i32,
    },
    /// Give a LoadBalancer Service another address.
    ReleaseAddress {
        #[command(flatten)]
        state: StateArgs,
        /// The cluster.
        cluster: String,
        /// The Service, as namespace/name.
        #[arg(value_parser = namespaced)]
        service: (String, String),
    },
}

/// `200mbit`, `10kbit`, `1gbit`, or a plain number of bits per second.
fn bits(text: &str) -> Result<u64, String> {
    let lower = text.to_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &lower[digits.len()..] {
        "" | "bit" => 1,
        "kbit" => 1_000,
        "mbit" => 1_000_000,
        "gbit" => 1_000_000_000,
        unit => return Err(format!("unit {unit:?} must be bit, kbit, mbit or gbit")),
    };
    let number: u64 = digits.parse().map_err(|_| "write for example 200mbit".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "too large".to_owned())
}

/// Runs a subcommand.
pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Partition { state, a, b } => show(&connect(state)?.partition(&a, &b)?),
        Command::Heal { state } => show(&connect(state)?.heal()?),
        Command::Latency { state, delay, from, to } => {
            let sandbox = connect(state)?;
            each_way(&sandbox, from, to, |from, to| sandbox.latency(from, to, delay))?;
        }
        Command::Bandwidth { state, rate, from, to } => {
            let sandbox = connect(state)?;
            let limit = (rate > 0).then_some(rate);
            each_way(&sandbox, from, to, |from, to| sandbox.bandwidth(from, to, limit))?;
        }
        Command::StopApi { state, cluster } => connect(state)?.stop_api(&cluster)?,
        Command::StartApi { state, cluster } => connect(state)?.start_api(&cluster)?,
        Command::KillContainer { state, cluster, pod: (namespace, pod), container, signal } => {
            connect(state)?.kill_container(&cluster, &namespace, &pod, &container, signal)?;
        }
        Command::ReleaseAddress { state, cluster, service: (namespace, service) } => {
            println!("{}", connect(state)?.release_address(&cluster, &namespace, &service)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn connect(state: StateArgs) -> Result<Sandbox, mesh_sandbox::Error> {
    Sandbox::connect(state.state_dir)
}

/// One direction where clusters are named, every direction between all clusters otherwise.
fn each_way(
    sandbox: &Sandbox,
    from: Option<String>,
    to: Option<String>,
    set: impl Fn(&str, &str) -> Result<Vec<FaultStatus>, mesh_sandbox::Error>,
) -> anyhow::Result<()> {
    if let (Some(from), Some(to)) = (from, to) {
        show(&set(&from, &to)?);
        return Ok(());
    }
    let names: Vec<String> = sandbox.status()?.clusters.into_iter().map(|c| c.name).collect();
    let mut faults = Vec::new();
    for from in &names {
        for to in names.iter().filter(|to| *to != from) {
            faults = set(from, to)?;
        }
    }
    show(&faults);
    Ok(())
}

fn show(faults: &[FaultStatus]) {
    for fault in faults {
        eprintln!("{} → {}: {}", fault.from, fault.to, fault.fault);
    }
    if faults.is_empty() {
        eprintln!("no fault in force between clusters");
    }
}

#[cfg(test)]
mod tests;
