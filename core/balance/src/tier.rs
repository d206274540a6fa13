//! Priority tiers: the first group of endpoints that works carries the traffic, with hysteresis on the way back.
//!
//! A tier is down when no endpoint of it is ready; it is up again when at least one has been ready for [`RECOVERY`].
//! Until then at most one request in [`PROBE_EVERY`] is sent to it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long a tier must have had a ready endpoint before it is used again.
pub const RECOVERY: Duration = Duration::from_secs(5);
/// One request in this many is sent to a tier that is not up yet.
const PROBE_EVERY: u64 = 100;

const FRESH: u64 = u64::MAX;
const UP: u64 = u64::MAX - 1;
const DOWN: u64 = u64::MAX - 2;

/// How a tier stands for the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Carries traffic.
    Up,
    /// Has a ready endpoint, but not for long enough; takes probes.
    Recovering,
    /// Its endpoints are ejected, and one may be tried.
    Probation,
    /// Nothing can be sent there.
    Down,
}

/// The state of one tier, shared by all workers of a proxy.
#[derive(Debug)]
pub struct Tier {
    origin: Instant,
    /// [`FRESH`], [`UP`], [`DOWN`], or the microseconds after `origin` since when an endpoint has been ready.
    state: AtomicU64,
}

impl Tier {
    /// A tier of which nothing is known yet; its first ready endpoint brings it up without delay.
    pub fn new(now: Instant) -> Self {
        Self { origin: now, state: AtomicU64::new(FRESH) }
    }

    /// Tells whether an endpoint is `ready` at `now`; on `trial` one that is ejected may be tried. Returns the standing.
    pub fn observe(&self, ready: bool, trial: bool, now: Instant) -> Standing {
        let state = self.state.load(Relaxed);
        if !ready {
            if state != DOWN {
                self.state.store(DOWN, Relaxed);
            }
            return if trial { Standing::Probation } else { Standing::Down };
        }
        match state {
            UP => Standing::Up,
            FRESH => {
                self.state.store(UP, Relaxed);
                Standing::Up
            }
            DOWN => {
                self.state.store(self.micros(now), Relaxed);
                Standing::Recovering
            }
            since if self.micros(now).saturating_sub(since) >= RECOVERY.as_micros() as u64 => {
                self.state.store(UP, Relaxed);
                Standing::Up
            }
            _ => Standing::Recovering,
        }
    }

    fn micros(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.origin).as_micros() as u64
    }
}

/// The tier to use for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The tier's index; it carries the traffic now.
    Serve(usize),
    /// The tier's index; this request probes it.
    Probe(usize),
    /// No tier can take a request.
    Nothing,
}

/// Chooses among tiers in order of preference. `passed` counts the requests that passed over a better tier, shared by
/// the workers: every hundredth of them probes the best tier that can be probed.
pub fn choose(standings: &[Standing], passed: &AtomicU64) -> Choice {
    let serving = standings.iter().position(|s| *s == Standing::Up);
    let better = &standings[..serving.unwrap_or(0)];
    if let Some(probe) = better.iter().position(|s| matches!(s, Standing::Recovering | Standing::Probation))
        && (passed.fetch_add(1, Relaxed) + 1).is_multiple_of(PROBE_EVERY)
    {
        return Choice::Probe(probe);
    }
    let position = |wanted| standings.iter().position(|s| *s == wanted);
    // With no tier up, one that has just come back is better than an error.
    serving
        .or_else(|| position(Standing::Recovering))
        .or_else(|| position(Standing::Probation))
        .map_or(Choice::Nothing, Choice::Serve)
}

#[cfg(test)]
mod tests;
