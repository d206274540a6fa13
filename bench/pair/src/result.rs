//! What came out of a whole run: medians, ratios and goals, for machines and for people.

use crate::arm::{DIRECT, HAPROXY_HTTP, HAPROXY_TCP, OURS};
use crate::measure::Reading;
use crate::workload::{Goal, Metric, Workload};
use mesh_bed::Machine;
use serde::Serialize;
use std::fmt::Write as _;

/// One arm of the run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Binary {
    pub(crate) arm: String,
    pub(crate) version: String,
    pub(crate) bytes: u64,
}

/// Medians of one arm at one workload, and its ratios to others: the median of the rounds' own ratios.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) workload: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) rounds: usize,
    pub(crate) median: Reading,
    /// CPU against HAProxy in HTTP and in TCP mode.
    pub(crate) cpu_of_haproxy_http: Option<f64>,
    pub(crate) cpu_of_haproxy_tcp: Option<f64>,
    /// Readings during which the rest of the machine was busy, in spite of retakes.
    pub(crate) noisy: usize,
}

/// A goal and what came of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Judged {
    pub(crate) workload: &'static str,
    pub(crate) wanted: String,
    pub(crate) ratio: f64,
    pub(crate) met: bool,
}

/// Everything.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) machine: Machine,
    pub(crate) binaries: Vec<Binary>,
    pub(crate) rows: Vec<Row>,
    pub(crate) goals: Vec<Judged>,
    pub(crate) readings: Vec<Reading>,
}

type Field = fn(&Reading) -> Option<f64>;

fn field(metric: Metric) -> Field {
    match metric {
        Metric::Cpu => |r| r.cpu_us,
        Metric::P99 => |r| r.p99_us,
        Metric::Throughput => |r| Some(r.per_second),
    }
}

/// The median of the ratios that both arms' readings of the same round give.
fn ratio(readings: &[Reading], workload: &str, arm: &str, other: &str, of: Field) -> Option<f64> {
    let one = |arm: &str, round: u32| {
        let found = readings.iter().find(|r| r.workload == workload && r.arm == arm && r.round == round);
        found.and_then(of).filter(|v| *v > 0.0)
    };
    let own = readings.iter().filter(|r| r.workload == workload && r.arm == arm);
    let ratios: Vec<f64> = own.filter_map(|r| Some(one(arm, r.round)? / one(other, r.round)?)).collect();
    (!ratios.is_empty()).then(|| median(ratios))
}

/// The middle value: one that occurred.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn middle(readings: &[&Reading]) -> Reading {
    let of = |of: Field| {
        let values: Vec<f64> = readings.iter().filter_map(|r| of(r)).collect();
        (!values.is_empty()).then(|| median(values))
    };
    let first = readings.first().map(|r| (**r).clone()).unwrap_or_default();
    Reading {
        round: 0,
        operations: of(|r| Some(r.operations)).unwrap_or_default(),
        per_second: of(|r| Some(r.per_second)).unwrap_or_default(),
        failed: readings.iter().map(|r| r.failed).sum(),
        p50_us: of(|r| r.p50_us),
        p99_us: of(|r| r.p99_us),
        p999_us: of(|r| r.p999_us),
        cpu_us: of(|r| r.cpu_us),
        cpu_client_us: of(|r| r.cpu_client_us),
        cpu_server_us: of(|r| r.cpu_server_us),
        peak_rss_kib: of(|r| r.peak_rss_kib),
        rss_per_connection_kib: of(|r| r.rss_per_connection_kib),
        idle_rss_kib: of(|r| r.idle_rss_kib),
        ready_ms: of(|r| r.ready_ms),
        ready_after_certificate_ms: of(|r| r.ready_after_certificate_ms),
        others: of(|r| Some(r.others)).unwrap_or_default(),
        noisy: readings.iter().any(|r| r.noisy),
        ..first
    }
}

impl Outcome {
    pub(crate) fn new(
        machine: Machine,
        binaries: Vec<Binary>,
        workloads: &[&Workload],
        readings: Vec<Reading>,
    ) -> Self {
        let (mut rows, mut goals) = (Vec::new(), Vec::new());
        for workload in workloads {
            for binary in &binaries {
                let own: Vec<&Reading> =
                    readings.iter().filter(|r| r.workload == workload.name && r.arm == binary.arm).collect();
                if own.is_empty() {
                    continue;
                }
                let cpu = |other| ratio(&readings, workload.name, &binary.arm, other, |r| r.cpu_us);
                rows.push(Row {
                    workload: workload.name,
                    unit: workload.unit,
                    rounds: own.len(),
                    median: middle(&own),
                    cpu_of_haproxy_http: cpu(HAPROXY_HTTP),
                    cpu_of_haproxy_tcp: cpu(HAPROXY_TCP),
                    noisy: own.iter().filter(|r| r.noisy).count(),
                });
            }
            goals.extend(workload.goals.iter().filter_map(|goal| judge(&readings, workload, *goal)));
        }
        Self { machine, binaries, rows, goals, readings }
    }

    /// The report that people read.
    pub(crate) fn markdown(&self) -> String {
        let m = &self.machine;
        let mut text = format!(
            "# Proxy benchmark\n\nCommit {}, {}, {} ({} cores). Medians of interleaved rounds; ratios are medians of \
             the rounds' own. CPU is of both proxies together, memory of the larger one. Absolute figures are \
             indicative.\n\n",
            m.commit, m.kernel, m.cpu, m.cores
        );
        text += "| work | arm | per second | p50 µs | p99 µs | p99.9 µs | CPU µs per op (client + server) | × HAProxy \
                 HTTP | × HAProxy TCP | peak RSS MiB | RSS KiB per connection | failed | rounds |\n\
                 |---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
        for row in &self.rows {
            let r = &row.median;
            let cpu = r.cpu_us.zip(r.cpu_client_us).zip(r.cpu_server_us);
            let cpu = cpu.map_or_else(String::new, |((all, c), s)| format!("{all:.1} ({c:.1} + {s:.1})"));
            let noisy = if row.noisy > 0 { format!(", {} noisy", row.noisy) } else { String::new() };
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "| {} ({}) | {} | {:.0} | {} | {} | {} | {cpu} | {} | {} | {} | {} | {} | {}{noisy} |",
                row.workload,
                row.unit,
                r.arm,
                r.per_second,
                cell(r.p50_us, 0),
                cell(r.p99_us, 0),
                cell(r.p999_us, 0),
                cell(row.cpu_of_haproxy_http, 2),
                cell(row.cpu_of_haproxy_tcp, 2),
                cell(r.peak_rss_kib.map(|k| k / 1024.0), 1),
                cell(r.rss_per_connection_kib, 1),
                r.failed,
                row.rounds,
            );
        }
        self.arms(&mut text);
        self.judged(&mut text);
        text
    }

    fn arms(&self, text: &mut String) {
        *text += "\n| arm | version | binary MB | idle RSS MiB | start to ready ms | certificate to ready ms |\n\
                  |---|---|---|---|---|---|\n";
        for binary in self.binaries.iter().filter(|b| b.arm != DIRECT) {
            let own: Vec<&Reading> = self.readings.iter().filter(|r| r.arm == binary.arm).collect();
            let r = middle(&own);
            let _ = writeln!(
                text,
                "| {} | {} | {:.1} | {} | {} | {} |",
                binary.arm,
                binary.version,
                binary.bytes as f64 / 1e6,
                cell(r.idle_rss_kib.map(|k| k / 1024.0), 1),
                cell(r.ready_ms, 0),
                cell(r.ready_after_certificate_ms, 0),
            );
        }
    }

    fn judged(&self, text: &mut String) {
        if self.goals.is_empty() {
            return;
        }
        *text += "\n| work | goal | came out | |\n|---|---|---|---|\n";
        for goal in &self.goals {
            let mark = if goal.met { "met" } else { "missed" };
            let _ = writeln!(text, "| {} | {} | {:.2} | {mark} |", goal.workload, goal.wanted, goal.ratio);
        }
    }
}

fn judge(readings: &[Reading], workload: &Workload, goal: Goal) -> Option<Judged> {
    let (metric, bound, other, at_most) = match goal {
        Goal::AtMost(metric, bound, other) => (metric, bound, other, true),
        Goal::AtLeast(metric, bound, other) => (metric, bound, other, false),
    };
    let ratio = ratio(readings, workload.name, OURS, other, field(metric))?;
    let name = match metric {
        Metric::Cpu => "CPU",
        Metric::P99 => "p99",
        Metric::Throughput => "throughput",
    };
    let (sign, met) = if at_most { ('≤', ratio <= bound) } else { ('≥', ratio >= bound) };
    Some(Judged { workload: workload.name, wanted: format!("{name} {sign} {bound} × {other}"), ratio, met })
}

fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(String::new, |v| format!("{v:.digits$}"))
}

#[cfg(test)]
mod tests;
