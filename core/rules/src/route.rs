//! Which route and rule a request takes.
//!
//! Precedence is the Gateway API's: the most specific host, then an exact path before the longest prefix before a regular
//! expression, then a method, then the number of headers, then of query parameters, then the order given.

use crate::RuleError;
use http::{HeaderMap, HeaderName, Method, Request, Uri, header};
use regex::Regex;
use std::borrow::Cow;
use std::cmp::Reverse;

/// What rules see of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// The method.
    pub method: &'a Method,
    /// The URI.
    pub uri: &'a Uri,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// A route for some hosts; `T` is what its rules lead to.
#[derive(Clone, Debug, PartialEq)]
pub struct Route<T> {
    /// Any of these; none means every host.
    pub hosts: Vec<HostMatch>,
    /// In the order given.
    pub rules: Vec<Rule<T>>,
}

/// A rule of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule<T> {
    /// Any of these; none means every request.
    pub matches: Vec<HttpMatch>,
    /// What the rule leads to.
    pub target: T,
}

/// A host that is matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMatch {
    /// Exactly this, in lower case.
    Exact(String),
    /// Any name below this: `example.org` stands for `*.example.org`.
    Suffix(String),
}

/// All of these.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpMatch {
    /// What the path must be.
    pub path: Option<PathMatch>,
    /// What the method must be.
    pub method: Option<Method>,
    /// What headers must be there.
    pub headers: Vec<HeaderMatch>,
    /// What query parameters must be there.
    pub query: Vec<QueryMatch>,
}

/// What a path must be.
#[derive(Clone, Debug, PartialEq)]
pub enum PathMatch {
    /// Exactly this.
    Exact(String),
    /// This, or below it by whole segments.
    Prefix(String),
    /// All of the path matches.
    Regex(Pattern),
    /// A gRPC method of any service.
    GrpcMethod(String),
}

/// What a header must be.
#[derive(Clone, Debug, PartialEq)]
pub struct HeaderMatch {
    /// The name.
    pub name: HeaderName,
    /// Its value; any one of several counts.
    pub value: ValueMatch,
}

/// What a query parameter must be.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryMatch {
    /// The name.
    pub name: String,
    /// The value of its first occurrence.
    pub value: ValueMatch,
}

/// What a value must be.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueMatch {
    /// Exactly this.
    Exact(Vec<u8>),
    /// All of it matches.
    Regex(Pattern),
}

/// A regular expression that must match all of a text.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

/// The rule a request takes.
#[derive(Debug)]
pub struct Found<'a, T> {
    /// Position of the route.
    pub route: usize,
    /// Position of the rule in it.
    pub rule: usize,
    /// The match that won; none when the rule matches everything.
    pub matched: Option<&'a HttpMatch>,
    /// What the rule leads to.
    pub target: &'a T,
}

/// Greater is more specific.
type MatchRank = (u8, usize, bool, usize, usize);
type Rank = ((u8, usize), MatchRank, Reverse<(usize, usize)>);

/// The rule that `request` takes.
pub fn find<'a, T>(
    routes: impl IntoIterator<Item = &'a Route<T>>,
    request: &RequestView<'_>,
) -> Option<Found<'a, T>> {
    let host = request.host();
    let mut best: Option<(Rank, Found<'a, T>)> = None;
    for (route_index, route) in routes.into_iter().enumerate() {
        let Some(host_rank) = route.host_rank(host) else { continue };
        for (rule_index, rule) in route.rules.iter().enumerate() {
            let Some((match_rank, matched)) = rule.best(request) else { continue };
            let rank = (host_rank, match_rank, Reverse((route_index, rule_index)));
            if best.as_ref().is_none_or(|(known, _)| rank > *known) {
                let target = &rule.target;
                best = Some((rank, Found { route: route_index, rule: rule_index, matched, target }));
            }
        }
    }
    best.map(|(_, found)| found)
}

impl<'a> RequestView<'a> {
    /// What rules see of `request`.
    pub fn of<B>(request: &'a Request<B>) -> Self {
        Self { method: request.method(), uri: request.uri(), headers: request.headers() }
    }

    /// The host asked for, without port.
    pub fn host(&self) -> Option<&'a str> {
        let header = || {
            let value = self.headers.get(header::HOST)?.to_str().ok()?;
            // An IPv6 literal keeps its brackets, as in a URI.
            let end = match value.rfind(']') {
                Some(bracket) => bracket + 1,
                None => value.find(':').unwrap_or(value.len()),
            };
            Some(&value[..end])
        };
        self.uri.host().or_else(header)
    }
}

impl<T> Route<T> {
    fn host_rank(&self, host: Option<&str>) -> Option<(u8, usize)> {
        if self.hosts.is_empty() {
            return Some((0, 0));
        }
        let host = host?.trim_end_matches('.');
        self.hosts.iter().filter_map(|m| m.rank(host)).max()
    }
}

impl<T> Rule<T> {
    fn best(&self, request: &RequestView<'_>) -> Option<(MatchRank, Option<&HttpMatch>)> {
        if self.matches.is_empty() {
            return Some(((0, 0, false, 0, 0), None));
        }
        let matching = self.matches.iter().filter(|m| m.matches(request));
        matching.map(|m| (m.rank(), Some(m))).max_by_key(|(rank, _)| *rank)
    }
}

impl HostMatch {
    /// Exact names before longer suffixes before shorter ones.
    fn rank(&self, host: &str) -> Option<(u8, usize)> {
        match self {
            Self::Exact(name) => name.eq_ignore_ascii_case(host).then_some((2, name.len())),
            Self::Suffix(suffix) => {
                let start = host.len().checked_sub(suffix.len())?;
                let (labels, end) = host.split_at_checked(start)?;
                let below = end.eq_ignore_ascii_case(suffix) && labels.len() > 1 && labels.ends_with('.');
                below.then_some((1, suffix.len()))
            }
        }
    }
}

impl HttpMatch {
    /// Whether all of it holds.
    pub fn matches(&self, request: &RequestView<'_>) -> bool {
        self.method.as_ref().is_none_or(|method| method == request.method)
            && self.path.as_ref().is_none_or(|path| path.matches(request.uri.path()))
            && self.headers.iter().all(|header| header.matches(request.headers))
            && self.query.iter().all(|query| query.matches(request.uri.query().unwrap_or_default()))
    }

    fn rank(&self) -> MatchRank {
        let (kind, len) = match &self.path {
            None => (0, 0),
            Some(PathMatch::Regex(pattern)) => (1, pattern.0.as_str().len()),
            Some(PathMatch::GrpcMethod(method)) => (1, method.len()),
            Some(PathMatch::Prefix(prefix)) => (2, prefix.trim_end_matches('/').len()),
            Some(PathMatch::Exact(path)) => (3, path.len()),
        };
        (kind, len, self.method.is_some(), self.headers.len(), self.query.len())
    }
}

impl PathMatch {
    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => path
                .strip_prefix(prefix.trim_end_matches('/'))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Self::Regex(pattern) => pattern.matches(path),
            Self::GrpcMethod(method) => path.rsplit_once('/').is_some_and(|(_, last)| last == method),
        }
    }
}

impl HeaderMatch {
    fn matches(&self, headers: &HeaderMap) -> bool {
        headers.get_all(&self.name).iter().any(|value| self.value.matches(value.as_bytes()))
    }
}

impl QueryMatch {
    fn matches(&self, query: &str) -> bool {
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let mut values = pairs.filter(|(name, _)| *decode(name) == *self.name.as_bytes());
        values.next().is_some_and(|(_, value)| self.value.matches(&decode(value)))
    }
}

impl ValueMatch {
    fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => value == exact,
            Self::Regex(pattern) => std::str::from_utf8(value).is_ok_and(|text| pattern.matches(text)),
        }
    }
}

impl Pattern {
    /// Compiles an expression that must match all of a text.
    ///
    /// # Errors
    /// [`RuleError::Pattern`].
    pub fn new(pattern: &str) -> Result<Self, RuleError> {
        let error =
            |e: regex::Error| RuleError::Pattern { pattern: pattern.to_owned(), reason: e.to_string() };
        // Compiled alone first, so that unbalanced parentheses cannot escape the anchors.
        Regex::new(pattern).map_err(error)?;
        Regex::new(&format!("^(?:{pattern})$")).map(Self).map_err(error)
    }

    fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// Percent-decodes a part of a query; `+` is a blank.
fn decode(text: &str) -> Cow<'_, [u8]> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text.as_bytes());
    }
    let hex = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match (first, tail) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, tail @ ..]) => match (hex(high), hex(low)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    rest = tail;
                }
                _ => out.push(b'%'),
            },
            _ => out.push(*first),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests;
