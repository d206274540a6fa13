//! Where a request or connection goes: through distributions and tiers to one endpoint, waiting where that may help.
//!
//! There is one wait, within the queue and the failfast timeout of a backend: for an endpoint to be ready where none is, and
//! for news of endpoints where each has been tried and nothing reached an application. In a rolling update the last endpoint
//! that a proxy knows of refuses for as long as the next one is not told. What was tried is tried anew when it is ready and
//! has been left alone for a while, as an application may be back at the same address.

mod tried;

pub(super) use tried::{Failure, Tried};

use super::Outbound;
use super::balancer::{Ticket, Use};
use super::endpoint::{Backend, Known};
use super::metrics::BalancerMetrics;
use super::policy::{Distribution, RouteBackend};
use crate::error::Error;
use mesh_balance::{Choice, Standing, choose};
use rand::RngExt;
use smallvec::SmallVec;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How long a better tier may hold up a request: while nothing is known of it yet, and where all refuse its gateway.
const PENDING: Duration = Duration::from_secs(1);
/// How often a waiting request looks again, besides being told.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A place for a request: the backend of the route, and the endpoint.
pub(super) type Place<'a> = (&'a RouteBackend, Ticket);

impl Outbound {
    /// Finds an endpoint that was not `tried`, or may be tried anew. Waits where endpoints are known but none is ready, or
    /// all were tried and may be back; fails at once where there are none.
    pub(super) async fn place<'a>(
        &self,
        distribution: &'a Distribution,
        tried: &mut Tried,
        for_: Use,
    ) -> Result<Place<'a>, Error> {
        let mut now = Instant::now();
        if let Distribution::First(tiers, _) = distribution
            && discovered(tiers, now).await
        {
            now = Instant::now();
        }
        if let Some(place) = self.try_place(distribution, tried.addrs(), for_, now) {
            return Ok(place);
        }
        let backends = distribution.backends();
        let all_known = backends.iter().all(|b| b.backend.current().known != Known::Pending);
        if all_known
            && tried.take_lost()
            && let Some(place) = self.try_place(distribution, tried.addrs(), for_, now)
        {
            return Ok(place);
        }
        let hopeful = |b: &&RouteBackend| {
            let set = b.backend.current();
            let untried = set.endpoints.iter().any(|e| !tried.addrs().contains(&e.addr));
            let later = tried.waits() && !set.endpoints.is_empty() && b.backend.may_change();
            set.known == Known::Pending || untried || later
        };
        let hopeful: SmallVec<[&RouteBackend; 4]> = backends.iter().copied().filter(hopeful).collect();
        if hopeful.is_empty() {
            return Err(Error::NoEndpoints(reasons(&backends).into()));
        }
        let Some(waiting_for) = hopeful.iter().find(|b| !b.backend.in_failfast()) else {
            return Err(Error::Failfast(reasons(&backends).into()));
        };
        Box::pin(self.wait(distribution, &waiting_for.backend, tried, for_)).await
    }

    async fn wait<'a>(
        &self,
        distribution: &'a Distribution,
        backend: &Arc<Backend>,
        tried: &mut Tried,
        for_: Use,
    ) -> Result<Place<'a>, Error> {
        let balancer = self.balancer(backend);
        let _waiting = Waiting::begin(backend, balancer.metrics(backend, for_))?;
        let mut limit = backend.setup.failfast_timeout;
        if self.config.gateway.is_some() && !tried.addrs().is_empty() {
            // Its client may have another tier.
            limit = limit.min(PENDING);
        }
        let (deadline, again) = tried.begin_wait(limit);
        loop {
            // Either is only a reason to look again.
            let _ = tokio::time::timeout(LOOK_AGAIN, backend.recovered.notified()).await;
            let now = Instant::now();
            if now >= again {
                tried.rested();
            }
            if let Some(place) = self.try_place(distribution, tried.addrs(), for_, now) {
                return Ok(place);
            }
            if now < deadline {
                continue;
            }
            if backend.is_busy() {
                return Err(Error::Overloaded("every endpoint has all the requests it may have"));
            }
            if !backend.failfast.swap(true, Relaxed) {
                balancer.metrics(backend, for_).gate(false);
            }
            return Err(Error::Failfast(reasons(&distribution.backends()).into()));
        }
    }

    /// An endpoint of the backend has taken a request: the next ones may wait again.
    pub(super) fn taken(&self, backend: &Arc<Backend>, for_: Use) {
        if backend.in_failfast() && backend.failfast.swap(false, Relaxed) {
            self.balancer(backend).metrics(backend, for_).gate(true);
        }
    }

    fn try_place<'a>(
        &self,
        distribution: &'a Distribution,
        tried: &[SocketAddr],
        for_: Use,
        now: Instant,
    ) -> Option<Place<'a>> {
        let pick = |backend: &'a RouteBackend| {
            let balancer = self.balancer(&backend.backend);
            Some((backend, balancer.pick(&backend.backend, tried, for_, now)?))
        };
        match distribution {
            Distribution::Empty => None,
            Distribution::First(tiers, _) if tiers.len() == 1 => pick(&tiers[0]),
            Distribution::First(tiers, shared) => {
                let standing = |b: &RouteBackend| b.backend.standing(now).unwrap_or(Standing::Down);
                let standings: SmallVec<[Standing; 8]> = tiers.iter().map(standing).collect();
                let first = match choose(&standings, &shared.passed) {
                    Choice::Serve(index) | Choice::Probe(index) => index,
                    Choice::Nothing => 0,
                };
                let chosen = tiers.get(first)?;
                // Tiers that are passed over have no request to find out that they are back.
                for (tier, _) in tiers.iter().zip(&standings).filter(|(_, s)| **s == Standing::Down) {
                    self.balancer(&tier.backend).revive(&tier.backend, for_);
                }
                // The next tiers take what the chosen one cannot, in order; a tier that is not up only as the last resort.
                let others = || tiers.iter().zip(&standings).filter(|(b, _)| !std::ptr::eq(*b, chosen));
                let up = others().filter(|(_, s)| **s == Standing::Up);
                let rest = others().filter(|(_, s)| **s != Standing::Up);
                pick(chosen).or_else(|| up.chain(rest).find_map(|(backend, _)| pick(backend)))
            }
            Distribution::Random(list) => {
                // A backend that has nothing to offer leaves its share to the others, in proportion to their weights.
                let mut left: SmallVec<[&(RouteBackend, u32); 4]> =
                    list.iter().filter(|(_, weight)| *weight > 0).collect();
                while !left.is_empty() {
                    let (backend, _) = left.remove(drawn(&left));
                    if let Some(place) = pick(backend) {
                        return Some(place);
                    }
                }
                None
            }
        }
    }
}

/// The position of one of them at random, in proportion to their weights, which are not all zero.
fn drawn(list: &[&(RouteBackend, u32)]) -> usize {
    if list.len() == 1 {
        return 0;
    }
    let total: u64 = list.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let mut ticket = rand::rng().random_range(0..total.max(1));
    let found = list.iter().position(|(_, weight)| {
        let here = ticket < u64::from(*weight);
        ticket = ticket.saturating_sub(u64::from(*weight));
        here
    });
    found.unwrap_or(0)
}

impl Distribution {
    fn backends(&self) -> SmallVec<[&RouteBackend; 4]> {
        match self {
            Self::Empty => SmallVec::new(),
            Self::First(tiers, _) => tiers.iter().collect(),
            Self::Random(list) => list.iter().map(|(backend, _)| backend).collect(),
        }
    }
}

/// Waits for tiers of which nothing is known, as long as no better one is up. Says whether it did.
async fn discovered(tiers: &[RouteBackend], now: Instant) -> bool {
    let mut waited = false;
    for tier in tiers {
        match tier.backend.standing(now) {
            Some(Standing::Up) => break,
            Some(_) => {}
            None => {
                waited = true;
                Box::pin(tier.backend.known(PENDING)).await;
                if tier.backend.standing(Instant::now()) == Some(Standing::Up) {
                    break;
                }
            }
        }
    }
    waited
}

fn reasons(backends: &[&RouteBackend]) -> String {
    if backends.is_empty() {
        return "the route (it has no backends)".to_owned();
    }
    let reasons: Vec<_> = backends.iter().map(|b| b.backend.reason()).collect();
    reasons.join(", ")
}

/// One request in a backend's queue.
struct Waiting<'a> {
    backend: &'a Backend,
    metrics: &'a BalancerMetrics,
    since: Instant,
}

impl<'a> Waiting<'a> {
    fn begin(backend: &'a Backend, metrics: &'a BalancerMetrics) -> Result<Self, Error> {
        if backend.waiting.fetch_add(1, Relaxed) >= backend.setup.queue_capacity {
            backend.waiting.fetch_sub(1, Relaxed);
            return Err(Error::Overloaded("too many requests wait for an endpoint"));
        }
        metrics.queued();
        Ok(Self { backend, metrics, since: Instant::now() })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.backend.waiting.fetch_sub(1, Relaxed);
        self.metrics.unqueued(self.since.elapsed());
    }
}
