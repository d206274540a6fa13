//! The annotations of a Service on judging endpoints, timeouts and retries.

use super::{parsed, read};
use mesh_kube::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mesh_types::{annotations as keys, parse_duration};
use std::time::Duration;

const KIND: &str = "Service";

/// How endpoints of a Service are judged and its requests timed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Balance {
    /// When endpoints are ejected; absent means never.
    pub accrual: Option<Accrual>,
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
    /// Reads a Service's annotations; those that cannot be read are logged and ignored.
    pub fn from_meta(meta: &ObjectMeta) -> Self {
        let time = |key| read(meta, KIND, key, |v| parse_duration(v).map_err(|e| e.to_string()));
        Self {
            accrual: accrual(meta),
            timeouts: Timeouts {
                request: time(keys::TIMEOUT_REQUEST),
                response: time(keys::TIMEOUT_RESPONSE),
                idle: time(keys::TIMEOUT_IDLE),
            },
            retry: retry(meta),
        }
    }
}

fn accrual(meta: &ObjectMeta) -> Option<Accrual> {
    let kind = read(meta, KIND, keys::FAILURE_ACCRUAL, |v| match v {
        "consecutive" => Ok(false),
        "unified" => Ok(true),
        other => Err(format!("{other:?} must be consecutive or unified")),
    })?;
    let time = |key| read(meta, KIND, key, |v| parse_duration(v).map_err(|e| e.to_string()));
    let max_failures = read(meta, KIND, keys::FAILURE_ACCRUAL_MAX_FAILURES, at_least_one);
    let default = Backoff::default();
    let min = time(keys::FAILURE_ACCRUAL_MIN_PENALTY).unwrap_or(default.min);
    let backoff = Backoff {
        min,
        max: time(keys::FAILURE_ACCRUAL_MAX_PENALTY).unwrap_or(default.max).max(min),
        jitter: read(meta, KIND, keys::FAILURE_ACCRUAL_JITTER, |v| share(v, 100.0)).unwrap_or(default.jitter),
        honor_retry_after: read(meta, KIND, keys::FAILURE_ACCRUAL_HONOR_RETRY_AFTER, parsed).unwrap_or(false),
    };
    let max_failures = max_failures.unwrap_or(DEFAULT_MAX_FAILURES);
    if !kind {
        return Some(Accrual::Consecutive { max_failures, backoff });
    }
    Some(Accrual::Unified {
        success_rate: read(meta, KIND, keys::FAILURE_ACCRUAL_SUCCESS_RATE, |v| share(v, 1.0)).unwrap_or(0.8),
        window: time(keys::FAILURE_ACCRUAL_WINDOW).unwrap_or(Duration::from_secs(10)),
        min_requests: read(meta, KIND, keys::FAILURE_ACCRUAL_MIN_REQUESTS, at_least_one).unwrap_or(5),
        max_failures,
        backoff,
    })
}

fn retry(meta: &ObjectMeta) -> Option<Retry> {
    let statuses = read(meta, KIND, keys::RETRY_HTTP, statuses)?;
    Some(Retry {
        statuses,
        limit: read(meta, KIND, keys::RETRY_LIMIT, parsed).unwrap_or(1),
        timeout: read(meta, KIND, keys::RETRY_TIMEOUT, |v| parse_duration(v).map_err(|e| e.to_string())),
    })
}

fn statuses(list: &str) -> Result<Vec<(u16, u16)>, String> {
    let wrong =
        |token: &str| format!("{token:?} must be 5xx, gateway-error, a status, or a range such as 500-504");
    let status = |text: &str| text.trim().parse::<u16>().ok().filter(|s| (100..600).contains(s));
    let one = |token: &str| match token {
        "5xx" => Ok((500, 599)),
        "gateway-error" => Ok((502, 504)),
        _ => {
            let (from, to) = token.split_once('-').unwrap_or((token, token));
            let range = status(from).zip(status(to)).filter(|(from, to)| from <= to);
            range.ok_or_else(|| wrong(token))
        }
    };
    list.split(',').map(str::trim).filter(|t| !t.is_empty()).map(one).collect()
}

fn at_least_one(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|n| *n > 0)
        .ok_or_else(|| format!("{text:?} must be a whole number of at least 1"))
}

fn share(text: &str, most: f64) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|n| (0.0..=most).contains(n));
    number.ok_or_else(|| format!("{text:?} must be a number from 0 to {most}"))
}

#[cfg(test)]
mod tests;
