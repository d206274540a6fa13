//! What a planner answers: the writes that bring the world closer to what is asked for, and when to look again.

use jiff::Timestamp;
use serde_json::Value;

use super::object::Key;
use super::world::Kind;

/// One write to the API server.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Create this object.
    Create(Kind, Value),
    /// Merge-patch the object.
    Patch(Kind, Key, Value),
    /// Merge-patch the status subresource.
    PatchStatus(Kind, Key, Value),
    /// Delete the object in the background; the uid guards against deleting a successor.
    Delete(Kind, Key, String),
}

/// The writes, and the time at which to plan again although nothing changed.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Plan {
    /// Writes, in order.
    pub(crate) actions: Vec<Action>,
    /// When time alone changes the outcome (`minReadySeconds`, progress deadlines).
    pub(crate) again_at: Option<Timestamp>,
}

impl Plan {
    /// Adds a write.
    pub(crate) fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Asks for another plan at `at`, or earlier if already asked for.
    pub(crate) fn look_again(&mut self, at: Timestamp) {
        self.again_at = Some(self.again_at.map_or(at, |earlier| earlier.min(at)));
    }
}
