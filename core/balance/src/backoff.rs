//! Exponential backoff with jitter, as a function of the attempt number.

use std::time::Duration;

/// Bounds of an exponential backoff.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The first delay.
    pub min: Duration,
    /// The longest delay, before jitter.
    pub max: Duration,
    /// The share of a delay that may be added at random; 0.5 gives delays from 1 to 1.5 times the base.
    pub jitter: f64,
}

impl Backoff {
    /// The delay before the attempt after `failures` failures (counted from 0), where `random` is in `[0, 1)`.
    pub fn delay(&self, failures: u32, random: f64) -> Duration {
        let doubled = self.min.saturating_mul(1u32.checked_shl(failures.min(31)).unwrap_or(u32::MAX));
        let base = doubled.min(self.max).max(self.min);
        let jitter = (self.jitter.max(0.0) * random.clamp(0.0, 1.0)).min(100.0);
        base.saturating_add(base.mul_f64(jitter))
    }
}

#[cfg(test)]
mod tests;
