//! What filters do to a request.

use crate::RuleError;
use crate::route::{HttpMatch, PathMatch, RequestView};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// Adds, sets and removes headers, in the order set, add, remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdit {
    /// Appended to what is there.
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// In place of what is there.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Taken away.
    pub remove: Vec<HeaderName>,
}

/// Answers with another place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirect {
    /// The scheme; else the request's.
    pub scheme: Option<String>,
    /// The host; else the request's.
    pub host: Option<String>,
    /// The port; else the scheme's where one is set, else the request's.
    pub port: Option<u16>,
    /// What becomes of the path.
    pub path: Option<PathEdit>,
    /// The status; 302 where none is set.
    pub status: Option<StatusCode>,
}

/// What becomes of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathEdit {
    /// All of it is replaced.
    Full(String),
    /// The matched prefix is replaced.
    Prefix(String),
}

/// Answers some requests with a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureInjector {
    /// HTTP status, or gRPC code for gRPC routes.
    pub status: u32,
    /// The reason stated.
    pub message: String,
    /// How many of how many requests fail; none means all.
    pub ratio: Option<(u32, u32)>,
}

impl HeaderEdit {
    /// Edits `headers`.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }
}

/// A header of an edit.
///
/// # Errors
/// [`RuleError::HeaderName`] or [`RuleError::HeaderValue`].
pub fn header(name: &str, value: &[u8]) -> Result<(HeaderName, HeaderValue), RuleError> {
    let parsed = name.parse().map_err(|_| RuleError::HeaderName(name.to_owned()))?;
    let value = HeaderValue::from_bytes(value).map_err(|_| RuleError::HeaderValue(name.to_owned()))?;
    Ok((parsed, value))
}

impl Redirect {
    /// Where to, and by which status. `matched` is the match that led here, for prefixes.
    pub fn location(&self, request: &RequestView<'_>, matched: Option<&HttpMatch>) -> (StatusCode, String) {
        let old_scheme = request.uri.scheme_str().unwrap_or("http");
        let scheme = self.scheme.as_deref().unwrap_or(old_scheme);
        let host = self.host.as_deref().or(request.host()).unwrap_or_default();
        let port = self.port.or_else(|| if self.scheme.is_some() { None } else { request.uri.port_u16() });
        let standard = matches!((scheme, port), ("http", Some(80)) | ("https", Some(443)) | (_, None));
        let port = port.filter(|_| !standard).map(|port| format!(":{port}")).unwrap_or_default();
        let path = self.path(request.uri.path(), matched);
        let query = request.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        (self.status.unwrap_or(StatusCode::FOUND), format!("{scheme}://{host}{port}{path}{query}"))
    }

    fn path(&self, path: &str, matched: Option<&HttpMatch>) -> String {
        match &self.path {
            None => path.to_owned(),
            Some(PathEdit::Full(full)) => full.clone(),
            Some(PathEdit::Prefix(new)) => {
                let prefix = match matched.and_then(|m| m.path.as_ref()) {
                    Some(PathMatch::Prefix(prefix)) => prefix.trim_end_matches('/'),
                    _ => "",
                };
                let rest = path.strip_prefix(prefix).unwrap_or(path);
                let joined = format!("{}{rest}", new.trim_end_matches('/'));
                if joined.is_empty() { "/".to_owned() } else { joined }
            }
        }
    }
}

impl FailureInjector {
    /// Whether a request fails, where `random` is uniform over all values.
    pub fn hits(&self, random: u32) -> bool {
        match self.ratio {
            None | Some((_, 0)) => true,
            Some((numerator, denominator)) => random % denominator < numerator,
        }
    }
}

#[cfg(test)]
mod tests;
