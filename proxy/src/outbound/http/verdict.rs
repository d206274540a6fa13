//! What becomes of a request after an attempt: it is answered, goes elsewhere, or is tried again by policy.
//!
//! What may be repeated, and why it is safe:
//! - nothing of the request reached an application (no connection, a stream that the server refused, a mesh proxy that
//!   says so): always, whatever the method, on another endpoint, which may be waited for (`outbound/place.rs`);
//! - a kept connection ended as an idempotent request was on its way, or a new one was reset: always, on another endpoint,
//!   or the same where there is no other;
//! - the route's retry policy covers the outcome: as often as it says, within its limits and the destination's budget;
//! - a connection, ours or that of the endpoint's proxy to its application, broke after the request was written, so that
//!   nobody knows whether it was carried out: only where
//!   doing it twice is like doing it once (RFC 9110, 9.2.2), and only on a route with tiers, whose owner has asked for
//!   failover; once, within the budget. A request of another method is answered with the error.

use super::RETRY_SAFE;
use super::attempt::Template;
use super::send::Answer;
use crate::body::Body;
use crate::error::Error;
use crate::outbound::metrics::RouteMetrics;
use crate::outbound::policy::Retry;
use ::http::{Response, StatusCode};
use mesh_balance::RetryBudget;
use mesh_http2::Code;
use mesh_types::headers;
use std::time::{Duration, Instant};

/// Endpoints a request is tried on without a pause when nothing of it reached an application.
const MAX_SAFE_ATTEMPTS: usize = 8;

/// What to do after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Give the outcome to the client.
    Give,
    /// Try another endpoint.
    Elsewhere,
    /// Try again after a pause.
    Again(Duration),
}

/// The outcome of an attempt, judged by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing more to do.
    Final,
    /// Nothing reached an application, and no proxy heard of it.
    Unheard,
    /// Nothing reached an application, says whoever got the request.
    Refused,
    /// The connection broke; the request may have been carried out.
    Broken,
    /// The route's retry policy covers it.
    Covered,
}

/// The attempts of one request.
pub(super) struct Attempts<'a> {
    pub(super) template: &'a Template,
    pub(super) retry: Option<&'a Retry>,
    pub(super) budget: &'a RetryBudget,
    pub(super) metrics: &'a RouteMetrics,
    /// Whether the route has somewhere else to go.
    pub(super) tiered: bool,
    round: u32,
    safe: usize,
    refusals: u32,
    retries: u32,
    moved: bool,
}

impl<'a> Attempts<'a> {
    /// None yet.
    pub(super) fn new(
        template: &'a Template,
        retry: Option<&'a Retry>,
        budget: &'a RetryBudget,
        metrics: &'a RouteMetrics,
        tiered: bool,
    ) -> Self {
        let (round, safe, refusals, retries) = (0, 0, 0, 0);
        Self { template, retry, budget, metrics, tiered, round, safe, refusals, retries, moved: false }
    }

    /// Says how often all endpoints were tried and waited for. What has waited comes anew.
    pub(super) fn in_round(&mut self, round: u32) {
        if self.round != round {
            (self.round, self.safe, self.refusals) = (round, 0, 0);
        }
    }

    /// The limit for the next attempt. The last one has as long as the whole request.
    pub(super) fn limit(&self) -> Option<Duration> {
        self.retry.filter(|retry| self.retries < retry.max).and_then(|retry| retry.timeout)
    }

    /// What to do after an attempt.
    pub(super) fn after(&mut self, result: &Result<Answer, Error>) -> Step {
        let idempotent = self.template.is_idempotent();
        let verdict = match result {
            Ok(answer) => of_response(&answer.response, answer.grpc_status(), self.retry, idempotent),
            Err(error) => of_error(error, self.retry, idempotent),
        };
        match verdict {
            Verdict::Final => {
                if self.retries > 0 && result.as_ref().is_ok_and(|answer| !answer.failed()) {
                    self.metrics.retry_successes.inc();
                }
                Step::Give
            }
            Verdict::Unheard | Verdict::Refused => self.elsewhere(verdict == Verdict::Refused),
            Verdict::Broken => self.over(),
            Verdict::Covered => self.again(result.as_ref().ok().and_then(Answer::retry_after)),
        }
    }

    /// A refusal costs whoever refuses it something, too: where everybody is overloaded, requests must not go round.
    fn elsewhere(&mut self, refused: bool) -> Step {
        self.safe += 1;
        self.refusals += u32::from(refused);
        if self.safe >= MAX_SAFE_ATTEMPTS || !self.template.can_repeat(usize::MAX) {
            return Step::Give;
        }
        if refused && self.refusals > 1 && !self.allowed() {
            return Step::Give;
        }
        Step::Elsewhere
    }

    fn over(&mut self) -> Step {
        if !self.tiered || self.moved || !self.template.can_repeat(usize::MAX) || !self.allowed() {
            return Step::Give;
        }
        self.moved = true;
        Step::Elsewhere
    }

    fn again(&mut self, asked: Option<Duration>) -> Step {
        let Some(retry) = self.retry else { return Step::Give };
        if self.retries >= retry.max {
            self.metrics.retry_limited.inc();
            return Step::Give;
        }
        if !self.template.can_repeat(retry.max_bytes) || !self.allowed() {
            return Step::Give;
        }
        let pause = retry.pause(self.retries, asked);
        self.retries += 1;
        self.metrics.retries.inc();
        Step::Again(pause)
    }

    fn allowed(&self) -> bool {
        let allowed = self.budget.withdraw(Instant::now());
        if !allowed {
            self.metrics.retry_overflow.inc();
        }
        allowed
    }
}

fn covers(retry: &Retry, status: StatusCode, grpc: Option<u16>) -> bool {
    match grpc {
        Some(code) => retry.grpc.contains(&code),
        None => retry.statuses.iter().any(|range| range.contains(&status.as_u16())),
    }
}

fn of_response(
    response: &Response<Body>,
    grpc: Option<u16>,
    retry: Option<&Retry>,
    idempotent: bool,
) -> Verdict {
    let said = response.headers().get(&RETRY_SAFE);
    let broken = said.is_some_and(|said| said == headers::BROKEN);
    if said.is_some() && !broken {
        return Verdict::Refused;
    }
    let grpc = grpc.filter(|code| *code != 0);
    match retry {
        Some(retry) if covers(retry, response.status(), grpc) => Verdict::Covered,
        _ if broken && idempotent => Verdict::Broken,
        _ => Verdict::Final,
    }
}

fn of_error(error: &Error, retry: Option<&Retry>, idempotent: bool) -> Verdict {
    const UNAVAILABLE: u16 = 14;
    if error.retry_safe() {
        return Verdict::Unheard;
    }
    if refused(error, idempotent) {
        return Verdict::Refused;
    }
    match error {
        // The limit of one attempt is there for the next one.
        Error::ResponseTimeout(_) if retry.is_some() => Verdict::Covered,
        // The client's own body failed: the server has nothing to do with it.
        Error::Request(source) if source.is_user() => Verdict::Final,
        Error::Request(_) => {
            let as_status = |retry: &Retry| {
                covers(retry, StatusCode::BAD_GATEWAY, None)
                    || covers(retry, StatusCode::OK, Some(UNAVAILABLE))
            };
            match retry {
                Some(retry) if as_status(retry) => Verdict::Covered,
                _ if idempotent => Verdict::Broken,
                _ => Verdict::Final,
            }
        }
        _ => Verdict::Final,
    }
}

/// Whether the server said that it did not process the request. A connection that goes away gracefully processes the
/// streams it has; when it breaks off later this cannot be told apart, so only idempotent requests are tried again.
fn refused(error: &Error, idempotent: bool) -> bool {
    let Error::Request(error) = error else { return false };
    let Some(error) = error.http2() else { return false };
    error.is_unprocessed() || (idempotent && error.is_go_away() && error.reason() == Some(Code::NO_ERROR))
}

#[cfg(test)]
mod tests;
