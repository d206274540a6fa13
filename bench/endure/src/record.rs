//! What became of every request: when it was due, how long it took, and why it failed.

use crate::traffic::Kind;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) kind: Kind,
    /// When it was to be sent, whatever became of those before it.
    pub(crate) due: Instant,
    /// From then to its end.
    pub(crate) took: Duration,
    /// Why it failed.
    pub(crate) failure: Option<Box<str>>,
}

impl Sample {
    pub(crate) fn ended(&self) -> Instant {
        self.due + self.took
    }
}

/// All requests of a run, from all its clients.
#[derive(Default)]
pub(crate) struct Record {
    samples: Mutex<Vec<Sample>>,
    answered: Mutex<BTreeMap<Kind, u64>>,
}

impl Record {
    /// A request that was due then has ended now.
    pub(crate) fn ended(&self, kind: Kind, due: Instant, result: Result<(), String>) {
        if result.is_ok() {
            *self.answered.lock().entry(kind).or_default() += 1;
        }
        let failure = result.err().map(String::into_boxed_str);
        self.samples.lock().push(Sample { kind, due, took: due.elapsed(), failure });
    }

    /// How many requests of this kind have succeeded.
    pub(crate) fn answered(&self, kind: Kind) -> u64 {
        self.answered.lock().get(&kind).copied().unwrap_or(0)
    }

    /// How many requests have failed, and of how many.
    pub(crate) fn failed(&self) -> (usize, usize) {
        let samples = self.samples.lock();
        (samples.iter().filter(|s| s.failure.is_some()).count(), samples.len())
    }

    /// Everything so far, in the order of ends.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        self.samples.lock().clone()
    }
}

/// The 99th percentile of the small requests among these that succeeded, milliseconds.
pub(crate) fn p99<'a>(samples: impl Iterator<Item = &'a Sample>) -> Option<f64> {
    let small = samples.filter(|s| s.kind.is_small() && s.failure.is_none());
    let mut took: Vec<Duration> = small.map(|s| s.took).collect();
    took.sort_unstable();
    let rank = (took.len() * 99).div_ceil(100);
    took.get(rank.saturating_sub(1)).map(|t| t.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests;
