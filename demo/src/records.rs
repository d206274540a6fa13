//! What became of each request, kept for the last few minutes and summed up for any span of time.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Requests remembered: ten minutes at 500 a second.
const KEPT: usize = 300_000;

/// Failures shown with their words.
const SHOWN_FAILURES: usize = 20;

/// What became of one request.
pub(crate) enum Outcome {
    /// A success, from this cluster.
    Answered(String),
    /// Anything else, with the reason.
    Failed(String),
}

struct Record {
    due_ms: u64,
    latency: Duration,
    outcome: Outcome,
}

/// All requests, newest last.
pub(crate) struct Records {
    kept: Mutex<VecDeque<Record>>,
}

/// A span summed up. Times are milliseconds of Unix time, latencies microseconds.
#[derive(Serialize, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) total: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    pub(crate) max_us: u64,
    pub(crate) clusters: BTreeMap<String, ClusterSummary>,
    pub(crate) failures: Vec<Failure>,
}

/// The answers of one cluster.
#[derive(Serialize, Debug, PartialEq)]
pub(crate) struct ClusterSummary {
    pub(crate) count: u64,
    pub(crate) first_ms: u64,
    pub(crate) last_ms: u64,
}

/// One failed request.
#[derive(Serialize, Debug, PartialEq)]
pub(crate) struct Failure {
    pub(crate) at_ms: u64,
    pub(crate) reason: String,
}

impl Records {
    pub(crate) fn new() -> Self {
        Self { kept: Mutex::new(VecDeque::new()) }
    }

    /// Notes a request that was due at `due` and ended now.
    pub(crate) fn push(&self, due: Instant, outcome: Outcome) {
        let latency = due.elapsed();
        let due_ms = unix_millis(SystemTime::now() - latency);
        self.note(Record { due_ms, latency, outcome });
    }

    fn note(&self, record: Record) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(record);
    }

    /// Sums up the requests due in `since..until`.
    pub(crate) fn summary(&self, since: u64, until: u64) -> Summary {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut clusters: BTreeMap<String, ClusterSummary> = BTreeMap::new();
        let (mut failed, mut failures) = (0, Vec::new());
        // Three digits from a microsecond to a minute; values beyond are clamped.
        let mut latencies: Histogram<u64> =
            Histogram::new_with_bounds(1, 60_000_000, 3).unwrap_or_else(|_| {
                unreachable!("bounds and precision are constants that the histogram accepts")
            });
        for record in kept.iter().filter(|r| (since..until).contains(&r.due_ms)) {
            match &record.outcome {
                Outcome::Answered(cluster) => {
                    latencies
                        .saturating_record(u64::try_from(record.latency.as_micros()).unwrap_or(u64::MAX));
                    let at = record.due_ms;
                    let entry = clusters.entry(cluster.clone()).or_insert(ClusterSummary {
                        count: 0,
                        first_ms: at,
                        last_ms: at,
                    });
                    entry.count += 1;
                    entry.first_ms = entry.first_ms.min(at);
                    entry.last_ms = entry.last_ms.max(at);
                }
                Outcome::Failed(reason) => {
                    failed += 1;
                    if failures.len() < SHOWN_FAILURES {
                        failures.push(Failure { at_ms: record.due_ms, reason: reason.clone() });
                    }
                }
            }
        }
        let succeeded = latencies.len();
        Summary {
            total: succeeded + failed,
            succeeded,
            failed,
            p50_us: latencies.value_at_quantile(0.5),
            p99_us: latencies.value_at_quantile(0.99),
            p999_us: latencies.value_at_quantile(0.999),
            max_us: latencies.max(),
            clusters,
            failures,
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn unix_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
