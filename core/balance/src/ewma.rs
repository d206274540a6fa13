//! Peak EWMA: a moving average of latency that rises at once and falls slowly.

use std::time::{Duration, Instant};

/// The smallest latency an estimate decays to. Keeps the ratio of two loads finite.
const FLOOR: f64 = 20e-6;

/// Parameters of a [`PeakEwma`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EwmaConfig {
    /// Latency assumed before the first response (Linkerd's default: 30 ms).
    pub default_rtt: Duration,
    /// Time over which a peak is forgotten (Linkerd's default: 10 s).
    pub decay: Duration,
}

impl Default for EwmaConfig {
    fn default() -> Self {
        Self { default_rtt: Duration::from_millis(30), decay: Duration::from_secs(10) }
    }
}

/// The latency estimate of one endpoint, kept by one worker.
#[derive(Clone, Debug)]
pub struct PeakEwma {
    seconds: f64,
    updated: Instant,
    decay: f64,
}

impl PeakEwma {
    /// An endpoint that has not answered yet.
    pub fn new(config: EwmaConfig, now: Instant) -> Self {
        Self {
            seconds: config.default_rtt.as_secs_f64(),
            updated: now,
            decay: config.decay.as_secs_f64().max(1e-3),
        }
    }

    /// Records a latency: a peak replaces the estimate, anything lower is averaged in by the time since the last one.
    pub fn record(&mut self, rtt: Duration, now: Instant) {
        let sample = rtt.as_secs_f64();
        if sample >= self.seconds {
            self.seconds = sample;
        } else {
            let keep = self.keep(now);
            self.seconds = self.seconds * keep + sample * (1.0 - keep);
        }
        self.updated = now;
    }

    /// The estimate in seconds. It decays while nothing is recorded, so that an endpoint that was slow is tried again.
    pub fn seconds(&self, now: Instant) -> f64 {
        (self.seconds * self.keep(now)).max(FLOOR)
    }

    fn keep(&self, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.updated).as_secs_f64();
        (-elapsed / self.decay).exp()
    }
}

#[cfg(test)]
mod tests;
