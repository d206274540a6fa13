//! One reading: a load on one arm, what it achieved and what it cost.

use crate::arm::{Arm, Started};
use crate::load::{Latency, Load, Outcome, Tools};
use crate::machine::Moment;
use crate::workload::Workload;
use anyhow::Result;
use mesh_bed::{Bed, Usage};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// More than this of a core used by the rest of the machine spoils a reading.
const QUIET: f64 = 0.2;
/// While endpoints churn, one part of them is left out, another one every time.
const CHURN: Duration = Duration::from_secs(1);
const CHURN_PARTS: usize = 50;
/// How often a warm-up is repeated at most, and by how much it must become faster to be repeated.
const WARM_UPS: u32 = 10;
const FASTER: f64 = 1.1;
/// How soon churning ends when a reading has.
const LOOK: Duration = Duration::from_millis(10);
/// What is waited before a spoilt reading is retaken.
const PAUSE: Duration = Duration::from_secs(2);

/// How readings are taken: for how long, and how often again.
pub(crate) struct Settings {
    /// Where the binaries are.
    pub(crate) bin: PathBuf,
    pub(crate) tools: Tools,
    pub(crate) span: Duration,
    /// How often a spoilt reading is taken again.
    pub(crate) retakes: u32,
}

/// What came out. CPU is microseconds per operation, memory KiB.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Reading {
    pub(crate) workload: String,
    pub(crate) arm: String,
    pub(crate) round: u32,
    pub(crate) operations: f64,
    pub(crate) per_second: f64,
    pub(crate) failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p50_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p999_us: Option<f64>,
    /// Both proxies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_client_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_server_us: Option<f64>,
    /// Of the larger proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peak_rss_kib: Option<f64>,
    /// Of both proxies together, each idle connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rss_per_connection_kib: Option<f64>,
    /// The proxies of a pair with nothing to do, the larger one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) idle_rss_kib: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ready_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ready_after_certificate_ms: Option<f64>,
    /// Cores used by the rest of the machine.
    pub(crate) others: f64,
    /// Too much for this to be trusted.
    pub(crate) noisy: bool,
}

/// The proxies of one arm during one workload.
pub(crate) struct Standing {
    pub(crate) bed: Bed,
    started: Started,
    idle: Option<[Usage; 2]>,
}

impl Standing {
    pub(crate) fn start(arm: &Arm, workload: &Workload, settings: &Settings) -> Result<Self> {
        let (bed, started) = arm.bed(&settings.bin, workload)?;
        let idle = usage(&bed)?;
        Ok(Self { bed, started, idle })
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.bed.pair.iter().flat_map(|pair| [pair.client.pid(), pair.server.pid()]).collect()
    }

    /// Takes a reading, and takes it again while the machine is busy with something else.
    pub(crate) fn read(&self, workload: &Workload, settings: &Settings, pids: &[u32]) -> Result<Reading> {
        let mut retakes = 0;
        loop {
            let reading = self.once(workload, settings, pids)?;
            if !reading.noisy || retakes == settings.retakes || workload.is_fresh() {
                return Ok(reading);
            }
            retakes += 1;
            std::thread::sleep(PAUSE);
        }
    }

    fn once(&self, workload: &Workload, settings: &Settings, pids: &[u32]) -> Result<Reading> {
        if let Load::Idle(idle) = workload.load {
            let (before, began) = (usage(&self.bed)?, Moment::now(pids)?);
            let held = idle.hold(&self.bed)?;
            // What is told of the last connections may still be on its way through the proxies.
            std::thread::sleep(Duration::from_millis(500));
            let after = usage(&self.bed)?;
            let outcome = Outcome {
                operations: f64::from(idle.connections),
                seconds: held.seconds,
                ..Outcome::default()
            };
            let mut reading = self.reading(&outcome, before, after, began.others_until(&Moment::now(pids)?));
            if let (Some(before), Some(after)) = (before, after) {
                let rss = |usage: [Usage; 2]| usage.iter().map(|u| u.rss).sum::<u64>() as f64;
                reading.rss_per_connection_kib =
                    Some((rss(after) - rss(before)) / f64::from(idle.connections));
            }
            return Ok(reading);
        }
        let churning = AtomicBool::new(workload.churns());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut turn = 0;
                let mut next = Instant::now();
                while churning.load(Ordering::Relaxed) {
                    if Instant::now() >= next {
                        let parts = CHURN_PARTS.min(workload.endpoints);
                        self.bed.without(turn % parts, parts);
                        turn += 1;
                        next += CHURN;
                    }
                    std::thread::sleep(LOOK);
                }
            });
            let measured = || {
                self.warm_up(workload, settings)?;
                let (before, began) = (usage(&self.bed)?, Moment::now(pids)?);
                let outcome = workload.load.run(&self.bed, &settings.tools, workload.span(settings.span))?;
                let (after, ended) = (usage(&self.bed)?, Moment::now(pids)?);
                Ok(self.reading(&outcome, before, after, began.others_until(&ended)))
            };
            let reading = measured();
            churning.store(false, Ordering::Relaxed);
            reading
        })
    }

    /// Opens connections and windows and warms code before the clock runs. Where there are many endpoints each wants a
    /// connection first: it goes on until it gets no faster.
    fn warm_up(&self, workload: &Workload, settings: &Settings) -> Result<()> {
        let mut fastest = 0.0;
        for _ in 0..WARM_UPS {
            let outcome = workload.load.run(&self.bed, &settings.tools, workload.warm_up(settings.span))?;
            let now = outcome.operations / outcome.seconds.max(1e-9);
            if !workload.churns() || now < fastest * FASTER {
                break;
            }
            fastest = now.max(fastest);
        }
        Ok(())
    }

    fn reading(
        &self,
        outcome: &Outcome,
        before: Option<[Usage; 2]>,
        after: Option<[Usage; 2]>,
        others: f64,
    ) -> Reading {
        let Latency { p50, p99, p999 } = outcome.latency.unwrap_or_default();
        let told = |value: f64| outcome.latency.map(|_| value);
        let larger = |usage: [Usage; 2], of: fn(&Usage) -> u64| usage.iter().map(of).max().map(|k| k as f64);
        let cpu = |side: usize| {
            let spent = after?[side].cpu.saturating_sub(before?[side].cpu);
            // A load that did nothing, as on a machine that is far too busy, tells nothing.
            (outcome.operations >= 1.0).then(|| spent.as_secs_f64() * 1e6 / outcome.operations)
        };
        let millis = |d: Duration| d.as_secs_f64() * 1e3;
        Reading {
            operations: outcome.operations,
            per_second: outcome.operations / outcome.seconds.max(1e-9),
            failed: outcome.failed,
            p50_us: told(p50),
            p99_us: told(p99),
            p999_us: told(p999),
            cpu_us: cpu(0).zip(cpu(1)).map(|(a, b)| a + b),
            cpu_client_us: cpu(0),
            cpu_server_us: cpu(1),
            peak_rss_kib: after.and_then(|u| larger(u, |u| u.peak_rss)),
            idle_rss_kib: self.idle.and_then(|u| larger(u, |u| u.rss)),
            ready_ms: self.idle.map(|_| millis(self.started.pair) / 2.0),
            ready_after_certificate_ms: self.started.after_certificate.map(millis),
            others,
            noisy: others > QUIET || outcome.operations < 1.0,
            ..Reading::default()
        }
    }
}

fn usage(bed: &Bed) -> Result<Option<[Usage; 2]>> {
    bed.pair.as_ref().map(|pair| Ok([pair.client.usage()?, pair.server.usage()?])).transpose()
}
