//! A watch that feeds a pure index: complete lists as resets, then single changes. It never ends and never gives up;
//! how old its knowledge is can be read at any time.

use crate::error::explain;
use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::ListParams;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::{debug, warn};

/// The first wait after a failure; doubled up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Short enough that a returned API server is noticed in seconds.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A watch is renewed this often, so that a connection that died silently is noticed.
const WATCH_SECONDS: u32 = 60;

/// What a watch tells its index.
#[derive(Debug)]
pub enum Change<K> {
    /// Everything there is; replaces whatever the index held.
    Reset(Vec<K>),
    /// One object is new or changed.
    Apply(K),
    /// One object is gone.
    Delete(K),
}

/// How a watch is doing. Cheap to clone.
#[derive(Clone)]
pub struct WatchState(Arc<Inner>);

struct Inner {
    started: Instant,
    synced: AtomicBool,
    /// Whether the latest attempt failed.
    failing: AtomicBool,
    /// Milliseconds from `started` to the latest word from the server.
    heard: AtomicU64,
    error: Mutex<Option<String>>,
}

impl Default for WatchState {
    fn default() -> Self {
        Self::new()
    }
}

impl WatchState {
    /// Not listed yet.
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            started: Instant::now(),
            synced: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            heard: AtomicU64::new(0),
            error: Mutex::new(None),
        }))
    }

    /// Whether a complete list has been taken at least once.
    pub fn is_synced(&self) -> bool {
        self.0.synced.load(Ordering::Acquire)
    }

    /// Time since the watch last worked: zero while it does.
    pub fn stale_for(&self) -> Duration {
        if !self.0.failing.load(Ordering::Acquire) {
            return Duration::ZERO;
        }
        let heard = Duration::from_millis(self.0.heard.load(Ordering::Acquire));
        self.0.started.elapsed().saturating_sub(heard)
    }

    /// Why the latest attempt failed, if it did.
    pub fn last_error(&self) -> Option<String> {
        self.0.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hear(&self) {
        let now = u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.heard.store(now, Ordering::Release);
        if self.0.failing.swap(false, Ordering::AcqRel) {
            *self.0.error.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    fn fail(&self, error: String) {
        *self.0.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        self.0.failing.store(true, Ordering::Release);
    }
}

/// How often [`synced`] looks.
const SYNC_POLL: Duration = Duration::from_millis(5);

/// Waits until every watch has taken a complete list.
pub async fn synced(states: &[WatchState]) {
    while !states.iter().all(WatchState::is_synced) {
        tokio::time::sleep(SYNC_POLL).await;
    }
}

/// Watches `api` until the future is dropped, telling `on` every change. Failures are waited out with a growing
/// pause, and seen in `state`.
pub async fn watch<K>(api: Api<K>, config: watcher::Config, state: WatchState, mut on: impl FnMut(Change<K>))
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    // Whoever may see only what the watch selects may list only that.
    let small = ListParams {
        label_selector: config.label_selector.clone(),
        field_selector: config.field_selector.clone(),
        limit: Some(1),
        ..ListParams::default()
    };
    let mut events = watcher::watcher(api.clone(), config.timeout(WATCH_SECONDS)).boxed();
    let mut listed = Vec::new();
    let mut wait = FIRST_WAIT;
    loop {
        match events.try_next().await {
            Ok(Some(event)) => {
                state.hear();
                wait = FIRST_WAIT;
                match event {
                    Event::Init => listed.clear(),
                    Event::InitApply(object) => listed.push(object),
                    Event::InitDone => {
                        debug!(objects = listed.len(), "watch listed");
                        on(Change::Reset(std::mem::take(&mut listed)));
                        state.0.synced.store(true, Ordering::Release);
                    }
                    Event::Apply(object) => on(Change::Apply(object)),
                    Event::Delete(object) => on(Change::Delete(object)),
                }
            }
            Ok(None) => return,
            Err(error) => {
                if state.0.failing.load(Ordering::Acquire) {
                    debug!(%error, "watch still fails");
                } else {
                    warn!(%error, "watch failed, will be resumed");
                }
                state.fail(explain_watch(&error));
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
                // A watch that resumes where it stopped has nothing to say, so a small list tells that it works again.
                if api.list(&small).await.is_ok() {
                    state.hear();
                }
            }
        }
    }
}

fn explain_watch(error: &watcher::Error) -> String {
    use watcher::Error::{InitialListFailed, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(cause) | WatchStartFailed(cause) | WatchFailed(cause) => explain(cause),
        other => other.to_string(),
    }
}
