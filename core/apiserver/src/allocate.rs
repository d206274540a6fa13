//! Cluster addresses and node ports. What is taken is read from the stored Services, so that nothing leaks; the lock is
//! held from the choice to the write.

#[cfg(test)]
mod tests;

use ipnet::Ipv4Net;
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// Ports Kubernetes gives to NodePort and LoadBalancer Services.
pub(crate) const NODE_PORTS: std::ops::RangeInclusive<u16> = 30000..=32767;
/// The lowest addresses are kept for those asked for by number (the API server, DNS).
const RESERVED: u32 = 16;

/// Hands out addresses of the service network and node ports.
#[derive(Debug)]
pub(crate) struct Allocator {
    pub(crate) cidr: Ipv4Net,
    state: Mutex<Cursor>,
}

/// Where the search for a free one starts: an address just released is not given away at once.
#[derive(Debug, Default)]
struct Cursor {
    address: u32,
    port: u16,
}

/// The right to allocate, until the Service is written.
pub(crate) struct Guard<'a>(std::cell::RefCell<MutexGuard<'a, Cursor>>);

impl Allocator {
    pub(crate) fn new(cidr: Ipv4Net) -> Self {
        Self { cidr, state: Mutex::default() }
    }

    pub(crate) fn lock(&self) -> Guard<'_> {
        Guard(std::cell::RefCell::new(self.state.lock()))
    }

    /// The `n`th address of the service network.
    pub(crate) fn nth(&self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.cidr.network()).saturating_add(n))
    }

    /// A free address; `None` when the network is full.
    pub(crate) fn address(&self, guard: &Guard<'_>, taken: &BTreeSet<IpAddr>) -> Option<Ipv4Addr> {
        let hosts = u32::from(self.cidr.broadcast()) - u32::from(self.cidr.network());
        let first = RESERVED.min(hosts / 2).max(1);
        let span = hosts.saturating_sub(first);
        let mut cursor = guard.0.borrow_mut();
        for step in 0..span {
            let offset = (cursor.address + step) % span;
            let candidate = self.nth(first + offset);
            if !taken.contains(&IpAddr::V4(candidate)) {
                cursor.address = (offset + 1) % span;
                return Some(candidate);
            }
        }
        None
    }

    /// A free node port; `None` when all are taken.
    pub(crate) fn port(&self, guard: &Guard<'_>, taken: &BTreeSet<u16>) -> Option<u16> {
        let span = NODE_PORTS.end() - NODE_PORTS.start() + 1;
        let mut cursor = guard.0.borrow_mut();
        for step in 0..span {
            let offset = (cursor.port + step) % span;
            let candidate = NODE_PORTS.start() + offset;
            if !taken.contains(&candidate) {
                cursor.port = (offset + 1) % span;
                return Some(candidate);
            }
        }
        None
    }
}
