//! `mesh-bench mesh`: two linked clusters from nothing, and what they cost.

use crate::fleet::{self, Sandbox};
use crate::report::{Figure, Report};
use crate::{footprint, latency, propagation};
use anyhow::{Context as _, Result};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Arguments of the benchmark.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder of meshctl and the binaries of images
    #[arg(long, env = "ISTHMUS_BIN_DIR")]
    bin_dir: Option<PathBuf>,
    /// Changes of a service whose propagation is measured
    #[arg(long, default_value_t = 300)]
    events: u32,
    /// Rounds of each path
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds of a round
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Requests a second; chosen so that the machine is about half busy where absent
    #[arg(long)]
    rate: Option<u32>,
    /// Build the proxy in profile dist to tell its size
    #[arg(long)]
    dist: bool,
    /// Leave the clusters running
    #[arg(long)]
    keep: bool,
    /// `table` or `json`
    #[arg(long, short, default_value = "table", value_parser = ["table", "json"])]
    output: String,
}

/// Measures and prints.
pub(crate) async fn run(args: Args) -> Result<()> {
    let bin = match args.bin_dir {
        Some(bin) => bin,
        None => std::env::current_exe()?.parent().context("this program has no folder")?.to_owned(),
    };
    let mut report = Report::default();
    if args.dist {
        footprint::binary(&mut report)?;
    }
    let sandbox = Sandbox::at(bin, args.keep)?;
    let started = Instant::now();
    sandbox.up().await?;
    let (east, west) = (sandbox.cluster("east").await?, sandbox.cluster("west").await?);
    east.ready().await?;
    west.ready().await?;
    let up = started.elapsed().as_secs_f64();
    report.add(Figure::new("sandbox up to both clusters ready", up, "s").goal(10.0));
    let started = Instant::now();
    fleet::mesh(&sandbox, [&east, &west]).await?;
    report.add(Figure::new("mesh installed in both", started.elapsed().as_secs_f64(), "s"));
    let started = Instant::now();
    fleet::link(&sandbox, &west, &east).await?;
    report.add(Figure::new("linked both ways", started.elapsed().as_secs_f64(), "s"));

    for cluster in [&east, &west] {
        cluster.apply(include_str!("../manifests/both.yaml")).await?;
        cluster.rolled_out("bench").await?;
    }
    footprint::memory(sandbox.supervisor().await?, &mut report).await?;
    propagation::measure(&east, &west, args.events, &mut report).await?;
    latency::measure(&east, args.rounds, Duration::from_secs(args.seconds), args.rate, &mut report).await?;
    match args.output.as_str() {
        "json" => println!("{}", serde_json::to_string_pretty(&report)?),
        _ => print!("\n{}", report.table()),
    }
    drop(sandbox);
    Ok(())
}
