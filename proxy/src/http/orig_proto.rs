//! HTTP/1 carried over HTTP/2 between proxies: what the request was is told by `l5d-orig-proto`, so that the server's
//! proxy can make it again.

use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version, header};
use mesh_types::headers;

const ORIG_PROTO: HeaderName = HeaderName::from_static(headers::ORIG_PROTO);
const ABSOLUTE_FORM: &str = "absolute-form";

/// Header fields that speak of one HTTP/1 connection only (RFC 9110, 7.6.1); HTTP/2 forbids them.
const CONNECTION_HEADERS: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// An HTTP/1 request that came over HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// The version it had.
    pub version: Version,
}

/// Drops the fields that speak of one connection only, and those that `connection` names.
pub fn strip_connection_headers(headers: &mut HeaderMap) {
    // Most messages have none: one look at each name is cheaper than a lookup of each field.
    let of_connection = |name: &HeaderName| *name == header::TE || CONNECTION_HEADERS.contains(name);
    if !headers.keys().any(of_connection) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    // `te` is the one field HTTP/2 keeps, for trailers.
    for name in named.iter().filter(|name| **name != header::TE).chain(&CONNECTION_HEADERS) {
        headers.remove(name);
    }
    let trailers = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"trailers");
    if headers.get(header::TE).is_some_and(|value| !trailers(value)) {
        headers.remove(header::TE);
    }
}

/// Turns an HTTP/1 request without fields that speak of one connection ([`strip_connection_headers`]) into an HTTP/2
/// request that says what it was. Does nothing to HTTP/2.
///
/// `authority` stands in where the request names none.
pub fn upgrade_request<B>(request: &mut Request<B>, authority: impl FnOnce() -> Option<Authority>) {
    let absolute = request.uri().authority().is_some();
    let was = match (request.version(), absolute) {
        (Version::HTTP_10, false) => "HTTP/1.0",
        (Version::HTTP_11, false) => "HTTP/1.1",
        (Version::HTTP_10, true) => "HTTP/1.0; absolute-form",
        (Version::HTTP_11, true) => "HTTP/1.1; absolute-form",
        _ => return,
    };
    request.headers_mut().insert(ORIG_PROTO, HeaderValue::from_static(was));
    if !absolute {
        let host = request.headers().get(header::HOST);
        let host = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
        if let Some(authority) = host.or_else(authority) {
            set_authority(request, &authority);
        }
    }
    *request.version_mut() = Version::HTTP_2;
}

/// On the answer to an upgraded request: makes it HTTP/1 again.
pub fn restore_response<B>(response: &mut Response<B>) {
    if response.headers_mut().remove(ORIG_PROTO).is_some() {
        *response.version_mut() = Version::HTTP_11;
    }
}

/// Makes the HTTP/1 request again that was carried over HTTP/2; `None` if it is an HTTP/2 request of its own.
pub fn downgrade_request<B>(request: &mut Request<B>) -> Option<Carried> {
    if request.version() != Version::HTTP_2 {
        return None;
    }
    let value = request.headers_mut().remove(ORIG_PROTO)?;
    let text = value.to_str().ok()?;
    let version = if text.starts_with("HTTP/1.0") { Version::HTTP_10 } else { Version::HTTP_11 };
    *request.version_mut() = version;
    if !request.headers().contains_key(header::HOST)
        && let Some(host) = request.uri().authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok())
    {
        request.headers_mut().insert(header::HOST, host);
    }
    if !text.ends_with(ABSOLUTE_FORM) {
        origin_form(request);
    }
    Some(Carried { version })
}

/// On the answer to a carried request: says that it is HTTP/1 and drops what HTTP/2 forbids.
pub fn mark_response<B>(response: &mut Response<B>, carried: Carried) {
    strip_connection_headers(response.headers_mut());
    let version = if carried.version == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" };
    response.headers_mut().insert(ORIG_PROTO, HeaderValue::from_static(version));
}

/// Leaves path and query of the URI.
pub fn origin_form<B>(request: &mut Request<B>) {
    if *request.method() == Method::CONNECT {
        return;
    }
    let path = request.uri().path_and_query().cloned();
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

/// Makes the URI absolute with this authority.
pub fn set_authority<B>(request: &mut Request<B>, authority: &Authority) {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(parts.scheme.unwrap_or(Scheme::HTTP));
    parts.authority = Some(authority.clone());
    parts.path_and_query = Some(parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/")));
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

#[cfg(test)]
mod tests;
