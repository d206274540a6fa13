//! What a request has tried in vain, and what of that may be tried anew.

use crate::error::Error;
use crate::outbound::endpoint::Transport;
use smallvec::SmallVec;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long endpoints that are all tried are left alone; each time twice as long.
const PAUSE: Duration = Duration::from_millis(100);

/// The endpoints that a request has tried in vain.
pub(in crate::outbound) struct Tried {
    addrs: SmallVec<[SocketAddr; 4]>,
    waits: bool,
    /// The last one went with its connection, and all may be tried `once_more`.
    lost: bool,
    once_more: bool,
    rounds: u32,
    /// When the last wait ends, from the first one on.
    until: Option<Instant>,
}

/// How an endpoint failed a request that may go elsewhere.
#[derive(Clone, Copy, Debug)]
pub(in crate::outbound) struct Failure {
    /// With a connection that went away, which says nothing about the endpoint.
    pub(in crate::outbound) lost: bool,
    /// With the request at an application, perhaps: it is one that may be repeated once.
    pub(in crate::outbound) heard: bool,
    /// In a way that may pass.
    pub(in crate::outbound) passing: bool,
}

impl Failure {
    /// Of a connection that could not be made. What this proxy itself has run out of is not waited for: that would hold
    /// even more of it. A gateway that says no has waited itself.
    pub(in crate::outbound) fn to_connect(error: &Error, to: &Transport) -> Self {
        let waited = to.authority.is_some() && matches!(error, Error::Refused { .. });
        Self { lost: false, heard: false, passing: error.retry_safe() && !error.is_shortage() && !waited }
    }
}

impl Tried {
    /// None yet.
    pub(in crate::outbound) fn new() -> Self {
        Self { addrs: SmallVec::new(), waits: true, lost: false, once_more: true, rounds: 0, until: None }
    }

    /// One more.
    pub(in crate::outbound) fn add(&mut self, addr: SocketAddr, failure: Failure) {
        self.addrs.push(addr);
        self.waits &= failure.passing && (!failure.heard || self.once_more);
        self.lost = failure.lost && self.once_more;
    }

    /// Times that all were tried, and waited for.
    pub(in crate::outbound) fn rounds(&self) -> u32 {
        self.rounds
    }

    pub(super) fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Whether it makes sense to wait for those that were tried, all of them.
    pub(super) fn waits(&self) -> bool {
        self.waits
    }

    /// Where the last one was lost with its connection, once for a request: all may be tried again at once.
    pub(super) fn take_lost(&mut self) -> bool {
        let lost = std::mem::take(&mut self.lost);
        if lost {
            self.once_more = false;
            self.forget();
        }
        lost
    }

    /// When the wait that begins now is in vain: a request has `limit` for all its waits. And when those that were tried may
    /// be tried anew.
    pub(super) fn begin_wait(&mut self, limit: Duration) -> (Instant, Instant) {
        let now = Instant::now();
        let until = *self.until.get_or_insert(now + limit);
        (until.min(now + limit), now + PAUSE * (1 << self.rounds.min(16)))
    }

    /// All may be tried anew, after a pause, where that makes sense.
    pub(super) fn rested(&mut self) {
        if self.waits && !self.addrs.is_empty() {
            self.rounds += 1;
            self.once_more = false;
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.addrs.clear();
        self.waits = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(3);
    const REFUSED: Failure = Failure { lost: false, heard: false, passing: true };
    const LOST: Failure = Failure { lost: true, heard: true, passing: true };

    fn to(authority: Option<&str>) -> Transport {
        let authority = authority.map(|name| name.parse().unwrap());
        Transport { authority, ..Transport::plain(endpoint()) }
    }

    fn endpoint() -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], 80))
    }

    #[test]
    fn a_request_has_one_limit_for_all_its_waits_and_longer_pauses_each_time() {
        let mut tried = Tried::new();
        let mut until = None;
        for round in 0..5 {
            tried.add(endpoint(), REFUSED);
            assert!(tried.waits() && tried.rounds() == round);
            let before = Instant::now();
            let (deadline, again) = tried.begin_wait(LIMIT);
            assert_eq!(*until.get_or_insert(deadline), deadline);
            assert!(again >= before + PAUSE * 2_u32.pow(round));
            tried.rested();
            assert_eq!(tried.addrs(), &[]);
        }
    }

    #[test]
    fn one_that_is_not_worth_a_wait_is_enough() {
        let mut tried = Tried::new();
        tried.add(endpoint(), Failure { passing: false, ..REFUSED });
        tried.add(endpoint(), REFUSED);
        assert!(!tried.waits());
        tried.rested();
        assert_eq!(tried.addrs().len(), 2);
    }

    #[test]
    fn a_lost_connection_is_replaced_at_once_and_once() {
        let mut tried = Tried::new();
        tried.add(endpoint(), LOST);
        assert!(tried.take_lost() && tried.addrs().is_empty());
        tried.add(endpoint(), LOST);
        assert!(!tried.take_lost() && !tried.waits(), "it may have been carried out twice by now");
        assert_eq!((tried.addrs().len(), tried.rounds()), (1, 0));
    }

    #[test]
    fn what_was_heard_is_repeated_once_after_a_wait_too() {
        let mut tried = Tried::new();
        tried.add(endpoint(), LOST);
        tried.add(endpoint(), REFUSED);
        assert!(!tried.take_lost() && tried.waits());
        tried.rested();
        tried.add(endpoint(), Failure { heard: false, ..LOST });
        assert!(!tried.take_lost() && tried.waits(), "it was not sent");
        tried.rested();
        tried.add(endpoint(), LOST);
        assert!(!tried.take_lost() && !tried.waits());
    }

    #[test]
    fn what_this_proxy_has_run_out_of_is_not_waited_for() {
        let passing =
            |source| Failure::to_connect(&Error::Connect { addr: endpoint(), source }, &to(None)).passing;
        assert!(!passing(std::io::Error::from_raw_os_error(24)));
        assert!(passing(std::io::ErrorKind::ConnectionRefused.into()));
    }

    #[test]
    fn a_gateway_that_says_no_is_not_waited_for_once_more() {
        let refused = Error::Refused { addr: endpoint(), reason: "nobody".to_owned() };
        assert!(Failure::to_connect(&refused, &to(None)).passing);
        assert!(!Failure::to_connect(&refused, &to(Some("web.shop"))).passing);
    }
}
