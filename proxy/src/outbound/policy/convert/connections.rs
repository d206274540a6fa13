//! Opaque and TLS routes.

use super::{Choice, Choices, Context, ROUTE, name_of, opaque_choices, resource_labels, tls_choices};
use crate::outbound::policy::{Opaque, Refusal, Tls};
use crate::rules;
use mesh_api::meta::Metadata;
use mesh_api::outbound as api;
use mesh_api::tls_route::SniMatch;
use mesh_metrics::Labels;
use mesh_rules::{HostMatch, SniRoute};

impl Context<'_> {
    pub(super) fn opaque(&self, routes: Vec<api::OpaqueRoute>) -> Opaque {
        let Some(route) = routes.into_iter().next() else {
            return Opaque::refusing(self.parent.clone(), Refusal::Forbidden("no route".to_owned()));
        };
        let labels = resource_labels(&self.parent, ROUTE, route.metadata.as_ref());
        let rule = route.rules.into_iter().next().unwrap_or_default();
        let refused = opaque_refusal(&rule.filters, route.metadata.as_ref());
        self.connections(labels, refused, rule.backends.map_or(Choices::Empty, opaque_choices))
    }

    pub(super) fn tls(&self, routes: Vec<api::TlsRoute>) -> Tls {
        let route = |route: api::TlsRoute| {
            let labels = resource_labels(&self.parent, ROUTE, route.metadata.as_ref());
            // Rules of TLS routes match nothing more, so the first is the only one (the Gateway API allows no other).
            let rule = route.rules.into_iter().next().unwrap_or_default();
            let refused = tls_refusal(&rule.filters, route.metadata.as_ref());
            let snis = snis(route.snis)?;
            let value = self.connections(labels, refused, rule.backends.map_or(Choices::Empty, tls_choices));
            Some(SniRoute { snis, value })
        };
        Tls { routes: routes.into_iter().filter_map(route).collect() }
    }

    fn connections(&self, labels: Labels, refused: Option<Refusal>, choices: Choices) -> Opaque {
        let (choices, refusing) = split(choices);
        let backends = self.distribution(choices, &labels);
        Opaque { labels, refused, refusing, backends }
    }
}

/// A route of which some name is unknown to us is for the others; one with none left is for no name rather than for all.
fn snis(snis: Vec<SniMatch>) -> Option<Vec<HostMatch>> {
    let asked = !snis.is_empty();
    let known: Vec<_> = snis.into_iter().filter_map(|sni| rules::sni_match(sni).ok()).collect();
    (!asked || !known.is_empty()).then_some(known)
}

/// Parts the backends that refuse connections from the others, with the share each has.
fn split(choices: Choices) -> (Choices, Vec<(f64, Refusal)>) {
    match choices {
        Choices::Empty => (Choices::Empty, Vec::new()),
        Choices::First(mut list) => {
            // What comes after one that refuses is never reached.
            let refuses = list.iter().position(|choice| choice.refusal().is_some());
            let mut rest = list.split_off(refuses.unwrap_or(list.len())).into_iter();
            let refusal = rest.next().and_then(|choice| choice.refusal()).filter(|_| list.is_empty());
            (Choices::First(list), refusal.map(|refusal| (1.0, refusal)).into_iter().collect())
        }
        Choices::Random(list) => {
            let total: f64 = list.iter().map(|choice| f64::from(choice.weight)).sum();
            let (mut fine, mut refusing) = (Vec::new(), Vec::new());
            for choice in list {
                match choice.refusal() {
                    None => fine.push(choice),
                    Some(refusal) if choice.weight > 0 => {
                        refusing.push((f64::from(choice.weight) / total, refusal));
                    }
                    Some(_) => {}
                }
            }
            // Nothing is left to draw, and shares need not add up to 1 to the last bit.
            if let ([], [.., (share, _)]) = (&fine[..], &mut refusing[..]) {
                *share = 1.0;
            }
            (Choices::Random(fine), refusing)
        }
    }
}

impl Choice {
    /// Why it takes no connections.
    fn refusal(&self) -> Option<Refusal> {
        let backend = self.backend.as_ref();
        let nowhere = || {
            let name = name_of(backend.and_then(|backend| backend.metadata.as_ref()));
            Refusal::Invalid(format!("backend {name} leads nowhere"))
        };
        let led = backend.is_some_and(|backend| backend.kind.is_some());
        self.refused.clone().or_else(|| (!led).then(nowhere))
    }
}

/// The filters of both kinds of routes have one shape and different types.
macro_rules! refusal {
    ($(#[$doc:meta])* $name:ident, $module:ident) => {
        $(#[$doc])*
        pub(super) fn $name(filters: &[api::$module::Filter], of: Option<&Metadata>) -> Option<Refusal> {
            use api::$module::filter::Kind;
            filters.first().map(|filter| match &filter.kind {
                Some(Kind::Invalid(invalid)) => Refusal::Invalid(invalid.message.clone()),
                Some(Kind::Forbidden(_)) => Refusal::Forbidden(name_of(of)),
                // One that we do not know could be one that refuses.
                None => Refusal::Invalid("a filter of the route is invalid".to_owned()),
            })
        }
    };
}
refusal!(
    /// What the first filter of an opaque route, or of a backend of one, says of connections.
    opaque_refusal, opaque_route
);
refusal!(
    /// What the first filter of a TLS route, or of a backend of one, says of connections.
    tls_refusal, tls_route
);

#[cfg(test)]
mod tests;
