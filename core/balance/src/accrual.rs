//! Failure accrual: an endpoint that fails several times in a row, or too often, is ejected, then tried with one request
//! at a time.

mod outcomes;

pub use outcomes::SuccessRate;

use crate::Backoff;
use outcomes::Outcomes;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// When a [`Breaker`] ejects and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerConfig {
    /// Failures in a row that eject; 0 never ejects.
    pub max_failures: u32,
    /// The share of successes below which an endpoint is ejected; absent never ejects.
    pub success_rate: Option<SuccessRate>,
    /// Length of the first and later ejections.
    pub backoff: Backoff,
    /// Whether a failure that says when to come back (`Retry-After`) sets the length of the first ejection, within the
    /// bounds of the backoff.
    pub honor_retry_after: bool,
}

/// Leave to use an endpoint once; given back with the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The endpoint is in good standing.
    Normal,
    /// The endpoint is on probation and this request is its trial.
    Trial,
}

/// How an endpoint stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerStatus {
    /// In use.
    Closed,
    /// Not to be used before this much time has passed.
    Ejected(Duration),
    /// The next request to be admitted is a trial.
    Probation,
}

/// A failure, and what decides about its consequences.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    /// False where the set needs every endpoint it has.
    pub may_eject: bool,
    /// In `[0, 1)`; makes the jitter.
    pub random: f64,
    /// When the endpoint asked to be left alone, for how long.
    pub retry_after: Option<Duration>,
}

/// Why an endpoint was ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It failed several times in a row.
    Consecutive,
    /// Too small a share of its answers were successes.
    SuccessRate,
}

/// Failure accrual of one endpoint, shared by all workers of the proxy.
#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    origin: Instant,
    failures: AtomicU32,
    ejections: AtomicU32,
    outcomes: Option<Outcomes>,
    /// 0 while closed, else the end of the ejection in microseconds after `origin`.
    until: AtomicU64,
}

impl Breaker {
    /// A breaker in good standing.
    pub fn new(config: BreakerConfig, now: Instant) -> Self {
        Self {
            config,
            origin: now,
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            outcomes: config.success_rate.map(|rate| Outcomes::new(rate, now)),
            until: AtomicU64::new(0),
        }
    }

    /// How the endpoint stands at `now`.
    pub fn status(&self, now: Instant) -> BreakerStatus {
        let until = self.until.load(Relaxed);
        if until == 0 {
            return BreakerStatus::Closed;
        }
        match until.checked_sub(self.micros(now)) {
            Some(left) if left > 0 => BreakerStatus::Ejected(Duration::from_micros(left)),
            _ => BreakerStatus::Probation,
        }
    }

    /// Whether the endpoint is in use.
    pub fn is_closed(&self) -> bool {
        self.until.load(Relaxed) == 0
    }

    /// Asks to use the endpoint. On probation one caller gets the trial; the others wait for another period, so that
    /// a trial whose outcome is never told (its client went away) does not block the endpoint for good.
    pub fn admit(&self, now: Instant) -> Option<Admission> {
        let until = self.until.load(Relaxed);
        if until == 0 {
            return Some(Admission::Normal);
        }
        let micros = self.micros(now);
        if until > micros {
            return None;
        }
        let next = micros + self.config.backoff.min.as_micros() as u64 + 1;
        let won = self.until.compare_exchange(until, next, Relaxed, Relaxed).is_ok();
        won.then_some(Admission::Trial)
    }

    /// The admitted use succeeded. Returns whether the endpoint came back into use.
    pub fn success(&self, admission: Admission, now: Instant) -> bool {
        self.failures.store(0, Relaxed);
        match admission {
            Admission::Normal => {
                if let Some(outcomes) = &self.outcomes {
                    outcomes.record(true, now);
                }
                // A request that began before the ejection says nothing about now.
                false
            }
            Admission::Trial => {
                self.ejections.store(0, Relaxed);
                if let Some(outcomes) = &self.outcomes {
                    outcomes.forget(now);
                }
                self.until.swap(0, Relaxed) != 0
            }
        }
    }

    /// The admitted use failed. Returns why, if the endpoint was ejected by this.
    pub fn failure(&self, admission: Admission, failure: Failure, now: Instant) -> Option<Cause> {
        if self.config.max_failures == 0 && self.outcomes.is_none() {
            return None;
        }
        let cause = match admission {
            Admission::Normal if !self.is_closed() => return None,
            Admission::Normal => self.judge(now).filter(|_| failure.may_eject)?,
            Admission::Trial => Cause::Consecutive,
        };
        let backoff = &self.config.backoff;
        let hint = failure.retry_after.filter(|_| self.config.honor_retry_after);
        let first = hint.map_or(backoff.min, |hint| hint.clamp(backoff.min, backoff.max.max(backoff.min)));
        let delay = Backoff { min: first, ..*backoff }.delay(self.ejections.load(Relaxed), failure.random);
        let until = (self.micros(now) + delay.as_micros() as u64).max(1);
        let ejected = match admission {
            Admission::Normal => self.until.compare_exchange(0, until, Relaxed, Relaxed).is_ok(),
            Admission::Trial => self.until.swap(until, Relaxed) == 0,
        };
        if ejected || admission == Admission::Trial {
            self.ejections.fetch_add(1, Relaxed);
        }
        ejected.then_some(cause)
    }

    /// Counts a failure; says whether it is one too many.
    fn judge(&self, now: Instant) -> Option<Cause> {
        let failures = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        // Counted in any case, so that the share is right when it matters.
        let rate_too_low = self.outcomes.as_ref().is_some_and(|outcomes| outcomes.record(false, now));
        if self.config.max_failures > 0 && failures >= self.config.max_failures {
            return Some(Cause::Consecutive);
        }
        rate_too_low.then_some(Cause::SuccessRate)
    }

    /// Puts the endpoint back into use, whatever happened before.
    pub fn reset(&self, now: Instant) -> bool {
        self.success(Admission::Trial, now)
    }

    fn micros(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.origin).as_micros() as u64
    }
}

#[cfg(test)]
mod tests;
