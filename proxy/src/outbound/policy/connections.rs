//! Routes of connections: opaque ones, of which there is one for a destination, and those of TLS connections, which the
//! client's server name picks.

use super::Distribution;
use crate::error::Error;
use mesh_metrics::Labels;
use mesh_rules::{SniRoute, find_sni};

/// Where connections lead.
#[derive(Debug)]
pub struct Opaque {
    /// What metrics say about the route (`route_*`, after `parent_*`).
    pub labels: Labels,
    /// All are refused, for this reason.
    pub refused: Option<Refusal>,
    /// Backends that refuse what comes to them, with their shares of all connections (0 to 1).
    pub refusing: Vec<(f64, Refusal)>,
    /// Who gets those that are not refused.
    pub backends: Distribution,
}

/// Routes of TLS connections.
#[derive(Debug)]
pub struct Tls {
    /// The routes.
    pub routes: Vec<SniRoute<Opaque>>,
}

/// Why the control plane refuses connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// They are not allowed.
    Forbidden(String),
    /// The route or the backend cannot be used as it is configured.
    Invalid(String),
}

impl Opaque {
    /// Leads to these backends.
    pub fn new(labels: Labels, backends: Distribution) -> Self {
        Self { labels, refused: None, refusing: Vec::new(), backends }
    }

    /// Refuses everything.
    pub fn refusing(labels: Labels, refused: Refusal) -> Self {
        Self { refused: Some(refused), ..Self::new(labels, Distribution::Empty) }
    }

    /// Whether a connection is refused, by the lot it draws (0 to 1).
    pub fn refusal(&self, mut lot: f64) -> Option<&Refusal> {
        let drawn = |(share, _): &&(f64, Refusal)| {
            lot -= share;
            lot < 0.0
        };
        self.refused.as_ref().or_else(|| self.refusing.iter().find(drawn).map(|(_, refusal)| refusal))
    }
}

impl Tls {
    /// The route for a server name, or for a client that names none.
    pub fn route(&self, sni: Option<&str>) -> Option<&Opaque> {
        find_sni(&self.routes, sni)
    }

    /// The reason, where every route refuses everything.
    pub(super) fn forbidden(&self) -> Option<&str> {
        let mut reasons = self.routes.iter().map(|route| route.value.refused.as_ref());
        let first = reasons.next()??;
        reasons.all(|reason| reason.is_some()).then_some(first.reason())
    }
}

impl Refusal {
    /// The reason in words.
    pub fn reason(&self) -> &str {
        match self {
            Self::Forbidden(reason) | Self::Invalid(reason) => reason,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Forbidden(reason) => Self::Forbidden(reason.into()),
            Refusal::Invalid(reason) => Self::InvalidBackend(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_refuse_in_proportion_to_their_shares() {
        let refusal = |reason: &str| Refusal::Invalid(reason.to_owned());
        let mut route = Opaque::new(Labels::new(), Distribution::Empty);
        route.refusing = vec![(0.25, refusal("a")), (0.5, refusal("b"))];
        for (lot, refused) in
            [(0.0, Some("a")), (0.24, Some("a")), (0.25, Some("b")), (0.74, Some("b")), (0.75, None)]
        {
            assert_eq!(route.refusal(lot).map(Refusal::reason), refused, "{lot}");
        }
        route.refused = Some(refusal("all"));
        assert_eq!(route.refusal(0.9).map(Refusal::reason), Some("all"));
    }
}
