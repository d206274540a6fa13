//! Reading annotations, and remembering what is wrong with them.

use crate::model::text;
use mesh_kube::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mesh_types::{annotations as keys, parse_duration};
use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// An annotation that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Its key.
    pub annotation: String,
    /// What is wrong with it, and what would be right.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "annotation {}: {}", self.annotation, self.reason)
    }
}

/// Prefixes under which every key means something to the balancer, so that a misspelt one is told of.
const PREFIXES: [&str; 4] =
    ["balancer.linkerd.io/", "balancer.alpha.linkerd.io/", "timeout.linkerd.io/", "retry.linkerd.io/"];

/// All keys under these prefixes.
const KNOWN: [&str; 19] = [
    keys::FAILURE_ACCRUAL,
    keys::FAILURE_ACCRUAL_MAX_FAILURES,
    keys::FAILURE_ACCRUAL_MIN_PENALTY,
    keys::FAILURE_ACCRUAL_MAX_PENALTY,
    keys::FAILURE_ACCRUAL_JITTER,
    keys::FAILURE_ACCRUAL_HONOR_RETRY_AFTER,
    keys::FAILURE_ACCRUAL_SUCCESS_RATE,
    keys::FAILURE_ACCRUAL_WINDOW,
    keys::FAILURE_ACCRUAL_MIN_REQUESTS,
    keys::PENALIZE_FAILURES,
    keys::LOAD_BIASER_PENALTY,
    keys::LOAD_BIASER_MAX_RETRY_AFTER,
    keys::TIMEOUT_REQUEST,
    keys::TIMEOUT_RESPONSE,
    keys::TIMEOUT_IDLE,
    keys::RETRY_HTTP,
    keys::RETRY_GRPC,
    keys::RETRY_LIMIT,
    keys::RETRY_TIMEOUT,
];

/// The annotations of an object.
pub(super) struct Notes<'a> {
    meta: &'a ObjectMeta,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Notes<'a> {
    pub(super) fn new(meta: &'a ObjectMeta) -> Self {
        Self { meta, problems: RefCell::default() }
    }

    /// The value of an annotation, if it is there and can be read.
    pub(super) fn read<T>(&self, key: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let value = text(&self.meta.annotations, key)?;
        parse(value.trim()).map_err(|reason| self.problem(key, reason)).ok()
    }

    pub(super) fn problem(&self, key: &str, reason: String) {
        self.problems.borrow_mut().push(Problem { annotation: key.to_owned(), reason });
    }

    /// All that is wrong, keys nobody knows included.
    pub(super) fn problems(self) -> Vec<Problem> {
        let keys = self.meta.annotations.iter().flatten().map(|(key, _)| key.as_str());
        let ours = keys.filter(|key| PREFIXES.iter().any(|prefix| key.starts_with(prefix)));
        let unknown: Vec<_> = ours.filter(|key| !KNOWN.contains(key)).collect();
        for key in unknown {
            self.problem(key, "it is unknown and has no effect; is it misspelt?".to_owned());
        }
        let mut problems = self.problems.into_inner();
        problems.sort();
        problems
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let read = parse_duration(text).map_err(|error| error.to_string())?;
    if read.is_zero() { Err(format!("duration {text:?} must be longer than nothing")) } else { Ok(read) }
}

pub(super) fn parsed<T>(value: &str) -> Result<T, String>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    value.parse().map_err(|error: T::Err| format!("{value:?}: {error}"))
}

pub(super) fn at_least_one(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|n| *n > 0)
        .ok_or_else(|| format!("{text:?} must be a whole number of at least 1"))
}

pub(super) fn share(text: &str, most: f64) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|n| (0.0..=most).contains(n));
    number.ok_or_else(|| format!("{text:?} must be a number from 0 to {most}"))
}
