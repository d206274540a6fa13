//! Retry budgets: retries may add a share to the load, and a little on top, but never multiply it.
//!
//! Every request deposits a fraction of a retry, every retry takes a whole one; both are forgotten after a while. The
//! reserve lets a quiet service retry at all.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Deposits and withdrawals are forgotten in steps of a tenth of their life.
const SLOTS: usize = 10;
/// Amounts are counted in thousandths of a retry.
const ONE: i64 = 1000;

/// How much may be retried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetConfig {
    /// Retries that each request allows for; 0.2 lets retries add a fifth to the load.
    pub ratio: f64,
    /// Retries a second that are allowed in any case.
    pub min_per_second: u32,
    /// How long a request counts.
    pub ttl: Duration,
}

impl Default for BudgetConfig {
    /// Linkerd's: a fifth, ten a second, ten seconds.
    fn default() -> Self {
        Self { ratio: 0.2, min_per_second: 10, ttl: Duration::from_secs(10) }
    }
}

/// The retry budget of one destination, shared by all workers of the proxy.
#[derive(Debug)]
pub struct RetryBudget {
    deposit: i64,
    reserve: i64,
    step: Duration,
    origin: Instant,
    slots: [Slot; SLOTS],
}

/// What happened during one step.
#[derive(Debug, Default)]
struct Slot {
    step: AtomicU64,
    amount: AtomicI64,
}

impl RetryBudget {
    /// A budget in which nothing has happened.
    #[allow(clippy::cast_possible_truncation)] // both are bounded
    pub fn new(config: BudgetConfig, now: Instant) -> Self {
        let ttl = config.ttl.clamp(Duration::from_millis(100), Duration::from_secs(600));
        let reserve = f64::from(config.min_per_second) * ttl.as_secs_f64() * ONE as f64;
        Self {
            deposit: (config.ratio.clamp(0.0, 1000.0) * ONE as f64) as i64,
            reserve: reserve as i64,
            step: ttl / SLOTS as u32,
            origin: now,
            slots: Default::default(),
        }
    }

    /// A request was made.
    pub fn deposit(&self, now: Instant) {
        self.slot(self.step_of(now)).amount.fetch_add(self.deposit, Relaxed);
    }

    /// Asks for one retry. Workers that ask at the same moment may together take one too many.
    pub fn withdraw(&self, now: Instant) -> bool {
        let step = self.step_of(now);
        let slot = self.slot(step);
        if self.balance_at(step) < ONE {
            return false;
        }
        slot.amount.fetch_sub(ONE, Relaxed);
        true
    }

    /// Retries that are allowed now.
    pub fn balance(&self, now: Instant) -> f64 {
        self.balance_at(self.step_of(now)) as f64 / ONE as f64
    }

    fn balance_at(&self, now: u64) -> i64 {
        let live = |slot: &&Slot| slot.step.load(Relaxed) + SLOTS as u64 > now;
        let sum: i64 = self.slots.iter().filter(live).map(|slot| slot.amount.load(Relaxed)).sum();
        self.reserve + sum
    }

    fn slot(&self, step: u64) -> &Slot {
        let slot = &self.slots[(step % SLOTS as u64) as usize];
        let known = slot.step.load(Relaxed);
        if known < step && slot.step.compare_exchange(known, step, Relaxed, Relaxed).is_ok() {
            slot.amount.store(0, Relaxed);
        }
        slot
    }

    /// Steps are counted from [`SLOTS`], so that an untouched slot is one of long ago.
    fn step_of(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.origin).as_micros() / self.step.as_micros().max(1);
        elapsed as u64 + SLOTS as u64
    }
}

#[cfg(test)]
mod tests;
