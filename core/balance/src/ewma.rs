//! Peak EWMA: a moving average of latency that rises at once and falls slowly; with penalties for failures where asked.

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
    /// What failures cost; absent means nothing.
    pub penalty: Option<Penalty>,
}

/// What a failure adds to an endpoint's latency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Penalty {
    /// Added for a failure (Linkerd's default: 5 s).
    pub amount: Duration,
    /// Added at most where the endpoint says how long to stay away (Linkerd's default: 300 s).
    pub max_retry_after: Duration,
    /// Time over which a penalty is forgotten.
    pub decay: Duration,
}

impl Penalty {
    /// What one failure adds; `retry_after` is what the endpoint said, if it did.
    pub fn of(&self, retry_after: Option<Duration>) -> Duration {
        retry_after.map_or(self.amount, |asked| asked.min(self.max_retry_after).max(self.amount))
    }
}

impl Default for EwmaConfig {
    fn default() -> Self {
        Self { default_rtt: Duration::from_millis(30), decay: Duration::from_secs(10), penalty: None }
    }
}

/// The latency estimate of one endpoint, kept by one worker.
#[derive(Clone, Debug)]
pub struct PeakEwma {
    seconds: f64,
    updated: Instant,
    decay: f64,
    penalty: f64,
    penalized: Instant,
    penalty_decay: f64,
}

impl PeakEwma {
    /// An endpoint that has not answered yet.
    pub fn new(config: EwmaConfig, now: Instant) -> Self {
        Self {
            seconds: config.default_rtt.as_secs_f64(),
            updated: now,
            decay: config.decay.as_secs_f64().max(1e-3),
            penalty: 0.0,
            penalized: now,
            penalty_decay: config.penalty.map_or(1.0, |p| p.decay.as_secs_f64().max(1e-3)),
        }
    }

    /// Records a latency: a peak replaces the estimate, anything lower is averaged in by the time since the last one.
    pub fn record(&mut self, rtt: Duration, now: Instant) {
        let sample = rtt.as_secs_f64();
        if sample >= self.seconds {
            self.seconds = sample;
        } else {
            let keep = keep(self.updated, self.decay, now);
            self.seconds = self.seconds * keep + sample * (1.0 - keep);
        }
        self.updated = now;
    }

    /// Adds a penalty beside the latency. Penalties do not add up: the greater one counts.
    pub fn penalize(&mut self, penalty: Duration, now: Instant) {
        self.penalty = self.penalty(now).max(penalty.as_secs_f64());
        self.penalized = now;
    }

    /// The estimate in seconds. It decays while nothing is recorded, so that an endpoint that was slow is tried again.
    pub fn seconds(&self, now: Instant) -> f64 {
        let latency = (self.seconds * keep(self.updated, self.decay, now)).max(FLOOR);
        // Most endpoints have no penalty, and an exponential is not free.
        if self.penalty == 0.0 { latency } else { latency + self.penalty(now) }
    }

    fn penalty(&self, now: Instant) -> f64 {
        self.penalty * keep(self.penalized, self.penalty_decay, now)
    }
}

fn keep(since: Instant, decay: f64, now: Instant) -> f64 {
    let x = now.saturating_duration_since(since).as_secs_f64() / decay;
    // Under load updates follow each other closely: three terms of the series are exact to 2e-10 here.
    if x < 1e-3 { 1.0 - x + x * x / 2.0 } else { (-x).exp() }
}

#[cfg(test)]
mod tests;
