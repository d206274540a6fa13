//! Which route a request takes.

use crate::matches::{HostMatch, Rank, RequestMatch, host_of, host_rank};
use http::Request;

/// A route: hosts and rules. `T` is what a rule leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Route<T> {
    /// Any of these hosts; none means all.
    pub hosts: Vec<HostMatch>,
    /// The rules, in order.
    pub rules: Vec<Rule<T>>,
}

/// A rule: what it matches and where it leads.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule<T> {
    /// Any of these; none matches all.
    pub matches: Vec<RequestMatch>,
    /// Where it leads.
    pub value: T,
}

/// The rule a request takes.
#[derive(Debug)]
pub struct Found<'a, T> {
    /// Where the rule leads.
    pub value: &'a T,
    /// The match that made it; `None` where the rule matches all.
    pub by: Option<&'a RequestMatch>,
}

/// A candidate and how well it matches: by host, then by the rest.
type Ranked<'a, T> = (((bool, usize), Rank), Found<'a, T>);

/// The most specific rule that matches: host, then path, method, headers, query; then the order of routes and rules.
pub fn find<'a, T, B>(routes: &'a [Route<T>], request: &Request<B>) -> Option<Found<'a, T>> {
    let host = host_of(request);
    let mut best: Option<Ranked<'a, T>> = None;
    for route in routes {
        let Some(host_rank) = host_rank(&route.hosts, host) else { continue };
        for rule in &route.rules {
            let found = if rule.matches.is_empty() {
                Some((((0, 0), false, 0, 0), None))
            } else {
                let ranked = rule.matches.iter().filter_map(|m| m.rank(request).map(|rank| (rank, Some(m))));
                // The first of equals.
                ranked.reduce(|best, next| if next.0 > best.0 { next } else { best })
            };
            let Some((rank, by)) = found else { continue };
            let rank = (host_rank, rank);
            if best.as_ref().is_none_or(|(top, _)| rank > *top) {
                best = Some((rank, Found { value: &rule.value, by }));
            }
        }
    }
    best.map(|(_, found)| found)
}

#[cfg(test)]
mod tests;
