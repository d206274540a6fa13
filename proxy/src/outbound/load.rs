//! What a proxy has taken on, all workers together: it refuses more before memory is at risk.

mod memory;

use crate::config::Outbound;
use crate::error::Error;
use crate::http::replay::Memory;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

pub(super) use memory::watch;

/// Requests and connections in flight, and the memory for bodies that may have to be sent again.
#[derive(Debug)]
pub(super) struct Load {
    in_flight: AtomicUsize,
    most: usize,
    /// The memory that the container may use is nearly used up.
    tight: AtomicBool,
    /// Memory for bodies.
    pub(super) bodies: Arc<Memory>,
}

impl Load {
    /// Nothing yet.
    pub(super) fn new(config: &Outbound) -> Arc<Self> {
        let bodies = Memory::new(config.max_buffered_bytes);
        let (in_flight, tight) = (AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Self { in_flight, most: config.http.max_in_flight, tight, bodies })
    }

    /// Whether one more may come. What waits for an endpoint is not in flight; queues have bounds of their own.
    ///
    /// # Errors
    /// [`Error::Overloaded`].
    pub(super) fn admit(&self) -> Result<(), Error> {
        if self.in_flight.load(Relaxed) >= self.most {
            return Err(Error::Overloaded("too many requests are in flight"));
        }
        // While nothing is in flight, refusing would free nothing.
        if self.tight.load(Relaxed) && self.in_flight.load(Relaxed) > 0 {
            return Err(Error::Overloaded("the proxy's memory is nearly used up"));
        }
        Ok(())
    }

    /// One more is on its way to an endpoint.
    pub(super) fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// One has ended.
    pub(super) fn end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    fn set_tight(&self, tight: bool) {
        if self.tight.swap(tight, Relaxed) != tight {
            tracing::warn!(tight, "memory of the container");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(max_in_flight: &str) -> Arc<Load> {
        let settings = [
            ("IDENTITY_LOCAL_NAME", "web.shop.serviceaccount.identity.linkerd.cluster.local"),
            ("IDENTITY_TRUST_ANCHORS", "-----BEGIN CERTIFICATE-----"),
            ("IDENTITY_TOKEN_FILE", "/token"),
            ("IDENTITY_SVC_ADDR", "localhost:1"),
            ("DESTINATION_SVC_ADDR", "localhost:1"),
            ("POLICY_SVC_ADDR", "localhost:1"),
            ("POLICY_WORKLOAD", "{}"),
            ("OUTBOUND_MAX_IN_FLIGHT", max_in_flight),
        ];
        let env = settings.map(|(key, value)| (format!("LINKERD2_PROXY_{key}"), value)).into_iter().collect();
        Load::new(&crate::config::Config::parse(&env).unwrap().outbound)
    }

    #[test]
    fn more_than_may_be_in_flight_is_refused_until_something_ends() {
        let load = load("1");
        assert!(load.admit().is_ok());
        load.begin();
        assert!(load.admit().is_err());
        load.end();
        assert!(load.admit().is_ok());
    }

    #[test]
    fn with_little_memory_left_only_an_idle_proxy_takes_a_request() {
        let load = load("100");
        load.set_tight(true);
        assert!(load.admit().is_ok());
        load.begin();
        assert!(load.admit().is_err());
        load.set_tight(false);
        assert!(load.admit().is_ok());
    }
}
