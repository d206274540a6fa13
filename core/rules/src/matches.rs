//! What a request must look like.

use crate::Error;
use http::{HeaderName, Method, Request, header};
use regex::Regex;

/// A regular expression that must match a whole text.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles `pattern`, anchored at both ends.
    ///
    /// # Errors
    /// [`Error::Regex`] with the text.
    pub fn new(pattern: &str) -> Result<Self, Error> {
        let anchored = format!("^(?:{pattern})$");
        Regex::new(&anchored).map(Self).map_err(|_| Error::Regex(pattern.to_owned()))
    }

    fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// What the host must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMatch {
    /// Exactly this name, lower case.
    Exact(String),
    /// A name below this suffix (`example.com` for `*.example.com`), lower case.
    Suffix(String),
}

impl HostMatch {
    /// How well `host` matches: exact before suffix, longer before shorter.
    fn rank(&self, host: &str) -> Option<(bool, usize)> {
        match self {
            Self::Exact(name) => host.eq_ignore_ascii_case(name).then_some((true, name.len())),
            Self::Suffix(suffix) => {
                let head = host.len().checked_sub(suffix.len())?;
                let (head, tail) = (host.get(..head)?, host.get(head..)?);
                let below = head.len() > 1 && head.ends_with('.') && tail.eq_ignore_ascii_case(suffix);
                below.then_some((false, suffix.len()))
            }
        }
    }
}

/// The best rank of a request's host; no hosts match everything with the lowest rank.
pub(crate) fn host_rank(hosts: &[HostMatch], host: &str) -> Option<(bool, usize)> {
    if hosts.is_empty() {
        return Some((false, 0));
    }
    hosts.iter().filter_map(|m| m.rank(host)).max()
}

/// What the path must be.
#[derive(Clone, Debug, PartialEq)]
pub enum PathMatch {
    /// Exactly this.
    Exact(String),
    /// This or below it, by whole segments.
    Prefix(String),
    /// The whole path matches.
    Regex(Pattern),
}

impl PathMatch {
    /// Exact before prefix before regex, longer before shorter.
    fn rank(&self, path: &str) -> Option<(u8, usize)> {
        match self {
            Self::Exact(exact) => (path == exact).then_some((2, exact.len())),
            Self::Prefix(prefix) => {
                let trimmed = prefix.trim_end_matches('/');
                let rest = path.strip_prefix(trimmed)?;
                (rest.is_empty() || rest.starts_with('/')).then_some((1, prefix.len()))
            }
            Self::Regex(pattern) => pattern.is_match(path).then_some((0, path.len())),
        }
    }
}

/// What a header's or query parameter's value must be.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueMatch {
    /// Exactly this.
    Exact(String),
    /// The whole value matches.
    Regex(Pattern),
}

impl ValueMatch {
    fn is_match(&self, value: &str) -> bool {
        match self {
            Self::Exact(exact) => value == exact,
            Self::Regex(pattern) => pattern.is_match(value),
        }
    }
}

/// All of these must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestMatch {
    /// The path; `None` matches all.
    pub path: Option<PathMatch>,
    /// The method; `None` matches all.
    pub method: Option<Method>,
    /// Headers that must be there with these values.
    pub headers: Vec<(HeaderName, ValueMatch)>,
    /// Query parameters that must be there with these values.
    pub query: Vec<(String, ValueMatch)>,
}

/// How specific a match is; greater wins.
pub(crate) type Rank = ((u8, usize), bool, usize, usize);

impl RequestMatch {
    /// How specifically `request` matches, if it does (the precedence of Gateway API's HTTPRouteRule).
    pub(crate) fn rank<B>(&self, request: &Request<B>) -> Option<Rank> {
        let path = match &self.path {
            None => (0, 0),
            Some(path) => path.rank(request.uri().path())?,
        };
        if self.method.as_ref().is_some_and(|method| method != request.method()) {
            return None;
        }
        let header = |(name, value): &(HeaderName, ValueMatch)| {
            request.headers().get_all(name).iter().any(|v| v.to_str().is_ok_and(|v| value.is_match(v)))
        };
        if !self.headers.iter().all(header) || !self.query_matches(request.uri().query()) {
            return None;
        }
        Some((path, self.method.is_some(), self.headers.len(), self.query.len()))
    }

    fn query_matches(&self, query: Option<&str>) -> bool {
        self.query.iter().all(|(name, value)| {
            let pairs = query.unwrap_or_default().split('&').map(|p| p.split_once('=').unwrap_or((p, "")));
            // The first occurrence counts (Gateway API, HTTPQueryParamMatch).
            let mut named = pairs.filter(|(n, _)| decode(n) == *name);
            named.next().is_some_and(|(_, v)| value.is_match(&decode(v)))
        })
    }
}

/// The host a request asks for, without the port.
pub(crate) fn host_of<B>(request: &Request<B>) -> &str {
    let host = request
        .uri()
        .host()
        .or_else(|| request.headers().get(header::HOST).and_then(|h| h.to_str().ok()))
        .unwrap_or_default();
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Percent decoding with `+` as space; bytes that are not UTF-8 are replaced.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |i: usize| bytes.get(i).and_then(|b| char::from(*b).to_digit(16)).map(|d| d as u8);
        match bytes[at] {
            b'+' => out.push(b' '),
            b'%' => match (hex(at + 1), hex(at + 2)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    at += 2;
                }
                _ => out.push(b'%'),
            },
            byte => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}
