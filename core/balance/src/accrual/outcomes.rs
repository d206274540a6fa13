//! The share of successes of an endpoint: counts that fade with time, so that one slow hour does not hide a bad minute.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// When the share of successes ejects an endpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SuccessRate {
    /// The share, 0 to 1, below which it is ejected.
    pub threshold: f64,
    /// Time over which outcomes fade (to a third after this long).
    pub window: Duration,
    /// With fewer outcomes than this in the window the share is not judged.
    pub min_requests: u32,
}

/// Outcomes of one endpoint. A lock, because both counts and the time change together; it is held for a few
/// nanoseconds, and only where a share of successes is asked for.
#[derive(Debug)]
pub(super) struct Outcomes {
    config: SuccessRate,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    successes: f64,
    all: f64,
    updated: Instant,
}

impl Outcomes {
    pub(super) fn new(config: SuccessRate, now: Instant) -> Self {
        Self { config, counts: Mutex::new(Counts { successes: 0.0, all: 0.0, updated: now }) }
    }

    /// Counts an outcome; says whether the share is too low now.
    pub(super) fn record(&self, success: bool, now: Instant) -> bool {
        let mut counts = self.lock();
        let elapsed = now.saturating_duration_since(counts.updated).as_secs_f64();
        let keep = (-elapsed / self.config.window.as_secs_f64().max(1e-3)).exp();
        counts.successes = counts.successes * keep + if success { 1.0 } else { 0.0 };
        counts.all = counts.all * keep + 1.0;
        counts.updated = now;
        // Rounded: five requests in a row are five, though the first has begun to fade.
        let enough = counts.all.round() >= f64::from(self.config.min_requests.max(1));
        enough && counts.successes < counts.all * self.config.threshold
    }

    /// Begins anew.
    pub(super) fn forget(&self, now: Instant) {
        *self.lock() = Counts { successes: 0.0, all: 0.0, updated: now };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        // Nothing panics while the lock is held; counts are sound in any state.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
