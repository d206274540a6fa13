//! Limits on frames that cost us more than the peer: pings, settings, priorities, resets (rapid reset, CVE-2023-44487,
//! and its kin) and frames without content.

use crate::error::Error;
use std::time::Instant;

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Priority,
    Reset,
    Settings,
    Ping,
    EmptyData,
    /// Resets of requests that nobody has taken yet.
    RapidReset,
    /// Frames on streams that are closed, or that are refused.
    Closed,
    /// Frames of types that we do not know.
    Unknown,
}

/// Name, how many at once, how many a second; in the order of [`Kind`].
///
/// - Resets: a proxy carries many clients on one connection, and all may give up at once. Hardly any gives up before we
///   have looked at its request.
/// - Pings: some gRPC clients measure the path by one for every burst of data.
const KINDS: [(&str, f32, f32); 8] = [
    ("PRIORITY", 20_000.0, 1_000.0),
    ("RST_STREAM", 20_000.0, 1_000.0),
    ("SETTINGS", 100.0, 10.0),
    ("PING", 10_000.0, 5_000.0),
    ("empty DATA", 10_000.0, 1_000.0),
    ("rapid RST_STREAM", 1_000.0, 100.0),
    ("out of place", 20_000.0, 1_000.0),
    ("unknown", 20_000.0, 1_000.0),
];

/// What is left of each kind's budget.
#[derive(Debug)]
pub(crate) struct Budgets {
    left: [f32; KINDS.len()],
    since: Option<Instant>,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { left: KINDS.map(|(_, burst, _)| burst), since: None }
    }
}

impl Budgets {
    /// Counts one.
    pub(crate) fn spend(&mut self, kind: Kind, now: Instant) -> Result<(), Error> {
        let passed = now.duration_since(self.since.unwrap_or(now)).as_secs_f32();
        self.since = Some(now);
        for (left, (_, burst, rate)) in self.left.iter_mut().zip(KINDS) {
            *left = (*left + passed * rate).min(burst);
        }
        let left = &mut self.left[kind as usize];
        if *left < 1.0 {
            return Err(Error::Flood(KINDS[kind as usize].0));
        }
        *left -= 1.0;
        Ok(())
    }
}
