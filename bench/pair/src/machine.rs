//! What the machine does beside a measurement.

use anyhow::Result;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Ticks of `/proc` in a second (USER_HZ, the same on every architecture that Linux knows today).
const TICKS: f64 = 100.0;

/// The processor time of the whole machine and of this measurement up to a moment.
pub(crate) struct Moment {
    at: Instant,
    /// Of all processes, and what the hypervisor took away.
    all: f64,
    ours: f64,
}

impl Moment {
    /// `pids` are the processes that belong to the measurement beside this one and its ended children.
    pub(crate) fn now(pids: &[u32]) -> Result<Self> {
        let stat = std::fs::read_to_string("/proc/stat")?;
        let first = stat.lines().next().unwrap_or_default();
        let ticks: Vec<f64> = first.split_whitespace().skip(1).filter_map(|t| t.parse().ok()).collect();
        // user, nice, system, idle, iowait, irq, softirq, steal; guests are counted in user already.
        let all = ticks.iter().take(8).enumerate().filter(|(i, _)| ![3, 4].contains(i)).map(|(_, t)| t).sum();
        let mut ours = process(Path::new("/proc/self"), true);
        ours += pids.iter().map(|pid| process(&PathBuf::from(format!("/proc/{pid}")), false)).sum::<f64>();
        Ok(Self { at: Instant::now(), all, ours })
    }

    /// Cores that the rest of the machine used since.
    pub(crate) fn others_until(&self, later: &Self) -> f64 {
        let others = (later.all - self.all) - (later.ours - self.ours);
        (others / TICKS / (later.at - self.at).as_secs_f64()).max(0.0)
    }
}

/// Ticks of a process, and of the children it has waited for.
fn process(dir: &Path, children: bool) -> f64 {
    let stat = std::fs::read_to_string(dir.join("stat")).unwrap_or_default();
    // The name in parentheses may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let times: Vec<f64> = fields.skip(11).take(4).filter_map(|t| t.parse().ok()).collect();
    times.iter().take(if children { 4 } else { 2 }).sum()
}
