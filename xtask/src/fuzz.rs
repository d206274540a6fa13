//! `cargo xtask fuzz`: every target of `fuzz/` for a while, beginning with its seeds.

use crate::{call, cargo, machine, target_dir};
use anyhow::{Context as _, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The release of cargo-fuzz that is installed where there is none.
const CARGO_FUZZ: &str = "0.13.2";

/// The one target that needs the whole proxy, and what spares the others from waiting for it to be built.
const WHOLE_PROXY: &str = "policy";
const FEATURES: &[&str] = &["--no-default-features"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only targets whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

/// Runs the targets one after the other; the first crash ends it, and is kept below `fuzz/artifacts`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let sources = crate::sources();
    let root = sources.parent().context("the workspace's folder")?;
    let dir = root.join("fuzz");
    require_nightly()?;
    let fuzz = cargo_fuzz()?;
    let mut targets: Vec<String> = std::fs::read_dir(dir.join("fuzz_targets"))?
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .filter(|name| args.only.as_ref().is_none_or(|wanted| name.contains(wanted.as_str())))
        .collect();
    targets.sort();
    ensure!(!targets.is_empty(), "no fuzz target is called {:?}", args.only);
    // What a run finds worth keeping goes to a folder of the build, never among the seeds.
    let build = target_dir()?.join("fuzz");
    for target in &targets {
        let found = build.join("corpus").join(target);
        std::fs::create_dir_all(&found)?;
        eprintln!("fuzzing {target} for {} s …", args.seconds);
        call(
            Command::new(&fuzz)
                .current_dir(&dir)
                .env("RUSTUP_TOOLCHAIN", "nightly")
                // That of the toolchain this runs under.
                .env_remove("CARGO")
                .args(["run", "--target-dir"])
                .arg(&build)
                .args(FEATURES.iter().filter(|_| target != WHOLE_PROXY))
                .args(["--release", target])
                .arg(&found)
                .arg(dir.join("seeds").join(target))
                .args(["--", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=0"])
                .arg(format!("-max_total_time={}", args.seconds)),
        )?;
    }
    println!("{} fuzz targets ran for {} s each and none crashed", targets.len(), args.seconds);
    Ok(())
}

fn require_nightly() -> Result<()> {
    let output = Command::new("rustup").args(["toolchain", "list"]).output().context("cannot run rustup")?;
    if !String::from_utf8_lossy(&output.stdout).lines().any(|l| l.starts_with("nightly")) {
        bail!("sanitizers need a nightly toolchain: rustup toolchain install nightly --profile minimal");
    }
    Ok(())
}

/// cargo-fuzz from PATH, or installed into the cache.
fn cargo_fuzz() -> Result<PathBuf> {
    if let Some(path) = machine::find("cargo-fuzz") {
        return Ok(path);
    }
    let home = std::env::var_os("HOME").context("HOME is not set")?;
    let dir = Path::new(&home).join(".cache/isthmus/tools").join(format!("cargo-fuzz-{CARGO_FUZZ}"));
    let path = dir.join("bin/cargo-fuzz");
    if !path.is_file() {
        eprintln!("installing cargo-fuzz {CARGO_FUZZ} (once; it is kept in {}) …", dir.display());
        call(
            cargo()
                .args(["install", "--quiet", "--locked", "--version", CARGO_FUZZ, "cargo-fuzz", "--root"])
                .arg(&dir),
        )?;
    }
    Ok(path)
}
