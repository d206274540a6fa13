//! How an endpoint fares, as all workers of the proxy have seen it.

use mesh_balance::{Admission, Backoff, Breaker, BreakerConfig, BreakerStatus, Cause, Failure};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Ejection after a failed connection attempt. Its end is probed by a connection made in the background, never by a
/// request, so it can be short.
const CONNECT_BREAKER: BreakerConfig = BreakerConfig {
    max_failures: 1,
    success_rate: None,
    backoff: Backoff { min: Duration::from_millis(100), max: Duration::from_secs(3), jitter: 0.3 },
    honor_retry_after: false,
};

/// How many endpoints of a backend are out of use. While there are none, nobody has to look at each of them.
#[derive(Debug, Default)]
pub struct Ailing(AtomicUsize);

/// How an endpoint fares.
#[derive(Debug)]
pub struct Health {
    connect: Breaker,
    requests: Breaker,
    /// When it joined others that were already in use.
    joined: Option<Instant>,
    in_flight: AtomicU32,
    ailing: Arc<Ailing>,
}

impl Ailing {
    /// Whether all endpoints are in use.
    pub fn is_none(&self) -> bool {
        self.0.load(Relaxed) == 0
    }
}

impl Health {
    /// In good standing. `joined` tells since when it has been among others that were there before it.
    pub fn new(accrual: BreakerConfig, joined: Option<Instant>, ailing: Arc<Ailing>, now: Instant) -> Self {
        Self {
            connect: Breaker::new(CONNECT_BREAKER, now),
            requests: Breaker::new(accrual, now),
            joined,
            in_flight: AtomicU32::new(0),
            ailing,
        }
    }

    /// Whether it carries traffic.
    pub fn ready(&self) -> bool {
        self.connect.is_closed() && self.requests.is_closed()
    }

    /// Whether requests have failed too often.
    pub fn ejected(&self) -> bool {
        !self.requests.is_closed()
    }

    /// Whether it can be connected to and may be tried with one request.
    pub fn on_probation(&self, now: Instant) -> bool {
        self.connect.is_closed() && self.requests.status(now) == BreakerStatus::Probation
    }

    /// Asks for the one request that an endpoint on probation is tried with.
    pub fn admit_trial(&self, now: Instant) -> bool {
        self.on_probation(now) && self.requests.admit(now).is_some()
    }

    /// Asks for the one attempt to connect to an endpoint that could not be connected to.
    pub fn admit_connect(&self, now: Instant) -> bool {
        self.connect.status(now) == BreakerStatus::Probation && self.connect.admit(now).is_some()
    }

    /// A connection was made. Says whether the endpoint could not be connected to before.
    pub fn connected(&self, admission: Admission, now: Instant) -> bool {
        self.well(self.connect.success(admission, now))
    }

    /// A connection could not be made. Says whether the endpoint is out of use by this.
    pub fn not_connected(&self, admission: Admission, now: Instant) -> bool {
        let failure = Failure { may_eject: true, random: rand::random(), retry_after: None };
        self.unwell(self.connect.failure(admission, failure, now)).is_some()
    }

    /// A request succeeded. Says whether the endpoint came back by this.
    pub fn succeeded(&self, admission: Admission, now: Instant) -> bool {
        self.well(self.requests.success(admission, now))
    }

    /// A request failed. Says why, if the endpoint is out of use by this.
    pub fn failed(&self, admission: Admission, failure: Failure, now: Instant) -> Option<Cause> {
        self.unwell(self.requests.failure(admission, failure, now))
    }

    /// How long it has been among others that were there before it; `None` if it is no newcomer.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        self.joined.map(|joined| now.saturating_duration_since(joined))
    }

    /// Requests and connections it has now, from all workers.
    pub fn in_flight(&self) -> &AtomicU32 {
        &self.in_flight
    }

    fn well(&self, back: bool) -> bool {
        if back {
            self.ailing.0.fetch_sub(1, Relaxed);
        }
        back
    }

    fn unwell(&self, cause: Option<Cause>) -> Option<Cause> {
        if cause.is_some() {
            self.ailing.0.fetch_add(1, Relaxed);
        }
        cause
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        let out = usize::from(!self.connect.is_closed()) + usize::from(!self.requests.is_closed());
        self.ailing.0.fetch_sub(out, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_out_of_use_are_counted_until_they_are_back_or_gone() {
        let (now, ailing) = (Instant::now(), Arc::new(Ailing::default()));
        let accrual = BreakerConfig { max_failures: 1, ..CONNECT_BREAKER };
        let health = Health::new(accrual, None, Arc::clone(&ailing), now);
        let failure = Failure { may_eject: true, random: 0.0, retry_after: None };
        assert!(health.not_connected(Admission::Normal, now));
        assert!(!health.not_connected(Admission::Trial, now), "it is out of use already");
        assert_eq!(health.failed(Admission::Normal, failure, now), Some(Cause::Consecutive));
        assert!(!health.ready() && !ailing.is_none());
        assert!(health.connected(Admission::Trial, now));
        assert!(!ailing.is_none(), "requests still fail");
        drop(health);
        assert!(ailing.is_none());
    }
}
