//! How long a container that keeps ending waits before it is started again; the kubelet's numbers.

use std::time::Duration;

/// The second wait; the first restart comes at once.
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);
/// A container that ran this long is trusted again.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

/// The waits of one container.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    /// The wait before the next start, after a run of this length.
    pub(super) fn next(&mut self, ran: Duration) -> Duration {
        if ran >= FORGIVEN_AFTER {
            self.next = Duration::ZERO;
        }
        let delay = self.next;
        self.next = if delay.is_zero() { FIRST } else { (delay * 2).min(LONGEST) };
        delay
    }
}

#[cfg(test)]
mod tests;
