//! Which route of an inbound policy a request takes.

use super::{Authorization, Meta};
use http::{Method, Request};
use std::sync::Arc;

/// A route: what it matches, and who may take it.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The route resource.
    pub meta: Meta,
    /// Any of these.
    pub matches: Vec<RouteMatch>,
    /// Who may take it.
    pub authorizations: Arc<[Authorization]>,
}

/// All of these.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteMatch {
    /// What the path must be.
    pub path: PathMatch,
    /// What the method must be.
    pub method: Option<Method>,
}

/// What a path must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// Exactly this.
    Exact(String),
    /// This or below it, by whole segments.
    Prefix(String),
}

impl RouteMatch {
    fn matches<B>(&self, request: &Request<B>) -> bool {
        let path = request.uri().path();
        self.method.as_ref().is_none_or(|method| method == request.method())
            && match &self.path {
                PathMatch::Exact(exact) => path == exact,
                PathMatch::Prefix(prefix) => {
                    let prefix = prefix.trim_end_matches('/');
                    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                }
            }
    }

    /// More specific matches win: exact paths before prefixes, longer before shorter, with a method before without.
    fn rank(&self) -> (bool, usize, bool) {
        let (exact, len) = match &self.path {
            PathMatch::Exact(path) => (true, path.len()),
            PathMatch::Prefix(path) => (false, path.len()),
        };
        (exact, len, self.method.is_some())
    }
}

/// The most specific route that matches, with its position.
pub fn find<'a, B>(routes: &'a [Route], request: &Request<B>) -> Option<(usize, &'a Route)> {
    let best =
        |route: &Route| route.matches.iter().filter(|m| m.matches(request)).map(RouteMatch::rank).max();
    let mut found: Option<((bool, usize, bool), usize)> = None;
    for (index, route) in routes.iter().enumerate() {
        if let Some(rank) = best(route)
            && found.is_none_or(|(best, _)| rank > best)
        {
            found = Some((rank, index));
        }
    }
    found.map(|(_, index)| (index, &routes[index]))
}
