//! System calls per operation, in a run of its own: tracing slows everything down, so nothing is timed.

use crate::arm::Arm;
use crate::load::Load;
use crate::measure::{Settings, Standing};
use crate::workload::Workload;
use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long tracers may take to attach.
const ATTACH: Duration = Duration::from_secs(1);

/// The calls of one proxy.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Calls {
    pub(crate) workload: &'static str,
    pub(crate) arm: String,
    pub(crate) side: &'static str,
    pub(crate) per_operation: f64,
    /// The most frequent ones.
    pub(crate) most: Vec<(String, f64)>,
}

/// Traces both proxies of an arm during a workload.
pub(crate) fn count(
    strace: &Path,
    arm: &Arm,
    workload: &'static Workload,
    settings: &Settings,
) -> Result<Vec<Calls>> {
    if matches!(workload.load, Load::Idle(_)) {
        return Ok(Vec::new());
    }
    let standing = Standing::start(arm, workload, settings)?;
    let Some(pair) = &standing.bed.pair else { return Ok(Vec::new()) };
    workload.load.run(&standing.bed, &settings.tools, Duration::from_secs(1))?;
    let mut tracers = Vec::new();
    for (side, process) in [("client", &pair.client), ("server", &pair.server)] {
        let file = standing.bed.files().join(format!("strace-{side}"));
        let tracer = Command::new(strace)
            .args(["-f", "-c", "-U", "name,calls", "-o"])
            .arg(&file)
            .args(["-p", &process.pid().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run strace")?;
        tracers.push((side, file, tracer));
    }
    std::thread::sleep(ATTACH);
    let outcome = workload.load.run(&standing.bed, &settings.tools, settings.span);
    let mut found = Vec::new();
    for (side, file, mut tracer) in tracers {
        end(&mut tracer)?;
        let operations = outcome.as_ref().map_or(1.0, |o| o.operations.max(1.0));
        let table = std::fs::read_to_string(&file).context("what strace counted")?;
        let (all, most) = read(&table, operations);
        found.push(Calls {
            workload: workload.name,
            arm: arm.name().to_owned(),
            side,
            per_operation: all,
            most,
        });
    }
    outcome.map(|_| found)
}

/// Lets a tracer detach and write what it counted.
fn end(tracer: &mut Child) -> Result<()> {
    if let Some(pid) = i32::try_from(tracer.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::INT);
    }
    tracer.wait().context("strace")?;
    Ok(())
}

/// Reads a table of names and counts.
fn read(table: &str, operations: f64) -> (f64, Vec<(String, f64)>) {
    let mut calls: Vec<(String, f64)> = table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (name, count) = (fields.next()?, fields.next()?.parse::<f64>().ok()?);
            (name != "total").then(|| (name.to_owned(), count / operations))
        })
        .collect();
    calls.sort_by(|a, b| b.1.total_cmp(&a.1));
    let all = calls.iter().map(|(_, n)| n).sum();
    calls.truncate(6);
    (all, calls)
}

#[cfg(test)]
mod tests;
