//! The choice between endpoints: power of two choices over load, in proportion to weight.
//!
//! Two candidates are drawn, then compared by `rtt × (1 + inflight per unit of weight)`. The comparison is a race of
//! exponential variables rather than a plain minimum: with equal loads the shares are exactly the weights, and a
//! slower endpoint gets a small share instead of none, so that two workers with the same view do not herd. The load is
//! squared to keep that share small (ten times slower: one request in a hundred). Small sets of unequal weights — the
//! gateways of a federated service — race as a whole, since two draws cannot reproduce the weights there.

use rand::{Rng, RngExt};
use smallvec::SmallVec;

/// Sets up to this size race as a whole when their weights differ.
const SMALL: usize = 32;
/// Draws made before a full scan, when unavailable endpoints are drawn.
const DRAWS: usize = 8;

/// What one endpoint carries now.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Estimated latency in seconds.
    pub rtt: f64,
    /// Requests in flight.
    pub inflight: u32,
}

/// The weights of a set of endpoints, prepared for drawing.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    each: Vec<u32>,
    cumulative: Vec<u64>,
    equal: bool,
}

impl Weights {
    /// Prepares the weights of a set, in the order of its endpoints. An endpoint of weight 0 is never picked unless
    /// all are 0, when they count as equal.
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let mut each: Vec<u32> = weights.into_iter().collect();
        if each.iter().all(|w| *w == 0) {
            each.iter_mut().for_each(|w| *w = 1);
        }
        let equal = each.windows(2).all(|pair| pair[0] == pair[1]);
        let mut sum = 0u64;
        let cumulative = each
            .iter()
            .map(|w| {
                sum += u64::from(*w);
                sum
            })
            .collect();
        Self { each, cumulative, equal }
    }

    /// How many endpoints there are.
    pub fn len(&self) -> usize {
        self.each.len()
    }

    /// Whether there is no endpoint.
    pub fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// Picks an endpoint. `load` tells an endpoint's load, or `None` when it may not be used now; the answer is
    /// `None` when none may.
    pub fn pick<R: Rng>(&self, load: impl Fn(usize) -> Option<Load>, rng: &mut R) -> Option<usize> {
        match self.each.len() {
            0 => None,
            1 => load(0).map(|_| 0),
            2 => self.race(0..2, &load, rng),
            n if !self.equal && n <= SMALL => self.race(0..n, &load, rng),
            _ => self.two_choices(&load, rng),
        }
    }

    fn two_choices<R: Rng>(&self, load: &impl Fn(usize) -> Option<Load>, rng: &mut R) -> Option<usize> {
        let mut drawn: SmallVec<[usize; 2]> = SmallVec::new();
        for _ in 0..DRAWS {
            let index = self.draw(rng);
            if !drawn.contains(&index) && load(index).is_some() {
                drawn.push(index);
                if drawn.len() == 2 {
                    break;
                }
            }
        }
        if drawn.is_empty() {
            return self.race(0..self.each.len(), load, rng);
        }
        // The draw has already honoured the weights: the race is over load alone.
        self.fastest(drawn.into_iter().map(|i| (i, 1.0)), load, rng)
    }

    fn race<R: Rng>(
        &self,
        indices: std::ops::Range<usize>,
        load: &impl Fn(usize) -> Option<Load>,
        rng: &mut R,
    ) -> Option<usize> {
        let weighted = indices.filter(|i| self.each[*i] > 0).map(|i| (i, f64::from(self.each[i])));
        let first = self.fastest(weighted, load, rng);
        // Endpoints of weight 0 are better than none.
        first.or_else(|| (0..self.each.len()).find(|i| load(*i).is_some()))
    }

    fn fastest<R: Rng>(
        &self,
        candidates: impl Iterator<Item = (usize, f64)>,
        load: &impl Fn(usize) -> Option<Load>,
        rng: &mut R,
    ) -> Option<usize> {
        let mean = self.cumulative.last().map_or(1.0, |sum| *sum as f64 / self.each.len() as f64);
        let mut best: Option<(f64, usize)> = None;
        for (index, weight) in candidates {
            let Some(load) = load(index) else { continue };
            let share = f64::from(self.each[index].max(1)) / mean;
            let cost = load.rtt * (1.0 + f64::from(load.inflight) / share);
            let exponential = -(1.0 - rng.random::<f64>()).ln();
            let score = exponential * cost * cost / weight;
            if best.is_none_or(|(least, _)| score < least) {
                best = Some((score, index));
            }
        }
        best.map(|(_, index)| index)
    }

    fn draw<R: Rng>(&self, rng: &mut R) -> usize {
        if self.equal {
            return rng.random_range(0..self.each.len());
        }
        let total = self.cumulative.last().copied().unwrap_or(1);
        let ticket = rng.random_range(0..total);
        self.cumulative.partition_point(|sum| *sum <= ticket)
    }
}

#[cfg(test)]
mod tests;
