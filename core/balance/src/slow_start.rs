//! Slow start: an endpoint that joins others gets its full share only after a while, for caches and compilers to warm.

use std::time::Duration;

/// The share of a newcomer at the beginning.
const LEAST: f64 = 0.1;

/// The factor by which a newcomer of this `age` seems slower than it is, such that its share of the requests grows
/// evenly from a tenth to all of it over `window`. The choice between endpoints squares loads, hence the root.
pub fn handicap(age: Duration, window: Duration) -> f64 {
    if age >= window {
        return 1.0;
    }
    let share = (age.as_secs_f64() / window.as_secs_f64()).max(LEAST);
    1.0 / share.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Load, Weights};
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    const WINDOW: Duration = Duration::from_secs(10);

    /// The share of the last of three endpoints, which is of this age.
    fn share(age: Duration) -> f64 {
        let weights = Weights::new([30_000, 20_000, 10_000]);
        let mut rng = StdRng::seed_from_u64(3);
        let load = |i| {
            let rtt = if i == 2 { 0.01 * handicap(age, WINDOW) } else { 0.01 };
            Some(Load { rtt, inflight: 0 })
        };
        let picked = (0..60_000).filter(|_| weights.pick(load, &mut rng) == Some(2)).count();
        // One sixth of the weight is a full share.
        picked as f64 / 10_000.0
    }

    #[test]
    fn the_share_of_a_newcomer_grows_evenly() {
        for (seconds, expected) in [(0, 0.1), (5, 0.5), (10, 1.0), (100, 1.0)] {
            let share = share(Duration::from_secs(seconds));
            // The others take what it leaves, so a small share is a little larger than its weight alone.
            assert!((share - expected).abs() < 0.12, "{share} after {seconds} s");
        }
    }

    #[test]
    fn without_a_window_nobody_is_held_back() {
        assert!((handicap(Duration::ZERO, Duration::ZERO) - 1.0).abs() < f64::EPSILON);
    }
}
