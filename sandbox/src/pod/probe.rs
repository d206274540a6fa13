//! Probes: what is asked of a container, and what follows from the answers.

mod ask;

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use crate::controllers::object;
pub(super) use ask::Target;

/// Until the first success, a failing probe is asked again after this long, and twice that, and so on: a container that
/// becomes ready is seen at once, whatever its period. Failures still count once a period only.
const FIRST_RETRY: Duration = Duration::from_millis(20);
/// Where that growth ends.
const LAST_RETRY: Duration = Duration::from_millis(200);

/// A probe's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probe {
    question: Value,
    initial_delay: Duration,
    period: Duration,
    timeout: Duration,
    successes: u32,
    failures: u32,
    /// How long a container may take to stop after it has failed this probe.
    pub(super) grace: Option<Duration>,
}

/// A change that a probe saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As many successes in a row as it takes.
    Success,
    /// One failure that counts, and why.
    Failure(String),
    /// As many in a row as it takes, and the last one's reason.
    Failed(String),
}

impl Probe {
    /// The probe under a field of a container, if it has one.
    pub(super) fn of(container: &Value, field: &str) -> Option<Self> {
        let spec = container.get(field).filter(|spec| spec.is_object())?;
        let number = |name: &str, default: u64| {
            object::int(spec, &format!("/{name}")).and_then(|n| u64::try_from(n).ok()).unwrap_or(default)
        };
        let seconds = |name, default| Duration::from_secs(number(name, default));
        let count = |name, default| u32::try_from(number(name, default)).unwrap_or(u32::MAX).max(1);
        let grace = number("terminationGracePeriodSeconds", 0);
        Some(Self {
            question: spec.clone(),
            initial_delay: seconds("initialDelaySeconds", 0),
            period: seconds("periodSeconds", 10).max(Duration::from_secs(1)),
            timeout: seconds("timeoutSeconds", 1).max(Duration::from_secs(1)),
            successes: count("successThreshold", 1),
            failures: count("failureThreshold", 3),
            grace: (grace > 0).then(|| Duration::from_secs(grace)),
        })
    }

    /// Asks until the caller drops it, or `tell` returns false. `eager` retries quickly until the first success.
    pub(super) async fn watch(&self, target: &Target, eager: bool, mut tell: impl FnMut(Verdict) -> bool) {
        sleep(self.initial_delay).await;
        let mut tally = Tally::new(self.successes, self.failures);
        let mut retry = FIRST_RETRY;
        let mut counts_from = Instant::now() + if eager { self.period } else { Duration::ZERO };
        loop {
            let asked = timeout(self.timeout, target.ask(&self.question)).await;
            let answer = asked.unwrap_or_else(|_| Err(format!("no answer within {:?}", self.timeout)));
            let now = Instant::now();
            let counts = answer.is_ok() || now >= counts_from;
            if counts {
                counts_from = now + self.period;
                if let Some(verdict) = tally.note(answer)
                    && !tell(verdict)
                {
                    return;
                }
            }
            if eager && !tally.has_succeeded {
                sleep(retry).await;
                retry = (retry * 2).min(LAST_RETRY);
            } else {
                sleep(self.period).await;
            }
        }
    }
}

/// Answers in a row.
#[derive(Debug)]
struct Tally {
    successes: u32,
    failures: u32,
    in_a_row: u32,
    last_was_success: Option<bool>,
    has_succeeded: bool,
}

impl Tally {
    fn new(successes: u32, failures: u32) -> Self {
        Self { successes, failures, in_a_row: 0, last_was_success: None, has_succeeded: false }
    }

    fn note(&mut self, answer: Result<(), String>) -> Option<Verdict> {
        let is_success = answer.is_ok();
        if self.last_was_success != Some(is_success) {
            self.in_a_row = 0;
        }
        self.last_was_success = Some(is_success);
        self.in_a_row = self.in_a_row.saturating_add(1);
        match answer {
            Ok(()) => {
                self.has_succeeded |= self.in_a_row >= self.successes;
                (self.in_a_row == self.successes).then_some(Verdict::Success)
            }
            Err(why) if self.in_a_row >= self.failures => Some(Verdict::Failed(why)),
            Err(why) => Some(Verdict::Failure(why)),
        }
    }
}

#[cfg(test)]
mod tests;
