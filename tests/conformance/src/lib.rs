//! Does the sandbox's API server answer as the real one does? A corpus of plays, each a sequence of requests such as the
//! controllers, `meshctl` and `kubectl` make, is asked of both. The real server's answers are recorded in `expected/`, so
//! that the everyday test (`tests/sandbox.rs`) needs no real server; `tests/real.rs` starts one and checks, or renews, the
//! recording.
//!
//! What differs from one run to the next (uids, times, versions, addresses) is replaced by placeholders before answers are
//! compared or written. Where the two may differ is said in the play or in `differs.yaml`, with the reason.

mod compare;
mod corpus;
mod normal;
mod real;
mod replay;

pub use compare::{Rules, differences};
pub use corpus::{Play, Step, plays, root};
pub use normal::normalized;
pub use real::{BINARIES, Real};
pub use replay::{Answer, recorded, replay, write};
