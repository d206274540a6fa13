//! Leave to use an endpoint, and what its use says about it.

use super::{Common, Peer};
use crate::outbound::endpoint::Backend;
use mesh_balance::{Admission, Failure};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Leave to use an endpoint for one request or connection, which counts as its load until dropped.
pub(in crate::outbound) struct Ticket {
    peer: Rc<Peer>,
    backend: Arc<Backend>,
    common: Rc<Common>,
    admission: Admission,
    settled: Cell<bool>,
    released: Cell<bool>,
}

/// How the use of an endpoint went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::outbound) struct Outcome {
    /// Whether the endpoint failed.
    pub(in crate::outbound) failed: bool,
    /// Whether the endpoint said that it has too much to do.
    pub(in crate::outbound) limited: bool,
    /// For how long the endpoint asked to be left alone.
    pub(in crate::outbound) retry_after: Option<Duration>,
}

impl Outcome {
    /// It worked.
    pub(in crate::outbound) const SUCCESS: Self = Self { failed: false, limited: false, retry_after: None };
    /// It did not, for a reason of which no more is known.
    pub(in crate::outbound) const FAILURE: Self = Self { failed: true, limited: false, retry_after: None };
}

impl Ticket {
    pub(super) fn new(
        peer: Rc<Peer>,
        backend: Arc<Backend>,
        common: Rc<Common>,
        admission: Admission,
    ) -> Self {
        common.load.begin();
        peer.load.inflight.set(peer.load.inflight.get() + 1);
        if backend.setup.max_in_flight > 0 {
            peer.endpoint.health.in_flight().fetch_add(1, Relaxed);
        }
        Self { peer, backend, common, admission, settled: Cell::new(false), released: Cell::new(false) }
    }

    /// The endpoint.
    pub(in crate::outbound) fn peer(&self) -> &Rc<Peer> {
        &self.peer
    }

    /// A response began after this time, now.
    pub(in crate::outbound) fn answered(&self, after: Duration, now: Instant) {
        self.peer.load.ewma.borrow_mut().record(after, now);
    }

    /// How the use went, for failure accrual and load; the first word counts.
    pub(in crate::outbound) fn settle(&self, outcome: Outcome, now: Instant) {
        if self.settled.replace(true) {
            return;
        }
        let setup = &self.backend.setup;
        if let Some(penalty) = setup.ewma.penalty.filter(|_| outcome.failed || outcome.limited) {
            self.peer.load.ewma.borrow_mut().penalize(penalty.of(outcome.retry_after), now);
        }
        let health = &self.peer.endpoint.health;
        // An endpoint that says when to come back is not to be asked before, where that is honoured.
        let asked = setup.accrual.honor_retry_after && outcome.limited && outcome.retry_after.is_some();
        if !outcome.failed && !asked {
            if health.succeeded(self.admission, now) {
                self.changed(true, now);
                self.backend.recovered.notify_waiters();
            }
            return;
        }
        let failure = Failure {
            may_eject: self.backend.may_eject(),
            random: rand::random(),
            retry_after: outcome.retry_after,
        };
        if let Some(cause) = health.failed(self.admission, failure, now) {
            self.common.metrics.ejected(&self.backend.labels, cause);
            self.changed(false, now);
        }
    }

    /// The endpoint fails a request that waits for it in the same way again, which says no more of it than the first time.
    /// A trial is to be judged all the same.
    pub(in crate::outbound) fn repeats(&self) {
        if self.admission == Admission::Normal {
            self.settled.set(true);
        }
    }

    /// Ends the use before the ticket is dropped: others may have the endpoint.
    pub(in crate::outbound) fn release(&self) {
        if self.released.replace(true) {
            return;
        }
        self.common.load.end();
        let inflight = &self.peer.load.inflight;
        inflight.set(inflight.get().saturating_sub(1));
        if self.backend.setup.max_in_flight > 0 {
            self.peer.endpoint.health.in_flight().fetch_sub(1, Relaxed);
            if self.backend.waiting.load(Relaxed) > 0 {
                self.backend.recovered.notify_one();
            }
        }
    }

    fn changed(&self, back: bool, now: Instant) {
        tracing::info!(endpoint = %self.peer.endpoint.addr, back, backend = %self.backend.name, "failure accrual");
        self.backend.standing(now);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.release();
    }
}
