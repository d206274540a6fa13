//! Rules that policies are made of, as pure functions over a request: which route it takes (Gateway API precedence) and
//! what filters do to it. Knows nothing of who routes or why.

mod filter;
mod route;

pub use filter::{FailureInjector, HeaderEdit, PathEdit, Redirect, header};
pub use route::{
    Found, HeaderMatch, HostMatch, HttpMatch, PathMatch, Pattern, QueryMatch, RequestView, Route, Rule,
    ValueMatch, find,
};

/// Why a rule cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A regular expression does not compile.
    #[error("regular expression {pattern:?}: {reason}")]
    Pattern {
        /// The expression.
        pattern: String,
        /// What the compiler said.
        reason: String,
    },
    /// Not a header name.
    #[error("{0:?} is not a header name")]
    HeaderName(String),
    /// Not a header value.
    #[error("the value of header {0:?} cannot be sent")]
    HeaderValue(String),
    /// Not a status code.
    #[error("{0} is not an HTTP status")]
    Status(u32),
}
