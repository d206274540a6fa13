//! A pair of proxies against no proxy, HAProxy and others: throughput, latency, processor time and memory, in one run,
//! interleaved. See `mesh-bed` for what it runs on.

mod arm;
mod load;
mod machine;
mod measure;
mod result;
mod syscalls;
mod workload;

use anyhow::{Context as _, Result, bail, ensure};
use arm::Arm;
use clap::Parser;
use load::Tools;
use measure::{Reading, Settings, Standing};
use mesh_bed::Sidecar;
use mesh_bed::{Machine, require};
use result::{Binary, Outcome};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;
use workload::Workload;

/// Medians want an odd number, and the report at least five.
const ROUNDS: u32 = 5;
const QUICK_ROUNDS: u32 = 3;
const SECONDS: u64 = 3;
const RETAKES: u32 = 3;

/// A pair of proxies against no proxy, HAProxy and others: speed, processor time, memory.
#[derive(Debug, Parser)]
#[command(name = "mesh-bench-proxy", version)]
struct Args {
    /// Short rounds and fewer workloads
    #[arg(long)]
    quick: bool,
    /// Only workloads whose name contains this; may be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Only arms whose name contains this; may be repeated
    #[arg(long, value_name = "NAME")]
    arm: Vec<String>,
    /// Rounds of each workload, interleaved over the arms
    #[arg(long)]
    rounds: Option<u32>,
    /// Length of a reading, whole seconds
    #[arg(long)]
    seconds: Option<u64>,
    /// Another proxy that is configured by LINKERD2_PROXY_*; may be repeated
    #[arg(long, value_name = "NAME=PATH")]
    peer: Vec<String>,
    /// Build and measure the binary that ships (profile dist, several minutes)
    #[arg(long)]
    dist: bool,
    /// Count system calls with strace instead of measuring
    #[arg(long)]
    syscalls: bool,
    /// How often a reading is taken again that others on the machine spoilt
    #[arg(long, default_value_t = RETAKES)]
    retakes: u32,
    /// Folder for proxy.json and proxy.md (default: bench, beside the binaries' folder)
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the workloads and end
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("× {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures, prints the tables and writes both files.
fn run(args: &Args) -> Result<()> {
    // Lives as long as the process: threads borrow from it.
    let all: &'static [Workload] = Vec::leak(workload::all());
    if args.list {
        for workload in all {
            println!(
                "{:<20} per {}{}",
                workload.name,
                workload.unit,
                if workload.quick { ", quick" } else { "" }
            );
        }
        return Ok(());
    }
    let named = |w: &&Workload| args.only.iter().any(|name| w.name.contains(name.as_str()));
    let chosen: Vec<&'static Workload> =
        all.iter().filter(|w| if args.only.is_empty() { !args.quick || w.quick } else { named(w) }).collect();
    ensure!(!chosen.is_empty(), "no workload is called {:?}; --list names them", args.only);
    let bin = folder("ISTHMUS_BIN_DIR")?;
    let settings = Settings {
        tools: Tools { wrk: require("wrk", "wrk")?, h2load: require("h2load", "nghttp2-client")? },
        span: Duration::from_secs(args.seconds.unwrap_or(if args.quick { 1 } else { SECONDS }).max(1)),
        retakes: if args.quick { args.retakes.min(1) } else { args.retakes },
        bin,
    };
    require("ip", "iproute2")?;
    let arms = arms(args, &settings.bin)?;
    let out = args.out.clone().unwrap_or_else(|| settings.bin.with_file_name("bench"));
    std::fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    if args.syscalls {
        return syscalls(&arms, &chosen, &settings, &out);
    }
    let rounds = args.rounds.unwrap_or(if args.quick { QUICK_ROUNDS } else { ROUNDS }).max(1);
    let mut readings = Vec::new();
    for workload in &chosen {
        measure(workload, &arms, rounds, &settings, &mut readings)?;
    }
    let binaries = arms.iter().map(binary).collect();
    let outcome = Outcome::new(Machine::look(), binaries, &chosen, readings);
    let markdown = outcome.markdown();
    std::fs::write(out.join("proxy.json"), serde_json::to_vec_pretty(&outcome)?)?;
    std::fs::write(out.join("proxy.md"), &markdown)?;
    println!("{markdown}\n{}", out.join("proxy.json").display());
    Ok(())
}

fn arms(args: &Args, bin: &Path) -> Result<Vec<Arm>> {
    let ours = if args.dist { folder("ISTHMUS_DIST_DIR")? } else { bin.to_owned() }.join("isthmus-proxy");
    let sidecar = |name: &str, binary: PathBuf| {
        ensure!(binary.is_file(), "{} is no file", binary.display());
        let binary = binary.canonicalize()?;
        Ok(Arm::Sidecar(Sidecar { name: name.to_owned(), binary, env: Vec::new() }))
    };
    let haproxy = require("haproxy", "haproxy")?;
    let mut arms = vec![
        Arm::Direct,
        sidecar(arm::OURS, ours)?,
        Arm::HaProxyHttp(haproxy.clone()),
        Arm::HaProxyTcp(haproxy),
    ];
    for peer in &args.peer {
        let (name, path) =
            peer.split_once('=').with_context(|| format!("--peer {peer}: NAME=PATH is wanted"))?;
        ensure!(arms.iter().all(|arm| arm.name() != name), "--peer {peer}: the name {name} is taken");
        arms.push(sidecar(name, PathBuf::from(path))?);
    }
    arms.retain(|arm| args.arm.is_empty() || args.arm.iter().any(|name| arm.name().contains(name.as_str())));
    if arms.is_empty() {
        bail!("no arm is called {:?}", args.arm);
    }
    Ok(arms)
}

/// The folder of the binaries that a variable names.
fn folder(variable: &str) -> Result<PathBuf> {
    let folder = std::env::var_os(variable);
    let folder =
        folder.with_context(|| format!("{variable} is not set; `cargo xtask bench proxy` sets it"))?;
    Ok(PathBuf::from(folder))
}

/// All rounds of a workload. Proxies stand for all of them, unless each reading needs new ones.
fn measure(
    workload: &Workload,
    arms: &[Arm],
    rounds: u32,
    settings: &Settings,
    readings: &mut Vec<Reading>,
) -> Result<()> {
    let arms: Vec<&Arm> = arms.iter().filter(|arm| arm.does(workload)).collect();
    let mut standing = Vec::new();
    if !workload.is_fresh() {
        for arm in &arms {
            standing.push(Standing::start(arm, workload, settings)?);
        }
    }
    let pids: Vec<u32> = standing.iter().flat_map(Standing::pids).collect();
    for round in 1..=rounds {
        for (index, arm) in arms.iter().enumerate() {
            let reading = match standing.get(index) {
                Some(standing) => standing.read(workload, settings, &pids),
                None => {
                    let fresh = Standing::start(arm, workload, settings)?;
                    fresh.read(workload, settings, &fresh.pids())
                }
            };
            let reading = reading.with_context(|| format!("{} of {}", workload.name, arm.name()))?;
            let reading =
                Reading { workload: workload.name.to_owned(), arm: arm.name().to_owned(), round, ..reading };
            eprintln!("  {}", line(&reading));
            readings.push(reading);
        }
    }
    Ok(())
}

fn line(r: &Reading) -> String {
    let optional =
        |name: &str, value: Option<f64>| value.map_or_else(String::new, |v| format!("  {name} {v:.1}"));
    format!(
        "{:<17} {:<13} round {}  {:>9.0}/s{}{}{}{}{}{}",
        r.workload,
        r.arm,
        r.round,
        r.per_second,
        optional("p50", r.p50_us),
        optional("p99", r.p99_us),
        optional("CPU µs", r.cpu_us),
        optional("KiB/connection", r.rss_per_connection_kib),
        if r.failed > 0 { format!("  {} FAILED", r.failed) } else { String::new() },
        if r.noisy { format!("  (others used {:.1} cores)", r.others) } else { String::new() },
    )
}

fn binary(arm: &Arm) -> Binary {
    let bytes = arm.binary().and_then(|b| std::fs::metadata(b).ok()).map_or(0, |m| m.len());
    let flag = if matches!(arm, Arm::Sidecar(_)) { "--version" } else { "-v" };
    let said = arm.binary().and_then(|b| Command::new(b).arg(flag).output().ok());
    let said = said.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let version: Vec<&str> = said.lines().next().unwrap_or_default().split_whitespace().take(3).collect();
    Binary { arm: arm.name().to_owned(), version: version.join(" "), bytes }
}

fn syscalls(arms: &[Arm], chosen: &[&'static Workload], settings: &Settings, out: &Path) -> Result<()> {
    let strace = require("strace", "strace")?;
    let mut all = Vec::new();
    for workload in chosen {
        for arm in arms.iter().filter(|arm| arm.does(workload)) {
            for calls in syscalls::count(&strace, arm, workload, settings)? {
                let most: Vec<String> = calls.most.iter().map(|(name, n)| format!("{name} {n:.2}")).collect();
                println!(
                    "{:<17} {:<13} {:<7} {:>8.2} per {}: {}",
                    calls.workload,
                    calls.arm,
                    calls.side,
                    calls.per_operation,
                    workload.unit,
                    most.join(", ")
                );
                all.push(calls);
            }
        }
    }
    std::fs::write(out.join("syscalls.json"), serde_json::to_vec_pretty(&all)?)?;
    Ok(())
}
