//! What a fault is worth: which failures its explanation covers, how long it took to recover, and latencies before, while
//! and after.

use crate::record::{Sample, p99};
use crate::traffic::{Kind, Lane};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Uncovered failures that are told one by one.
const TOLD: usize = 10;
/// The share of its requests that every kind must have answered after the recovery.
const ANSWERED: f64 = 0.9;

/// What a fault may cost, and by when that is over.
#[derive(Clone, Debug)]
pub(crate) struct Promise {
    /// Why these requests fail and no others, in one sentence.
    pub(crate) explanation: &'static str,
    pub(crate) covered: Vec<Cover>,
    /// From the fault's end until everything is answered as before.
    pub(crate) recovery: Duration,
}

/// Failures that are expected.
#[derive(Clone, Debug)]
pub(crate) struct Cover {
    pub(crate) kinds: &'static [Kind],
    /// One of these is in the reason.
    pub(crate) reasons: &'static [&'static str],
    /// How many there may be of each kind.
    pub(crate) most: usize,
}

/// When things happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moments {
    /// The fault began.
    pub(crate) began: Instant,
    /// It ended.
    pub(crate) ended: Instant,
    /// Everything should have recovered.
    pub(crate) settled: Instant,
    /// The load ended.
    pub(crate) over: Instant,
}

/// What came out.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Verdict {
    pub(crate) requests: usize,
    pub(crate) failed: usize,
    /// By kind and reason.
    pub(crate) reasons: BTreeMap<String, usize>,
    /// Failures that nothing explains; some of them are told below.
    pub(crate) unexplained: usize,
    /// Requests that succeeded and took longer than anybody is patient for ([`Kind::patience`]).
    pub(crate) held_up: usize,
    pub(crate) held_up_by_kind: BTreeMap<&'static str, usize>,
    /// The longest of them, seconds.
    pub(crate) longest_s: f64,
    /// From the fault's end until the last request ended that failed or was held up, seconds.
    pub(crate) recovery_s: f64,
    /// What kind that one was.
    pub(crate) last: &'static str,
    pub(crate) p99_before_ms: Option<f64>,
    pub(crate) p99_during_ms: Option<f64>,
    pub(crate) p99_after_ms: Option<f64>,
    /// What is wrong.
    pub(crate) problems: Vec<String>,
}

/// Judges what became of all requests.
pub(crate) fn judge(samples: &[Sample], promise: &Promise, moments: &Moments, lanes: &[Lane]) -> Verdict {
    let mut verdict = Verdict { requests: samples.len(), ..Verdict::default() };
    let mut used: Vec<BTreeMap<Kind, usize>> = vec![BTreeMap::new(); promise.covered.len()];
    for sample in samples {
        let held_up = sample.took > sample.kind.patience();
        if sample.failure.is_none() && held_up {
            verdict.held_up += 1;
            *verdict.held_up_by_kind.entry(sample.kind.name()).or_default() += 1;
            verdict.longest_s = verdict.longest_s.max(sample.took.as_secs_f64());
        }
        if (sample.failure.is_some() || held_up) && sample.ended() > moments.ended {
            let late = (sample.ended() - moments.ended).as_secs_f64();
            if late > verdict.recovery_s {
                (verdict.recovery_s, verdict.last) = (late, sample.kind.name());
            }
        }
        let Some(reason) = &sample.failure else { continue };
        verdict.failed += 1;
        let told = format!("{}: {}", sample.kind.name(), without_numbers(reason));
        *verdict.reasons.entry(told).or_default() += 1;
        if !covers(promise, &mut used, sample, reason, moments) {
            verdict.unexplained += 1;
            if verdict.problems.len() < TOLD {
                let at = sample.due.saturating_duration_since(moments.began).as_secs_f64();
                let kind = sample.kind.name();
                verdict.problems.push(format!("not explained: {kind} {at:.1} s into the fault: {reason}"));
            }
        }
    }
    let part = |from: Option<Instant>, to: Instant| {
        p99(samples.iter().filter(move |s| from.is_none_or(|from| s.due >= from) && s.due < to))
    };
    verdict.p99_before_ms = part(None, moments.began);
    verdict.p99_during_ms = part(Some(moments.began), moments.settled);
    verdict.p99_after_ms = part(Some(moments.settled), moments.over);
    verdict.problems.extend(unanswered(samples, moments, lanes));
    verdict
}

fn covers(
    promise: &Promise,
    used: &mut [BTreeMap<Kind, usize>],
    sample: &Sample,
    reason: &str,
    moments: &Moments,
) -> bool {
    // What was under way as the fault began is in its hands.
    if sample.ended() < moments.began || sample.due > moments.settled {
        return false;
    }
    for (cover, used) in promise.covered.iter().zip(used) {
        let named = cover.reasons.iter().any(|part| reason.contains(part));
        let used = used.entry(sample.kind).or_default();
        if named && cover.kinds.contains(&sample.kind) && *used < cover.most {
            *used += 1;
            return true;
        }
    }
    false
}

/// Every kind of request must be answered again at its rate.
fn unanswered(samples: &[Sample], moments: &Moments, lanes: &[Lane]) -> Vec<String> {
    let span = (moments.over - moments.settled).as_secs_f64();
    let short = lanes.iter().filter_map(|lane| {
        let good = |s: &&Sample| s.kind == lane.kind && s.failure.is_none() && s.due >= moments.settled;
        let (answered, wanted) = (samples.iter().filter(good).count(), f64::from(lane.per_second) * span);
        let few = (answered as f64) < wanted * ANSWERED - 2.0;
        few.then(|| format!("{}: {answered} of {wanted:.0} answered after the recovery", lane.kind.name()))
    });
    short.collect()
}

/// A reason with the numbers that differ from one request to the next left out.
fn without_numbers(reason: &str) -> String {
    let mut text = String::new();
    for word in reason.split_inclusive(' ') {
        let address = word.contains(':') && word.starts_with(|c: char| c.is_ascii_digit());
        text += if address { "ADDRESS " } else { word };
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests;
