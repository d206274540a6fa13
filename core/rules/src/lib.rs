//! Pure rules over requests: which route a request takes, and what a route's filters do to it. Called by the proxy's
//! outbound path; the semantics are those of the Gateway API's HTTPRoute.

mod filter;
mod matches;
mod route;

pub use filter::{
    Filter, HeaderModifier, PathRewrite, Redirect, ShortCircuit, apply_request, apply_response,
};
pub use matches::{HostMatch, PathMatch, Pattern, RequestMatch, ValueMatch};
pub use route::{Found, Route, Rule, find};

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
