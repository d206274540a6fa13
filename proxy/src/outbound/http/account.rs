//! What a response says about the endpoint, about trying again, and in metrics.

use super::RETRY_SAFE;
use crate::body::{Body, End, Observe};
use crate::error::Error;
use crate::outbound::balancer::Ticket;
use crate::outbound::metrics::{BackendMetrics, Outcome};
use crate::outbound::policy::Retry;
use ::http::{HeaderMap, Response, StatusCode};
use std::error::Error as _;
use std::rc::Rc;
use std::time::Instant;

/// What to do with the outcome of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Give it to the client.
    Final,
    /// Nothing reached an application: try another endpoint.
    Safe,
    /// The route's retry policy covers it.
    Retry,
}

/// Judges the outcome of an attempt.
pub(super) fn verdict(
    result: &Result<Response<Body>, Error>,
    retry: Option<&Retry>,
    idempotent: bool,
) -> Verdict {
    let covered = |retry: &Retry, status: StatusCode, grpc: Option<u16>| match grpc {
        Some(code) => retry.grpc.contains(&code),
        None => retry.statuses.iter().any(|range| range.contains(&status.as_u16())),
    };
    match result {
        Ok(response) if response.headers().contains_key(&RETRY_SAFE) => Verdict::Safe,
        Ok(response) => {
            let grpc = grpc_status(response.headers()).filter(|code| *code != 0);
            let again = retry.is_some_and(|retry| covered(retry, response.status(), grpc));
            if again { Verdict::Retry } else { Verdict::Final }
        }
        Err(error) if error.retry_safe() || refused(error, idempotent) => Verdict::Safe,
        Err(Error::Request(_) | Error::ResponseTimeout(_)) => {
            let unavailable = Some(14);
            let again = retry.is_some_and(|retry| {
                covered(retry, StatusCode::BAD_GATEWAY, None)
                    || covered(retry, StatusCode::GATEWAY_TIMEOUT, None)
                    || covered(retry, StatusCode::OK, unavailable)
            });
            if again { Verdict::Retry } else { Verdict::Final }
        }
        Err(_) => Verdict::Final,
    }
}

/// Whether the server said that it did not process the request. A connection that goes away gracefully processes the
/// streams it has; when it breaks off later this cannot be told apart, so only idempotent requests are tried again.
fn refused(error: &Error, idempotent: bool) -> bool {
    let Error::Request(error) = error else { return false };
    let Some(error) = error.source().and_then(|source| source.downcast_ref::<h2::Error>()) else {
        return false;
    };
    error.reason() == Some(h2::Reason::REFUSED_STREAM)
        || (idempotent && error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR))
}

/// Accounts for one exchange once its response has ended.
pub(super) struct Account {
    ticket: Ticket,
    backend: Rc<BackendMetrics>,
    status: StatusCode,
    grpc: bool,
    grpc_status: Option<u16>,
    started: Instant,
}

impl Account {
    /// Judges the response's head; gRPC is judged by its trailers unless the head has the status already.
    pub(super) fn of(
        ticket: Ticket,
        backend: Rc<BackendMetrics>,
        response: &Response<Body>,
        grpc: bool,
        started: Instant,
    ) -> Self {
        let status = response.status();
        let grpc_status = if grpc { grpc_status(response.headers()) } else { None };
        if !grpc || status != StatusCode::OK || grpc_status.is_some() {
            ticket.settle(is_success(status, grpc_status));
        }
        Self { ticket, backend, status, grpc, grpc_status, started }
    }

    /// Watches the body to its end.
    pub(super) fn observe(self, response: Response<Body>) -> Response<Body> {
        response.map(|body| body.observed(self))
    }
}

impl Observe for Account {
    fn data(&mut self, _: usize) {}

    fn end(&mut self, end: End<'_>) {
        let failed = match end {
            End::Complete(trailers) => {
                self.grpc_status = trailers.and_then(grpc_status).or(self.grpc_status);
                false
            }
            End::Failed(_) => true,
            // The client has lost interest, which says nothing about the endpoint.
            End::Dropped => return,
        };
        let grpc = self.grpc.then(|| self.grpc_status.unwrap_or(2));
        let success = !failed && is_success(self.status, grpc);
        self.ticket.settle(success);
        let outcome = Outcome { status: self.status, grpc, success };
        let seconds = self.started.elapsed().as_secs_f64();
        self.backend.duration.observe(seconds);
        self.ticket.peer().metrics.response(outcome, seconds * 1000.0);
    }
}

/// gRPC statuses that are the server's fault, as Linkerd classifies them.
fn is_success(status: StatusCode, grpc: Option<u16>) -> bool {
    const FAILURES: [u16; 6] = [2, 4, 12, 13, 14, 15];
    !status.is_server_error() && grpc.is_none_or(|code| !FAILURES.contains(&code))
}

fn grpc_status(headers: &HeaderMap) -> Option<u16> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
