//! Which route of an inbound policy a request takes, and who may take it.

use super::{Authorization, Meta};
use http::Request;
use mesh_rules::{Filter, RequestMatch};
use std::sync::Arc;

/// The routes of a server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routes {
    matching: Vec<mesh_rules::Route<Target>>,
    routes: Vec<Route>,
}

/// A route resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Its name.
    pub meta: Meta,
    /// Who may take it.
    pub authorizations: Arc<[Authorization]>,
}

/// Where a rule leads.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Position of the route.
    pub index: usize,
    /// What the rule does to requests, in order.
    pub filters: Vec<Filter>,
}

/// The route a request takes.
pub struct Taken<'a> {
    /// Its position.
    pub index: usize,
    /// The route.
    pub route: &'a Route,
    /// The match that led here.
    pub matched: Option<&'a RequestMatch>,
    /// What to do to the request, in order.
    pub filters: &'a [Filter],
}

impl Routes {
    /// Adds a route; its rules lead to [`Routes::next`].
    pub fn push(&mut self, route: Route, matching: mesh_rules::Route<Target>) {
        self.routes.push(route);
        self.matching.push(matching);
    }

    /// The position of the route that is added next.
    pub fn next(&self) -> usize {
        self.routes.len()
    }

    /// Whether there are none: then the server itself decides about every request.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// The most specific route that matches.
    pub fn find<B>(&self, request: &Request<B>) -> Option<Taken<'_>> {
        let found = mesh_rules::find(&self.matching, request)?;
        let Target { index, filters } = found.value;
        Some(Taken { index: *index, route: self.routes.get(*index)?, matched: found.by, filters })
    }
}
