//! What a meshed hop and the path across clusters add: open loop, rounds interleaved so that drift of the machine falls
//! on all paths alike, the median of the rounds' differences per quantile.

use crate::fleet::Cluster;
use crate::generator::{Generator, Summary, manifest};
use crate::report::{Figure, Report, median};
use anyhow::Result;
use std::time::Duration;

/// Machines busier than this measure their own queue.
const BUSY_LIMIT: f64 = 0.7;
/// The share that the rate is chosen for.
const BUSY_WANTED: f64 = 0.45;
/// Rates tried and used.
const RATES: std::ops::RangeInclusive<u32> = 20..=1000;

/// Paths by the generator's namespace and name, target, and what they are called.
const PATHS: [(&str, &str, &str, &str); 3] = [
    ("bench-plain", "load-plain", "echo:80", "no mesh"),
    ("bench", "load-hop", "echo:80", "one meshed hop"),
    ("bench", "load-far", "echo-west:80", "the cross-cluster path"),
];

/// A quantile of a summary, microseconds.
type Quantile = fn(&Summary) -> u64;

const QUANTILES: [(&str, Quantile); 3] =
    [("p50", |s| s.p50_us), ("p99", |s| s.p99_us), ("p99.9", |s| s.p999_us)];

/// Measures `rounds` rounds of `span` for each path.
pub(crate) async fn measure(
    east: &Cluster,
    rounds: u32,
    span: Duration,
    rate: Option<u32>,
    report: &mut Report,
) -> Result<()> {
    east.apply(include_str!("../manifests/plain.yaml")).await?;
    east.service("bench", "echo-west").await?;
    for (namespace, name, target, _) in PATHS {
        east.apply(&manifest(namespace, name, target)).await?;
    }
    east.rolled_out("bench-plain").await?;
    east.rolled_out("bench").await?;
    let mut loads = Vec::new();
    for (namespace, name, _, _) in PATHS {
        loads.push(Generator::connect(east, namespace, name).await?);
    }
    let rate = match rate {
        Some(rate) => rate,
        None => calibrate(&mut loads).await?,
    };
    let mut figures: Vec<Vec<Summary>> = PATHS.iter().map(|_| Vec::new()).collect();
    let mut busiest: f64 = 0.0;
    for round in 1..=rounds {
        for (path, load) in loads.iter_mut().enumerate() {
            let (summary, busy) = one(load, rate, span).await?;
            eprintln!(
                "    round {round} {:<22} p50 {:>6} µs  p99 {:>6} µs  failed {} of {}  machine {:.0} % busy",
                PATHS[path].3,
                summary.p50_us,
                summary.p99_us,
                summary.failed,
                summary.total,
                busy * 100.0
            );
            busiest = busiest.max(busy);
            figures[path].push(summary);
        }
    }
    tell(&figures, rate, busiest, report);
    Ok(())
}

async fn one(load: &mut Generator, rate: u32, span: Duration) -> Result<(Summary, f64)> {
    load.rate(rate).await?;
    // Connections are warm before the clock runs.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (since, before) = (load.now().await?, processor()?);
    tokio::time::sleep(span).await;
    let busy = busy(before, processor()?);
    let summary = load.stats(since).await?;
    load.rate(0).await?;
    Ok((summary, busy))
}

/// A rate at which the most expensive path keeps the machine about half busy.
async fn calibrate(loads: &mut [Generator]) -> Result<u32> {
    let tried = 100;
    let mut most: f64 = 0.0;
    for load in loads {
        most = most.max(one(load, tried, Duration::from_secs(3)).await?.1);
    }
    let rate = f64::from(tried) * BUSY_WANTED / most.max(0.01);
    Ok((rate as u32).clamp(*RATES.start(), *RATES.end()))
}

fn tell(figures: &[Vec<Summary>], rate: u32, busiest: f64, report: &mut Report) {
    let failed: u64 = figures.iter().flatten().map(|s| s.failed).sum();
    let total: u64 = figures.iter().flatten().map(|s| s.total).sum();
    let over = if busiest > BUSY_LIMIT { ", TOO BUSY to trust" } else { "" };
    let note =
        format!("machine at most {:.0} % busy{over}; {failed} of {total} requests failed", busiest * 100.0);
    report.add(Figure::new("rate of the latency rounds", f64::from(rate), "1/s").note(note));
    for (name, value) in QUANTILES {
        let base: Vec<f64> = figures[0].iter().map(|s| value(s) as f64 / 1000.0).collect();
        report.add(Figure::new(format!("latency without mesh, {name}"), median(base.clone()), "ms"));
        for (path, rounds) in figures.iter().enumerate().skip(1) {
            let added = rounds.iter().zip(&base).map(|(s, base)| value(s) as f64 / 1000.0 - base);
            let name = format!("latency added by {}, {name}", PATHS[path].3);
            report.add(Figure::new(name, median(added.collect()), "ms"));
        }
    }
}

/// Idle and all ticks of all processors so far.
fn processor() -> Result<(u64, u64)> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let ticks: Vec<u64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|t| t.parse().ok())
        .collect();
    let idle = ticks.get(3).copied().unwrap_or(0) + ticks.get(4).copied().unwrap_or(0);
    Ok((idle, ticks.iter().take(8).sum()))
}

fn busy(before: (u64, u64), after: (u64, u64)) -> f64 {
    let all = after.1.saturating_sub(before.1).max(1);
    1.0 - after.0.saturating_sub(before.0) as f64 / all as f64
}
