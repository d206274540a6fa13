use super::*;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

const IDLE: Load = Load { rtt: 0.010, inflight: 0 };

fn shares(weights: &Weights, rounds: usize, load: impl Fn(usize) -> Option<Load>) -> Vec<f64> {
    let mut rng = StdRng::seed_from_u64(7);
    let mut counts = vec![0usize; weights.len()];
    for _ in 0..rounds {
        counts[weights.pick(&load, &mut rng).unwrap()] += 1;
    }
    counts.into_iter().map(|c| c as f64 / rounds as f64).collect()
}

#[test]
fn equal_endpoints_share_evenly() {
    let weights = Weights::new([10_000; 10]);
    for share in shares(&weights, 50_000, |_| Some(IDLE)) {
        assert!((share - 0.1).abs() < 0.01, "{share}");
    }
}

#[test]
fn gateways_are_used_in_proportion_to_their_ready_endpoints() {
    for counts in [vec![3u32, 1], vec![5, 3, 2], vec![1, 1, 8]] {
        let total: u32 = counts.iter().sum();
        let weights = Weights::new(counts.iter().map(|n| n * 10_000));
        for (share, count) in shares(&weights, 50_000, |_| Some(IDLE)).into_iter().zip(&counts) {
            assert!((share - f64::from(*count) / f64::from(total)).abs() < 0.02, "{counts:?}: {share}");
        }
    }
}

#[test]
fn a_slow_endpoint_gets_a_small_share_but_not_none() {
    let weights = Weights::new([1, 1]);
    let load = |i| Some(Load { rtt: if i == 0 { 0.010 } else { 0.100 }, inflight: 0 });
    let slow = shares(&weights, 50_000, load)[1];
    assert!(slow > 0.002 && slow < 0.03, "{slow}");
}

#[test]
fn a_busy_endpoint_is_spared() {
    let weights = Weights::new([1, 1, 1]);
    let load = |i| Some(Load { rtt: 0.010, inflight: if i == 2 { 30 } else { 0 } });
    assert!(shares(&weights, 20_000, load)[2] < 0.12);
}

#[test]
fn weight_zero_is_used_only_when_nothing_else_can_be() {
    let weights = Weights::new([0, 10_000, 10_000]);
    assert_eq!(shares(&weights, 5_000, |_| Some(IDLE))[0], 0.0);
    assert_eq!(shares(&weights, 100, |i| (i == 0).then_some(IDLE))[0], 1.0);
}

proptest! {
    #[test]
    fn only_available_endpoints_are_picked_and_one_is_always_found(
        set in prop::collection::vec((0u32..50_000, any::<bool>(), 0u32..100), 0..80), seed in any::<u64>(),
    ) {
        let weights = Weights::new(set.iter().map(|e| e.0));
        let mut rng = StdRng::seed_from_u64(seed);
        let load = |i: usize| set[i].1.then_some(Load { rtt: 0.001, inflight: set[i].2 });
        for _ in 0..20 {
            match weights.pick(load, &mut rng) {
                Some(index) => prop_assert!(set[index].1),
                None => prop_assert!(set.iter().all(|e| !e.1)),
            }
        }
    }
}
