//! What a response says about the endpoint, and in metrics, once it has ended.

use super::ResolvedRule;
use crate::body::{Body, End, Observe};
use crate::error::Error;
use crate::outbound::balancer::{Outcome, Ticket};
use crate::outbound::metrics::{self, BackendMetrics, Ended};
use ::http::{HeaderMap, HeaderName, Response, StatusCode, header};
use std::rc::Rc;
use std::time::{Duration, Instant};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// What gRPC says of a response without a status that can be read.
const UNKNOWN: u16 = 2;
/// The gRPC status of a server that has too much to do.
const RESOURCE_EXHAUSTED: u16 = 8;
/// What the client did when it went away.
const CANCELED: &str = "canceled";

/// The route of the request, and when the request began.
pub(super) struct Route {
    pub(super) rule: Rc<ResolvedRule>,
    pub(super) began: Instant,
}

/// Accounts for one exchange once its response has ended.
pub(super) struct Account {
    ticket: Ticket,
    backend: Rc<BackendMetrics>,
    /// Where this is the response that the client gets.
    route: Option<Route>,
    status: StatusCode,
    grpc: bool,
    grpc_status: Option<u16>,
    retry_after: Option<Duration>,
    started: Instant,
}

impl Account {
    /// Judges the response's head, which came `now`; gRPC is judged by its trailers unless the head has the status
    /// already.
    pub(super) fn of(
        ticket: Ticket,
        backend: Rc<BackendMetrics>,
        response: &Response<Body>,
        grpc: bool,
        (started, now): (Instant, Instant),
    ) -> Self {
        let (status, map) = (response.status(), response.headers());
        let grpc_status = if grpc { grpc_status(map) } else { None };
        let asked = !is_success(status, grpc_status) || is_limited(status, grpc_status);
        let retry_after = if asked { retry_after(map) } else { None };
        let account = Self { ticket, backend, route: None, status, grpc, grpc_status, retry_after, started };
        if !grpc || status != StatusCode::OK || grpc_status.is_some() {
            account.settle(false, now);
        }
        account
    }

    pub(super) fn is_grpc(&self) -> bool {
        self.grpc
    }

    pub(super) fn grpc_status(&self) -> Option<u16> {
        self.grpc_status
    }

    /// The trailers have come before the body was given to anybody.
    pub(super) fn told(&mut self, grpc_status: Option<u16>) {
        self.grpc_status = Some(grpc_status.unwrap_or(UNKNOWN));
        self.settle(false, Instant::now());
    }

    /// The client gets this response.
    pub(super) fn for_client(self, route: Route) -> Self {
        Self { route: Some(route), ..self }
    }

    /// The client will get another one, where there is one: the endpoint has done what it could.
    pub(super) fn step_aside(&self) {
        self.ticket.release();
    }

    /// The client gets another one; this one is judged by what is known of it.
    pub(super) fn judged(mut self) {
        self.end(End::Complete(None));
    }

    /// The body failed before it was given to anybody.
    pub(super) fn broke(mut self, error: &Error) {
        self.end(End::Failed(error));
    }

    fn settle(&self, broken: bool, now: Instant) {
        let outcome = Outcome {
            failed: broken || !is_success(self.status, self.grpc_status),
            limited: is_limited(self.status, self.grpc_status),
            retry_after: self.retry_after,
        };
        self.ticket.settle(outcome, now);
    }

    fn ended(&self, error: &'static str, now: Instant) {
        let ended = Ended { status: Some(self.status), grpc: self.grpc_status, error };
        self.backend.ended(ended, now - self.started);
        if let Some(route) = &self.route {
            route.rule.metrics.ended(ended, now - route.began);
        }
    }
}

impl Observe for Account {
    fn data(&mut self, len: usize) {
        self.backend.frames.observe(len as f64);
    }

    fn end(&mut self, end: End<'_>) {
        let now = Instant::now();
        let error = match end {
            End::Complete(trailers) => {
                self.grpc_status = trailers.and_then(grpc_status).or(self.grpc_status);
                ""
            }
            End::Failed(error) => error.label(),
            // The client has lost interest, which says nothing about the endpoint.
            End::Dropped => return self.ended(CANCELED, now),
        };
        if self.grpc {
            self.grpc_status.get_or_insert(UNKNOWN);
        }
        self.settle(!error.is_empty(), now);
        self.ended(error, now);
        let success = error.is_empty() && is_success(self.status, self.grpc_status);
        let outcome = metrics::Outcome { status: self.status, grpc: self.grpc_status, success };
        self.ticket.peer().metrics.response(outcome, (now - self.started).as_secs_f64() * 1000.0);
    }
}

/// gRPC statuses that are the server's fault, as Linkerd classifies them.
pub(super) fn is_success(status: StatusCode, grpc: Option<u16>) -> bool {
    const FAILURES: [u16; 6] = [2, 4, 12, 13, 14, 15];
    !status.is_server_error() && grpc.is_none_or(|code| !FAILURES.contains(&code))
}

/// Whether the server says that it has too much to do, or that the client asks too often.
fn is_limited(status: StatusCode, grpc: Option<u16>) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || grpc == Some(RESOURCE_EXHAUSTED)
}

pub(super) fn grpc_status(headers: &HeaderMap) -> Option<u16> {
    headers.get(&GRPC_STATUS)?.to_str().ok()?.parse().ok()
}

/// For how long a server asks to be left alone: `Retry-After` in seconds (a date counts as nothing said), or gRPC's
/// pushback in milliseconds.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    let seconds = number(header::RETRY_AFTER.as_str()).map(Duration::from_secs);
    seconds.or_else(|| number("grpc-retry-pushback-ms").map(Duration::from_millis))
}

#[cfg(test)]
mod tests;
