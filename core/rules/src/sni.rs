//! Which route a TLS connection takes, by the server name of its ClientHello; the semantics are those of the Gateway API's
//! TLSRoute.

use crate::matches::{HostMatch, host_rank};

/// A route of TLS connections: the server names it is for and where it leads.
#[derive(Clone, Debug, PartialEq)]
pub struct SniRoute<T> {
    /// Any of these names; none means all, and clients that name nothing too.
    pub snis: Vec<HostMatch>,
    /// Where it leads.
    pub value: T,
}

/// The route with the most specific match: an exact name, then the longest suffix, then routes for all; the first of
/// equals. A client that names nothing (`None`) takes routes for all only.
pub fn find_sni<'a, T>(routes: &'a [SniRoute<T>], sni: Option<&str>) -> Option<&'a T> {
    // Names have no dot at the end in TLS (RFC 6066, 3), which some clients do not know.
    let sni = sni.map(|name| name.strip_suffix('.').unwrap_or(name));
    let ranked = routes.iter().filter_map(|route| {
        let rank = match sni {
            // A suffix always ranks above.
            _ if route.snis.is_empty() => (false, 0),
            Some(name) => host_rank(&route.snis, name)?,
            None => return None,
        };
        Some((rank, &route.value))
    });
    ranked.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, value)| value)
}

#[cfg(test)]
mod tests;
