//! Tasks with names, one signal that asks all of them to end, and a wait for them.

use std::future::Future;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, debug, info_span, warn};

/// Hands out the drain signal and keeps track of tasks. Cheap to clone.
#[derive(Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// No task, not draining.
    pub fn new() -> Self {
        Self::default()
    }

    /// The drain signal, for `select!` and for libraries that take one.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Whether draining has begun.
    pub fn is_draining(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until draining begins.
    pub async fn draining(&self) {
        self.token.cancelled().await;
    }

    /// Runs `future` as a task named `name` that [`drain`](Self::drain) waits for.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(named(name, future))
    }

    /// Like [`spawn`](Self::spawn), but the task is dropped at its next await once draining begins.
    pub fn spawn_until_drain<F>(
        &self,
        name: &'static str,
        future: F,
    ) -> tokio::task::JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let token = self.token.clone();
        self.tasks.spawn(named(name, async move { token.run_until_cancelled(future).await }))
    }

    /// Begins to drain without waiting.
    pub fn begin(&self) {
        self.token.cancel();
    }

    /// Begins to drain and waits for all tasks, at most `deadline`. Answers whether all ended in time.
    pub async fn drain(&self, deadline: Duration) -> bool {
        self.token.cancel();
        self.tasks.close();
        let ended = tokio::time::timeout(deadline, self.tasks.wait()).await.is_ok();
        if !ended {
            warn!(tasks = self.tasks.len(), ?deadline, "tasks still run at the drain deadline");
        }
        ended
    }
}

async fn named<F: Future>(name: &'static str, future: F) -> F::Output {
    let output = future.instrument(info_span!("task", task = name)).await;
    debug!(task = name, "ended");
    output
}

/// Waits for SIGTERM or SIGINT and answers with its name.
pub async fn termination_signal() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut term) => tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = tokio::signal::ctrl_c() => "SIGINT",
        },
        Err(error) => {
            warn!(%error, "cannot listen for SIGTERM");
            // Without a handler the default action ends the process, so there is nothing to wait for but SIGINT.
            drop(tokio::signal::ctrl_c().await);
            "SIGINT"
        }
    }
}

#[cfg(test)]
mod tests;
