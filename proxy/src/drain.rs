//! Ending connections in order. When the proxy shuts down, new work is told to finish, work under way may end, then whatever
//! is left is cut. When descriptors run out, connections without a request give way to those that have one.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// A connection that had a request less than this ago may have the next one on its way.
const AT_REST: Duration = Duration::from_millis(250);

/// Tells connections to finish, and waits for them. Clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    token: CancellationToken,
    tracker: TaskTracker,
    resting: Arc<Resting>,
}

/// The connections without a request.
#[derive(Debug, Default)]
struct Resting {
    count: AtomicUsize,
    /// None of them has rested for long enough before this.
    young: Mutex<Option<Instant>>,
    /// Its queue is in the order in which they came to rest.
    leave: Notify,
    /// How many others wait for a descriptor to go on with.
    wanting: AtomicUsize,
}

/// Counts one while it is held.
pub(crate) struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
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

    /// Resolves once a connection without a request should close: as all finish, or as the one that has rested the longest
    /// when room is made.
    pub async fn rest(&self) {
        let (since, _rests) = (Instant::now(), Counted::new(&self.resting.count));
        loop {
            // Made before the look, so that nothing is missed.
            let told = self.resting.leave.notified();
            if self.is_draining() {
                return;
            }
            told.await;
            if since.elapsed() >= AT_REST {
                return;
            }
            // It was the first in the queue.
            *self.resting.young.lock() = Some(since + AT_REST);
        }
    }

    /// Descriptors have run out: has the connection close that has been without a request the longest, if that is
    /// a quarter of a second or more. Says whether there may be one; it is not closed yet.
    pub fn make_room(&self) -> bool {
        let may = self.may_make_room();
        if may {
            self.resting.leave.notify_one();
        }
        may
    }

    /// Whether there may be a connection that [`make_room`](Self::make_room) has close.
    pub fn may_make_room(&self) -> bool {
        let resting = &self.resting;
        let rested = || resting.young.lock().is_none_or(|young| Instant::now() >= young);
        resting.count.load(Relaxed) > 0 && rested()
    }

    /// Held by a connection while it waits for a descriptor to go on with.
    pub(crate) fn wants(&self) -> Counted<'_> {
        Counted::new(&self.resting.wanting)
    }

    /// Whether a connection waits for a descriptor, which a new one would take from it.
    pub(crate) fn is_wanting(&self) -> bool {
        self.resting.wanting.load(Relaxed) > 0
    }

    /// How many connections live.
    pub fn open(&self) -> usize {
        self.tracker.len()
    }

    /// Tells connections to finish.
    pub fn start(&self) {
        self.token.cancel();
        self.resting.leave.notify_waiters();
    }

    /// Waits until no connection lives, for at most `limit`; says whether all ended.
    pub async fn finished(&self, limit: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }
}
