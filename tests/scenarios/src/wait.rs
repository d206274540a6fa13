//! Waiting for a condition, and saying what was waited for when it does not come.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How long a scenario waits for something that should take seconds at most.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Waits until `look` gives a value; panics with `what` and the last thing seen after [`PATIENCE`].
#[track_caller]
pub fn eventually<T, E: Debug>(what: &str, look: impl FnMut() -> Result<T, E>) -> T {
    within(PATIENCE, what, look)
}

/// Waits until `look` gives a value; panics with `what` and the last thing seen after `patience`.
#[track_caller]
pub fn within<T, E: Debug>(patience: Duration, what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match look() {
            Ok(value) => return value,
            Err(seen) if Instant::now() >= deadline => {
                panic!("waited {patience:?} in vain for: {what}\nlast seen: {seen:?}")
            }
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}
