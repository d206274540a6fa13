//! Does the linked cluster's API still answer? A watch that hangs says nothing, so a small question is asked every few
//! seconds; the age of the last answer is the age of everything that is known of that cluster.

use crate::store::Bell;
use mesh_kube::kube::api::DynamicObject;
use mesh_kube::kube::{Api, Error};
use parking_lot::Mutex;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tracing::info;

/// Between two questions.
const EVERY: Duration = Duration::from_secs(5);

/// An answer that takes longer is none.
const TIMEOUT: Duration = Duration::from_secs(4);

/// After so many questions without an answer, watches that still wait are not worth waiting for.
const OUTAGE: u32 = 2;

/// The last answer. Shared by whoever asks and whoever wants to know.
pub(crate) struct Pulse {
    state: Mutex<State>,
    recovered: Notify,
}

#[derive(Default)]
struct State {
    answered: Option<Instant>,
    missed: u32,
    error: Option<String>,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::default(), recovered: Notify::new() }
    }

    /// When the last answer came.
    pub(crate) fn answered(&self) -> Option<Instant> {
        self.state.lock().answered
    }

    /// While questions go unanswered: for how long, and why.
    pub(crate) fn silent(&self, since_start: Duration) -> Option<(Duration, String)> {
        let state = self.state.lock();
        let error = state.error.clone()?;
        Some((state.answered.map_or(since_start, |at| at.elapsed()), error))
    }

    /// Completes when the API answers again after an outage.
    pub(crate) async fn recovered(&self) {
        self.recovered.notified().await;
    }

    /// Asks for one object until dropped. That it is not there, or may not be seen, is an answer as well.
    pub(crate) async fn ask(&self, api: Api<DynamicObject>, name: &str, bell: &Bell) {
        loop {
            let answer = tokio::time::timeout(TIMEOUT, api.get_metadata(name)).await;
            let error = match answer {
                Ok(Ok(_)) => None,
                Ok(Err(Error::Api(status))) if status.code != 401 && status.code < 500 => None,
                Ok(Err(error)) => Some(mesh_kube::explain(&error)),
                Err(_) => Some(format!("the API server does not answer within {TIMEOUT:?}")),
            };
            if self.note(error, Instant::now()) {
                bell.ring();
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Takes one outcome; answers whether things changed for the better or the worse.
    fn note(&self, error: Option<String>, now: Instant) -> bool {
        let mut state = self.state.lock();
        let changed = state.error.is_some() != error.is_some() || state.answered.is_none();
        match error {
            None => {
                if state.missed >= OUTAGE {
                    info!(missed = state.missed, "the linked cluster's API answers again");
                    self.recovered.notify_one();
                }
                *state = State { answered: Some(now), ..State::default() };
            }
            Some(error) => {
                state.missed += 1;
                state.error = Some(error);
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests;
