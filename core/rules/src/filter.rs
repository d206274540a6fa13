//! What a route's filters do to requests and responses.

use crate::Error;
use crate::matches::{PathMatch, RequestMatch};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};

/// A filter of a route or of one of its backends.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// Answers with a failure in place of the destination.
    Fail {
        /// The HTTP status, or 200 where `grpc` is set.
        status: StatusCode,
        /// The gRPC status, for gRPC routes.
        grpc: Option<u8>,
        /// The reason.
        message: String,
        /// The share of requests, from 0 to 1.
        ratio: f64,
    },
    /// Changes request headers.
    RequestHeaders(HeaderModifier),
    /// Changes response headers.
    ResponseHeaders(HeaderModifier),
    /// Answers with a redirect.
    Redirect(Redirect),
}

/// Changes headers: additions first, then sets, then removals.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderModifier {
    /// Fields to add beside existing ones.
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// Fields to put in place of existing ones.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Fields to remove.
    pub remove: Vec<HeaderName>,
}

/// Where a redirect leads; what is not given stays as requested.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Redirect {
    /// The scheme.
    pub scheme: Option<Scheme>,
    /// The host.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The path.
    pub path: Option<PathRewrite>,
    /// The status; 301 where nothing is given.
    pub status: Option<StatusCode>,
}

/// A new path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRewrite {
    /// In place of the whole path.
    Full(String),
    /// In place of the prefix that the route matched.
    Prefix(String),
}

/// A filter answers in place of the destination.
#[derive(Clone, Debug, PartialEq)]
pub enum ShortCircuit {
    /// A failure.
    Fail {
        /// The HTTP status.
        status: StatusCode,
        /// The gRPC status, for gRPC routes.
        grpc: Option<u8>,
        /// The reason.
        message: String,
    },
    /// A redirect.
    Redirect {
        /// The status.
        status: StatusCode,
        /// The `location` field.
        location: String,
    },
}

impl HeaderModifier {
    /// Applies the changes.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }

    /// Parses a field.
    ///
    /// # Errors
    /// [`Error::Header`] naming it.
    pub fn field(name: &str, value: &[u8]) -> Result<(HeaderName, HeaderValue), Error> {
        let error = || Error::Header(name.to_owned());
        Ok((name.parse().map_err(|_| error())?, HeaderValue::from_bytes(value).map_err(|_| error())?))
    }
}

/// Applies request filters in order; `random` in `[0, 1)` decides about partial failures, `by` is the match that led here.
///
/// # Errors
/// The answer to give in place of the destination's.
pub fn apply_request<B>(
    filters: &[Filter],
    request: &mut Request<B>,
    by: Option<&RequestMatch>,
    random: f64,
) -> Result<(), ShortCircuit> {
    for filter in filters {
        match filter {
            Filter::Fail { status, grpc, message, ratio } if random < *ratio => {
                return Err(ShortCircuit::Fail { status: *status, grpc: *grpc, message: message.clone() });
            }
            Filter::RequestHeaders(modifier) => modifier.apply(request.headers_mut()),
            Filter::Redirect(redirect) => return Err(redirect.answer(request, by)),
            Filter::Fail { .. } | Filter::ResponseHeaders(_) => {}
        }
    }
    Ok(())
}

/// Applies response filters in order.
pub fn apply_response(filters: &[Filter], headers: &mut HeaderMap) {
    for filter in filters {
        if let Filter::ResponseHeaders(modifier) = filter {
            modifier.apply(headers);
        }
    }
}

impl Redirect {
    fn answer<B>(&self, request: &Request<B>, by: Option<&RequestMatch>) -> ShortCircuit {
        let asked = request.uri().authority().cloned().or_else(|| {
            request.headers().get(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok())
        });
        let scheme = self.scheme.clone().or_else(|| request.uri().scheme().cloned()).unwrap_or(Scheme::HTTP);
        let host = self.host.clone().or_else(|| asked.as_ref().map(|a| a.host().to_owned()));
        // A new scheme without a port means that scheme's own port.
        let kept = if self.scheme.is_some() { None } else { asked.as_ref().and_then(Authority::port_u16) };
        let port = self.port.or(kept);
        let default = if scheme == Scheme::HTTPS { 443 } else { 80 };
        let port = port.filter(|port| *port != default).map(|port| format!(":{port}")).unwrap_or_default();
        let path = self.path_for(request.uri(), by);
        let location = match host {
            Some(host) => format!("{scheme}://{host}{port}{path}"),
            None => path,
        };
        ShortCircuit::Redirect { status: self.status.unwrap_or(StatusCode::MOVED_PERMANENTLY), location }
    }

    fn path_for(&self, uri: &Uri, by: Option<&RequestMatch>) -> String {
        let path = match (&self.path, by.and_then(|m| m.path.as_ref())) {
            (Some(PathRewrite::Full(full)), _) => full.clone(),
            (Some(PathRewrite::Prefix(new)), Some(PathMatch::Prefix(old))) => {
                let rest = uri.path().strip_prefix(old.trim_end_matches('/')).unwrap_or_default();
                let joined = format!("{}{rest}", new.trim_end_matches('/'));
                if joined.is_empty() { "/".to_owned() } else { joined }
            }
            _ => uri.path().to_owned(),
        };
        match uri.path_and_query().and_then(PathAndQuery::query) {
            Some(query) => format!("{path}?{query}"),
            None => path,
        }
    }
}

#[cfg(test)]
mod tests;
