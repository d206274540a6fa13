//! How many instructions the hot functions take, counted by callgrind and held against a stored baseline. Unlike times
//! the counts are the same on a busy machine, so that a small loss is seen when it happens.

mod calls;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Calls of the shorter of two runs; the difference to one of twice as many is that of the calls alone.
const CALLS: u64 = 2_000;
/// The counts that were last accepted.
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.json");

/// Counts instructions of the hot functions.
#[derive(Debug, Parser)]
#[command(name = "mesh-hot", version)]
struct Args {
    /// Accept what is counted as the new baseline
    #[arg(long)]
    update: bool,
    /// How many per cent more than the baseline are no failure
    #[arg(long, default_value_t = 5.0, value_name = "PERCENT")]
    tolerance: f64,
    /// Call one function so many times and end; what is counted
    #[arg(long, num_args = 2, value_names = ["NUMBER", "CALLS"], hide = true)]
    call: Option<Vec<u64>>,
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

/// Counts, compares, and fails where a function takes too many.
fn run(args: &Args) -> Result<()> {
    if let Some(call) = &args.call {
        let [number, calls] = call[..] else { bail!("--call takes a number and how many calls") };
        let (_, function) = calls::ALL.get(number as usize).context("there is no such function")?;
        function(calls);
        return Ok(());
    }
    let valgrind =
        find("valgrind").context("valgrind is missing: install it (Debian: apt-get install valgrind)")?;
    let baseline: BTreeMap<String, u64> = match std::fs::read(BASELINE) {
        Ok(bytes) => serde_json::from_slice(&bytes).context(BASELINE)?,
        Err(_) => BTreeMap::new(),
    };
    let (mut counts, mut over) = (BTreeMap::new(), Vec::new());
    println!("{:<46} {:>8} {:>9} {:>8}", "function", "now", "baseline", "change");
    for (number, (name, _)) in calls::ALL.iter().enumerate() {
        let count = count(&valgrind, number)?;
        let before = baseline.get(*name).copied();
        let change = before.map(|before| (count as f64 / before.max(1) as f64 - 1.0) * 100.0);
        let shown = before.map_or_else(String::new, |b| b.to_string());
        let percent = change.map_or_else(String::new, |c| format!("{c:+.1} %"));
        println!("{name:<46} {count:>8} {shown:>9} {percent:>8}");
        if change.is_none_or(|change| change > args.tolerance) {
            over.push(*name);
        }
        counts.insert((*name).to_owned(), count);
    }
    if args.update {
        std::fs::write(BASELINE, serde_json::to_string_pretty(&counts)? + "\n").context(BASELINE)?;
        println!("the baseline is now as counted");
        return Ok(());
    }
    ensure!(
        over.is_empty(),
        "more instructions than the baseline, or none known: {}; where that is meant: --update",
        over.join(", ")
    );
    Ok(())
}

/// Instructions of one call.
fn count(valgrind: &Path, number: usize) -> Result<u64> {
    let (once, twice) = (total(valgrind, number, CALLS)?, total(valgrind, number, CALLS * 2)?);
    Ok(twice.saturating_sub(once) / CALLS)
}

/// Instructions of a whole run.
fn total(valgrind: &Path, number: usize, calls: u64) -> Result<u64> {
    let output = Command::new(valgrind)
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["--call", &number.to_string(), &calls.to_string()])
        .output()
        .context("cannot run valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind: {}\n{said}", output.status);
    let collected = said.lines().find_map(|l| l.split_once("Collected :")).map(|(_, n)| n.trim());
    collected.and_then(|n| n.parse().ok()).with_context(|| format!("callgrind told no count:\n{said}"))
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|d| d.join(program)).find(|p| p.is_file())
}
