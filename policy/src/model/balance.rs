//! The annotations of a Service on judging endpoints, timeouts and retries.

mod notes;

pub use notes::Problem;

use mesh_kube::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mesh_types::{annotations as keys, retry};
use notes::{Notes, at_least_one, duration, parsed, share};
use std::time::Duration;

/// How endpoints of a Service are judged and its requests timed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Balance {
    /// When endpoints are ejected; absent means never.
    pub accrual: Option<Accrual>,
    /// What failures cost an endpoint; absent means nothing.
    pub penalty: Option<Penalty>,
    /// Limits in time.
    pub timeouts: Timeouts,
    /// What is tried again.
    pub retry: Option<Retry>,
}

/// When endpoints are ejected.
#[derive(Debug, Clone, PartialEq)]
pub enum Accrual {
    /// After failures in a row.
    Consecutive {
        /// How many.
        max_failures: u32,
        /// For how long.
        backoff: Backoff,
    },
    /// After failures in a row, or too low a share of successes.
    Unified {
        /// The share, 0 to 1.
        success_rate: f64,
        /// Over this time.
        window: Duration,
        /// Not judged below this many requests.
        min_requests: u32,
        /// Failures in a row that eject whatever the share is.
        max_failures: u32,
        /// For how long.
        backoff: Backoff,
    },
}

/// How long an endpoint stays ejected.
#[derive(Debug, Clone, PartialEq)]
pub struct Backoff {
    /// At first.
    pub min: Duration,
    /// At most.
    pub max: Duration,
    /// Share added at random.
    pub jitter: f64,
    /// No shorter than a response's `Retry-After` says.
    pub honor_retry_after: bool,
}

/// What a failure adds to the latency that an endpoint is judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Penalty {
    /// In any case.
    pub amount: Duration,
    /// At most, where the endpoint sends `Retry-After`.
    pub max_retry_after: Duration,
}

/// Limits in time; absent means none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Timeouts {
    /// The whole request.
    pub request: Option<Duration>,
    /// The response, once the request is sent.
    pub response: Option<Duration>,
    /// Between two frames.
    pub idle: Option<Duration>,
}

/// What is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Statuses, as inclusive ranges.
    pub statuses: Vec<(u16, u16)>,
    /// gRPC codes. They need a port that is known to speak HTTP/2.
    pub grpc: Vec<u16>,
    /// How often.
    pub limit: u32,
    /// Time for one attempt.
    pub timeout: Option<Duration>,
}

impl Accrual {
    /// Linkerd's default of `consecutive`.
    pub fn consecutive() -> Self {
        Self::Consecutive { max_failures: DEFAULT_MAX_FAILURES, backoff: Backoff::default() }
    }
}

const DEFAULT_MAX_FAILURES: u32 = 7;
const DEFAULT_SUCCESS_RATE: f64 = 0.8;
const DEFAULT_WINDOW: Duration = Duration::from_secs(10);
const DEFAULT_MIN_REQUESTS: u32 = 5;
const DEFAULT_PENALTY: Duration = Duration::from_secs(5);
const DEFAULT_MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
const DEFAULT_RETRY_LIMIT: u32 = 1;

/// Shorter windows, and more requests than this, make no sense of a share (Linkerd's bounds).
const LEAST_WINDOW: Duration = Duration::from_millis(10);
const MOST_MIN_REQUESTS: u32 = 1_000_000;

impl Default for Backoff {
    fn default() -> Self {
        Self {
            min: Duration::from_secs(1),
            max: Duration::from_secs(60),
            jitter: 0.5,
            honor_retry_after: false,
        }
    }
}

impl Balance {
    /// Reads a Service's annotations. One that cannot be read is told of and leaves its default; the others count.
    pub fn from_meta(meta: &ObjectMeta) -> (Self, Vec<Problem>) {
        let notes = Notes::new(meta);
        let balance = Self {
            accrual: accrual(&notes),
            penalty: penalty(&notes),
            timeouts: Timeouts {
                request: notes.read(keys::TIMEOUT_REQUEST, duration),
                response: notes.read(keys::TIMEOUT_RESPONSE, duration),
                idle: notes.read(keys::TIMEOUT_IDLE, duration),
            },
            retry: retries(&notes),
        };
        (balance, notes.problems())
    }
}

fn accrual(notes: &Notes<'_>) -> Option<Accrual> {
    let max_failures = notes.read(keys::FAILURE_ACCRUAL_MAX_FAILURES, at_least_one);
    let backoff = backoff(notes);
    let success_rate = notes.read(keys::FAILURE_ACCRUAL_SUCCESS_RATE, |v| share(v, 1.0));
    let window = notes.read(keys::FAILURE_ACCRUAL_WINDOW, |text| {
        let at_least = |window: &Duration| *window >= LEAST_WINDOW;
        Some(duration(text)?).filter(at_least).ok_or_else(|| format!("{text:?} must be at least 10ms"))
    });
    let min_requests = notes.read(keys::FAILURE_ACCRUAL_MIN_REQUESTS, |text| {
        let at_most = |n: &u32| *n <= MOST_MIN_REQUESTS;
        Some(at_least_one(text)?).filter(at_most).ok_or_else(|| format!("{text:?} must be at most 1000000"))
    });
    let unified = notes.read(keys::FAILURE_ACCRUAL, |v| match v {
        "consecutive" => Ok(false),
        "unified" => Ok(true),
        other => Err(format!("{other:?} must be consecutive or unified")),
    })?;
    let max_failures = max_failures.unwrap_or(DEFAULT_MAX_FAILURES);
    if !unified {
        return Some(Accrual::Consecutive { max_failures, backoff });
    }
    Some(Accrual::Unified {
        success_rate: success_rate.unwrap_or(DEFAULT_SUCCESS_RATE),
        window: window.unwrap_or(DEFAULT_WINDOW),
        min_requests: min_requests.unwrap_or(DEFAULT_MIN_REQUESTS),
        max_failures,
        backoff,
    })
}

fn backoff(notes: &Notes<'_>) -> Backoff {
    let default = Backoff::default();
    let (min, max) = (
        notes.read(keys::FAILURE_ACCRUAL_MIN_PENALTY, duration),
        notes.read(keys::FAILURE_ACCRUAL_MAX_PENALTY, duration),
    );
    let min = min.unwrap_or(default.min);
    let max = max.unwrap_or(default.max.max(min));
    if min > max {
        let key = keys::FAILURE_ACCRUAL_MIN_PENALTY;
        notes.problem(key, format!("it is longer than the longest penalty, {max:?}, which is used for both"));
    }
    Backoff {
        min: min.min(max),
        max,
        jitter: notes.read(keys::FAILURE_ACCRUAL_JITTER, |v| share(v, 100.0)).unwrap_or(default.jitter),
        honor_retry_after: notes.read(keys::FAILURE_ACCRUAL_HONOR_RETRY_AFTER, parsed).unwrap_or(false),
    }
}

fn penalty(notes: &Notes<'_>) -> Option<Penalty> {
    let amount = notes.read(keys::LOAD_BIASER_PENALTY, duration).unwrap_or(DEFAULT_PENALTY);
    let most = notes.read(keys::LOAD_BIASER_MAX_RETRY_AFTER, duration);
    let wanted = notes.read(keys::PENALIZE_FAILURES, parsed).unwrap_or(false);
    wanted.then(|| Penalty { amount, max_retry_after: most.unwrap_or(DEFAULT_MAX_RETRY_AFTER) })
}

fn retries(notes: &Notes<'_>) -> Option<Retry> {
    let statuses = notes.read(keys::RETRY_HTTP, |v| retry::statuses(v).map_err(|e| e.to_string()));
    let grpc = notes.read(keys::RETRY_GRPC, |v| retry::grpc_codes(v).map_err(|e| e.to_string()));
    let limit = notes.read(keys::RETRY_LIMIT, |text| {
        text.parse::<u32>().map_err(|_| format!("{text:?} must be a whole number"))
    });
    let timeout = notes.read(keys::RETRY_TIMEOUT, duration);
    let asked = statuses.is_some() || grpc.is_some();
    asked.then(|| Retry {
        statuses: statuses.unwrap_or_default(),
        grpc: grpc.unwrap_or_default(),
        limit: limit.unwrap_or(DEFAULT_RETRY_LIMIT),
        timeout,
    })
}

#[cfg(test)]
mod tests;
