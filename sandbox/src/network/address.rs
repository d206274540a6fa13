//! Which pod has which address.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Hands out addresses in turn, so that one is not used again soon after its pod has gone.
#[derive(Debug)]
pub(super) struct Allocator {
    range: Ipv4Net,
    next: u32,
    taken: BTreeSet<Ipv4Addr>,
}

impl Allocator {
    /// All of a range but its first two addresses and its last.
    pub(super) fn new(range: Ipv4Net) -> Self {
        Self { range, next: u32::from(range.network()).saturating_add(2), taken: BTreeSet::new() }
    }

    /// A free address.
    pub(super) fn take(&mut self) -> Option<Ipv4Addr> {
        let first = u32::from(self.range.network()).saturating_add(2);
        let end = u32::from(self.range.broadcast());
        for _ in first..end {
            let candidate = if (first..end).contains(&self.next) { self.next } else { first };
            self.next = candidate + 1;
            if self.taken.insert(Ipv4Addr::from(candidate)) {
                return Some(Ipv4Addr::from(candidate));
            }
        }
        None
    }

    /// Makes an address free.
    pub(super) fn give_back(&mut self, ip: Ipv4Addr) {
        self.taken.remove(&ip);
    }
}

#[cfg(test)]
mod tests;
