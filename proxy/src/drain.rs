//! Shutting down in order: new work is told to finish, work under way may end, then whatever is left is cut.

use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Tells connections to finish, and waits for them. Clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    token: CancellationToken,
    tracker: TaskTracker,
}

/// Held by a connection while it lives.
#[derive(Debug)]
pub struct DrainGuard {
    _token: TaskTrackerToken,
}

impl Drain {
    /// Nothing is draining.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keep the guard while a connection lives.
    pub fn guard(&self) -> DrainGuard {
        DrainGuard { _token: self.tracker.token() }
    }

    /// Resolves once connections should finish what they do and close.
    pub async fn draining(&self) {
        self.token.cancelled().await;
    }

    /// Whether connections should finish.
    pub fn is_draining(&self) -> bool {
        self.token.is_cancelled()
    }

    /// How many connections live.
    pub fn open(&self) -> usize {
        self.tracker.len()
    }

    /// Tells connections to finish.
    pub fn start(&self) {
        self.token.cancel();
    }

    /// Waits until no connection lives, for at most `limit`; says whether all ended.
    pub async fn finished(&self, limit: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }
}
