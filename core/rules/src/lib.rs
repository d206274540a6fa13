//! Pure rules over requests and connections: which route they take, and what a route's filters do to requests. Called by
//! the proxy's outbound path; the semantics are those of the Gateway API's HTTPRoute and TLSRoute.

mod filter;
mod matches;
mod route;
mod sni;

pub use filter::{
    Filter, HeaderModifier, PathRewrite, Redirect, ShortCircuit, apply_request, apply_response,
};
pub use matches::{HostMatch, PathMatch, Pattern, RequestMatch, ValueMatch};
pub use route::{Found, Route, Rule, find};
pub use sni::{SniRoute, find_sni};

/// Why a rule cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a regular expression.
    #[error("{0:?} is not a regular expression")]
    Regex(String),
    /// Not a header field name or value.
    #[error("{0:?} is not a valid header field")]
    Header(String),
    /// Not a status code.
    #[error("{0} is not an HTTP status")]
    Status(u32),
}
