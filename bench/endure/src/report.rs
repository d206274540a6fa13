//! What came out, for machines and for people.

use crate::fault::Outcome;
use anyhow::{Context as _, Result};
use mesh_bed::Machine;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Where a run's files go.
pub(crate) struct Report {
    name: &'static str,
    dir: PathBuf,
}

impl Report {
    /// Files of this name in `out`, or in the folder `bench` beside the binaries'.
    pub(crate) fn new(name: &'static str, out: Option<PathBuf>, bin: &Path) -> Result<Self> {
        let dir = out.unwrap_or_else(|| bin.with_file_name("bench"));
        std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        Ok(Self { name, dir })
    }

    /// Writes both files, and prints the one that people read.
    pub(crate) fn write(&self, outcome: &impl Serialize, markdown: &str) -> Result<()> {
        let file = |extension: &str| self.dir.join(format!("{}.{extension}", self.name));
        std::fs::write(file("json"), serde_json::to_vec_pretty(outcome)?)?;
        std::fs::write(file("md"), markdown)?;
        println!("{markdown}\n{}", file("json").display());
        Ok(())
    }
}

/// The machine that figures were taken on, as it is written down.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct On {
    commit: String,
    kernel: String,
    cpu: String,
    cores: usize,
}

impl On {
    /// This one, now.
    pub(crate) fn here() -> Self {
        let Machine { commit, kernel, cpu, cores } = Machine::look();
        Self { commit, kernel, cpu, cores }
    }

    /// In one line.
    pub(crate) fn line(&self) -> String {
        format!("Commit {}, {}, {} ({} cores).", self.commit, self.kernel, self.cpu, self.cores)
    }
}

/// All faults of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Faults {
    machine: On,
    quick: bool,
    faults: Vec<Outcome>,
}

impl Faults {
    pub(crate) fn new(quick: bool, faults: Vec<Outcome>) -> Self {
        Self { machine: On::here(), quick, faults }
    }

    /// Those that were not as promised.
    pub(crate) fn failed(&self) -> Vec<&'static str> {
        self.faults.iter().filter(|f| !f.verdict.problems.is_empty()).map(|f| f.name).collect()
    }

    /// The report that people read.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "# Faults under load\n\n{} {} run. Recovery is the time from the fault's end to the end of the last request \
             that failed or was held up; latencies are of small requests of all kinds, p99, on a clock of a \
             millisecond.\n\n\
             | fault | lasted s | requests | failed | not explained | held up (longest s) | recovery s | p99 before ms | \
             during | after |\n|---|---|---|---|---|---|---|---|---|---|\n",
            self.machine.line(),
            if self.quick { "A quick" } else { "A full" },
        );
        for fault in &self.faults {
            let v = &fault.verdict;
            // Writing to a String cannot fail.
            let _ = match &fault.skipped {
                Some(reason) => writeln!(text, "| {} | not run: {reason} |", fault.name),
                None => writeln!(
                    text,
                    "| {} | {:.1} | {} | {} | {} | {} ({:.1}) | {:.2} | {} | {} | {} |",
                    fault.name,
                    fault.fault_s,
                    v.requests,
                    v.failed,
                    v.unexplained,
                    v.held_up,
                    v.longest_s,
                    v.recovery_s,
                    cell(v.p99_before_ms),
                    cell(v.p99_during_ms),
                    cell(v.p99_after_ms),
                ),
            };
        }
        for fault in &self.faults {
            let _ = writeln!(text, "\n**{}** — {}. Expected: {}.", fault.name, fault.what, fault.explanation);
            let v = &fault.verdict;
            for (reason, count) in &v.reasons {
                let _ = writeln!(text, "- {count} × {reason}");
            }
            if v.held_up > 0 {
                let kinds: Vec<String> =
                    v.held_up_by_kind.iter().map(|(kind, count)| format!("{count} × {kind}")).collect();
                let _ = writeln!(text, "- held up: {}", kinds.join(", "));
            }
            if v.recovery_s > 0.0 {
                let _ = writeln!(text, "- the last to recover: {}", v.last);
            }
            for note in &fault.notes {
                let _ = writeln!(text, "- {note}");
            }
            for problem in &v.problems {
                let _ = writeln!(text, "- NOT AS PROMISED: {problem}");
            }
        }
        text
    }
}

/// One fault in one line.
pub(crate) fn line(fault: &Outcome) -> String {
    if let Some(reason) = &fault.skipped {
        return format!("{:<23} not run: {reason}", fault.name);
    }
    let v = &fault.verdict;
    let mark = if v.problems.is_empty() { "as promised".to_owned() } else { v.problems.join("; ") };
    format!(
        "{:<23} {:>6} requests, {} failed, {} not explained, {} held up, recovery {:.2} s: {mark}",
        fault.name, v.requests, v.failed, v.unexplained, v.held_up, v.recovery_s
    )
}

fn cell(value: Option<f64>) -> String {
    value.map_or_else(String::new, |v| format!("{v:.1}"))
}
