//! Failure accrual: an endpoint that fails several times in a row is ejected, then tried with one request at a time.

use crate::Backoff;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// When a [`Breaker`] ejects and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerConfig {
    /// Failures in a row that eject; 0 never ejects.
    pub max_failures: u32,
    /// Length of the first and later ejections.
    pub backoff: Backoff,
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

/// Consecutive-failure accrual of one endpoint, shared by all workers of the proxy.
#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    origin: Instant,
    failures: AtomicU32,
    ejections: AtomicU32,
    /// 0 while closed, else the end of the ejection in microseconds after `origin`.
    until: AtomicU64,
}

impl Breaker {
    /// A breaker in good standing.
    pub fn new(config: BreakerConfig, now: Instant) -> Self {
        let (failures, ejections) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { config, origin: now, failures, ejections, until: AtomicU64::new(0) }
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
    pub fn success(&self, admission: Admission) -> bool {
        match admission {
            // A request that began before the ejection says nothing about now.
            Admission::Normal => {
                self.failures.store(0, Relaxed);
                false
            }
            Admission::Trial => {
                self.failures.store(0, Relaxed);
                self.ejections.store(0, Relaxed);
                self.until.swap(0, Relaxed) != 0
            }
        }
    }

    /// The admitted use failed; `random` in `[0, 1)` makes the jitter, and `may_eject` is false where the set needs
    /// every endpoint it has. Returns whether the endpoint was ejected by this.
    pub fn failure(&self, admission: Admission, may_eject: bool, random: f64, now: Instant) -> bool {
        if self.config.max_failures == 0 {
            return false;
        }
        let closed = self.until.load(Relaxed) == 0;
        match admission {
            Admission::Normal if !closed => return false,
            Admission::Normal => {
                let failures = self.failures.fetch_add(1, Relaxed) + 1;
                if failures < self.config.max_failures || !may_eject {
                    return false;
                }
            }
            Admission::Trial => {}
        }
        let ejections = self.ejections.fetch_add(1, Relaxed);
        let delay = self.config.backoff.delay(ejections, random);
        let until = (self.micros(now) + delay.as_micros() as u64).max(1);
        self.until.swap(until, Relaxed) == 0
    }

    /// Puts the endpoint back into use, whatever happened before.
    pub fn reset(&self) -> bool {
        self.success(Admission::Trial)
    }

    fn micros(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.origin).as_micros() as u64
    }
}

#[cfg(test)]
mod tests;
