//! One attempt: a request sent to one endpoint, and the answer before anybody has decided whether the client gets it.

use super::RETRY_SAFE;
use super::account::{Account, Route, grpc_status, is_success, retry_after};
use crate::body::Body;
use crate::error::Error;
use crate::http::limit::{Clock, Limited};
use crate::http::orig_proto;
use crate::http::replay::{self, Memory};
use crate::outbound::balancer::{Outcome, Ticket};
use crate::outbound::metrics::{BackendMetrics, Ended};
use crate::outbound::policy::RouteBackend;
use ::http::{Request, Response, StatusCode};
use http_body::Body as _;
use mesh_rules::apply_response;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// What one attempt needs.
pub(super) struct Sending<'a> {
    pub(super) backend: &'a RouteBackend,
    pub(super) metrics: Rc<BackendMetrics>,
    pub(super) ticket: Ticket,
    pub(super) request: Request<Body>,
    /// For this attempt, until its response begins.
    pub(super) limit: Option<Duration>,
    /// Of the whole exchange.
    pub(super) clock: Option<&'a Rc<Clock>>,
    pub(super) grpc: bool,
    /// The endpoint has refused this request before.
    pub(super) again: bool,
}

/// An answer that the client does not have yet.
pub(super) struct Answer {
    pub(super) response: Response<Body>,
    account: Account,
}

/// An attempt under way. When a limit of the exchange ends it, its endpoint has failed.
struct UnderWay<'a> {
    ticket: &'a Ticket,
    metrics: &'a BackendMetrics,
    clock: Option<&'a Rc<Clock>>,
    started: Instant,
    over: bool,
}

impl Sending<'_> {
    /// Sends the request.
    ///
    /// # Errors
    /// Why there is no response.
    pub(super) async fn send(self) -> Result<Answer, Error> {
        let started = Instant::now();
        let Self { backend, metrics, ticket, request, limit, clock, grpc, again } = self;
        metrics.requests.inc();
        ticket.peer().metrics.requests.inc();
        let pool = Rc::clone(&ticket.peer().pool);
        let mut under_way = UnderWay { ticket: &ticket, metrics: &metrics, clock, started, over: false };
        let mut sending = pin!(pool.send(request));
        let result = match limit {
            None => sending.await,
            Some(limit) => match Box::pin(tokio::time::timeout(limit, sending.as_mut())).await {
                Ok(result) => result,
                Err(_) => Err(Error::ResponseTimeout(limit)),
            },
        };
        under_way.over = true;
        drop(under_way);
        let mut response = match result {
            Ok(response) => response,
            Err(error) => {
                let ended = Ended { error: error.label(), ..Ended::default() };
                metrics.ended(ended, started.elapsed());
                if blames_endpoint(&error) {
                    ticket.settle(Outcome::FAILURE, Instant::now());
                }
                return Err(error);
            }
        };
        let now = Instant::now();
        ticket.answered(now - started, now);
        orig_proto::restore_response(&mut response);
        if ticket.peer().endpoint.transport.tls.is_none() {
            // Only proxies of the mesh are believed that nothing reached an application.
            response.headers_mut().remove(&RETRY_SAFE);
        }
        if again && response.headers().contains_key(&RETRY_SAFE) {
            ticket.repeats();
        }
        apply_response(&backend.filters, response.headers_mut());
        let account = Account::of(ticket, metrics, &response, grpc, (started, now));
        Ok(Answer { response, account })
    }
}

/// Whether the endpoint is to blame. Failed connections are accounted for where they are made, and a client that breaks
/// off its own request says nothing about the server.
fn blames_endpoint(error: &Error) -> bool {
    match error {
        Error::Connect { .. } | Error::ConnectTimeout { .. } | Error::Tls { .. } => false,
        // Connections that nobody uses are everybody's to close.
        Error::Dropped(_) => false,
        Error::Request(error) => !error.is_user(),
        _ => true,
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.over && self.clock.is_some_and(|clock| clock.expired()) {
            self.ticket.settle(Outcome::FAILURE, Instant::now());
            let error = Error::RequestTimeout(Duration::ZERO).label();
            self.metrics.ended(Ended { error, ..Ended::default() }, self.started.elapsed());
        }
    }
}

impl Answer {
    /// Whether the endpoint failed, as far as is known.
    pub(super) fn failed(&self) -> bool {
        !is_success(self.response.status(), self.account.grpc_status())
    }

    /// Whether a proxy of the mesh answers, in place of an application that it could not reach.
    pub(super) fn refuses(&self) -> bool {
        self.response.headers().contains_key(&RETRY_SAFE)
    }

    /// The gRPC status, if it has come already.
    pub(super) fn grpc_status(&self) -> Option<u16> {
        self.account.grpc_status().or_else(|| grpc_status(self.response.headers()))
    }

    /// For how long the endpoint asks to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        retry_after(self.response.headers())
    }

    /// Looks whether the trailers are here already, so that a gRPC failure without messages can be tried again. Does not
    /// wait: a stream's first message may be long in coming.
    ///
    /// # Errors
    /// When the body failed at once.
    pub(super) async fn peeked(mut self, memory: &Arc<Memory>) -> Result<Self, Error> {
        let known = !self.account.is_grpc() || self.account.grpc_status().is_some();
        if known || self.response.status() != StatusCode::OK {
            return Ok(self);
        }
        let body = self.response.body_mut();
        let frame = poll_fn(|cx| {
            Poll::Ready(match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => None,
            })
        });
        let frame = match frame.await {
            None => return Ok(self),
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                self.account.broke(&error);
                return Err(error);
            }
        };
        match frame.into_data() {
            Ok(data) => {
                let rest = std::mem::take(body);
                *body = replay::resumed(data, rest, memory);
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    *body = Body::Trailers(Box::new(trailers.clone()));
                    self.account.told(grpc_status(&trailers));
                }
            }
        }
        Ok(self)
    }

    /// The response for the client, accounted for to its end and held to the limits of the exchange.
    pub(super) fn give(self, route: Route, clock: Option<&Rc<Clock>>) -> Response<Body> {
        let Self { response, account } = self;
        let account = account.for_client(route);
        response.map(|body| {
            let body = match clock {
                Some(clock) if !body.is_end_stream() => {
                    Body::Limited(Box::new(Limited::new(body, Rc::clone(clock))))
                }
                _ => body,
            };
            body.observed(account)
        })
    }

    /// The client will get another answer, where there is one.
    pub(super) fn step_aside(&self) {
        self.account.step_aside();
    }

    /// The client gets another answer.
    pub(super) fn discard(self) {
        self.account.judged();
    }
}
