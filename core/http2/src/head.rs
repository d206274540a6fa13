//! The heads of messages, as they come and as they are written (RFC 9113, 8.1 to 8.3).

use crate::error::Error;
use crate::hpack::{Encoder, Field, Name, Protocol};
use http::header::{self, HeaderName, HeaderValue};
use http::uri::{self, Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};

/// What is wrong with a message that cannot be one; the stream is reset.
pub(crate) type Malformed = &'static str;

/// Fields as they are read.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
    protocol: Option<Protocol>,
    status: Option<StatusCode>,
    headers: HeaderMap,
    /// Bytes that they take, and that they may (RFC 9113, 6.5.2).
    pub(crate) size: usize,
    limit: usize,
    /// Whether a field came that is no pseudo-header.
    regular: bool,
    malformed: Option<Malformed>,
    pub(crate) too_large: bool,
    pub(crate) content_length: Option<u64>,
}

impl Fields {
    /// None yet; they may take so many bytes, and there is room for so many.
    pub(crate) fn new(limit: usize, room: usize) -> Self {
        Self { limit, headers: HeaderMap::with_capacity(room), ..Self::default() }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.headers.len()
    }

    /// Takes the next one.
    pub(crate) fn take(&mut self, size: usize, field: &mut dyn FnMut() -> Field) {
        self.size += size;
        if self.size > self.limit {
            self.too_large = true;
            return;
        }
        if let Err(malformed) = self.put(field()) {
            self.malformed = Some(malformed);
        }
    }

    fn put(&mut self, field: Field) -> Result<(), Malformed> {
        if let Field::Header(name, value) = field {
            self.regular = true;
            if name == header::CONTENT_LENGTH {
                self.length(&value)?;
            } else if is_of_connection(&name, &value) {
                return Err("a field of the connection");
            }
            // Only beyond 32768 names: the limit of bytes comes first.
            let added = self.headers.try_append(name, value);
            return added.map(|_| ()).map_err(|_| "too many fields");
        }
        if self.regular {
            return Err("a pseudo-header after a field, or a field that cannot be one");
        }
        let twice = match field {
            Field::Method(method) => self.method.replace(method).is_some(),
            Field::Scheme(scheme) => self.scheme.replace(scheme).is_some(),
            Field::Authority(authority) => self.authority.replace(authority).is_some(),
            Field::Path(path) => self.path.replace(path).is_some(),
            Field::Protocol(protocol) => self.protocol.replace(protocol).is_some(),
            Field::Status(status) => self.status.replace(status).is_some(),
            Field::Malformed(Name::Header(_)) => return Err("a field's value is not allowed"),
            Field::Malformed(_) | Field::Header(..) => {
                return Err("a name or a pseudo-header is not allowed");
            }
        };
        if twice { Err("a pseudo-header came twice") } else { Ok(()) }
    }

    fn length(&mut self, value: &HeaderValue) -> Result<(), Malformed> {
        let digits = value.as_bytes();
        let all = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        let length = all.then(|| value.to_str().ok()?.parse().ok()).flatten();
        let length: u64 = length.ok_or("the content-length is no number")?;
        if self.content_length.replace(length).is_some_and(|before| before != length) {
            return Err("the content-length is not one number");
        }
        Ok(())
    }

    /// The request that they make; `connect` says whether it may have a protocol.
    pub(crate) fn request(self, connect: bool) -> Result<Request<()>, Malformed> {
        let method = self.method.ok_or("no method")?;
        let is_connect = method == Method::CONNECT;
        if let Some(malformed) = self.malformed {
            return Err(malformed);
        }
        if self.status.is_some() || self.protocol.is_some() && !(connect && is_connect) {
            return Err("a pseudo-header that is not one of this request");
        }
        let bare = is_connect && self.protocol.is_none();
        let fine = if bare {
            self.authority.is_some() && self.scheme.is_none() && self.path.is_none()
        } else {
            self.scheme.is_some() && self.path.is_some() && (!is_connect || self.authority.is_some())
        };
        if !fine {
            return Err("a pseudo-header is missing, or one too many");
        }
        let mut parts = uri::Parts::default();
        // Without an authority it is in `host`, if anywhere; the type has no room for the scheme then.
        parts.scheme = self.scheme.filter(|_| self.authority.is_some());
        parts.authority = self.authority;
        parts.path_and_query = self.path;
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| "the target is none")?;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.headers;
        if let Some(protocol) = self.protocol {
            request.extensions_mut().insert(protocol);
        }
        Ok(request)
    }

    /// The response that they make.
    pub(crate) fn response(self) -> Result<(StatusCode, HeaderMap), Malformed> {
        let request = self.method.is_some() || self.scheme.is_some() || self.authority.is_some();
        let request = request || self.path.is_some() || self.protocol.is_some();
        match (self.malformed, self.status) {
            (Some(malformed), _) => Err(malformed),
            (None, Some(status)) if !request && status != StatusCode::SWITCHING_PROTOCOLS => {
                Ok((status, self.headers))
            }
            _ => Err("no status, or a pseudo-header of requests"),
        }
    }

    /// The trailers that they make.
    pub(crate) fn trailers(self) -> Result<HeaderMap, Malformed> {
        match self.malformed {
            Some(malformed) => Err(malformed),
            None if self.method.is_some() || self.status.is_some() || self.path.is_some() => {
                Err("a pseudo-header among trailers")
            }
            None if self.scheme.is_some() || self.authority.is_some() || self.protocol.is_some() => {
                Err("a pseudo-header among trailers")
            }
            None => Ok(self.headers),
        }
    }
}

/// Whether a field is about the connection, which HTTP/2 says by other means (RFC 9113, 8.2.2).
fn is_of_connection(name: &HeaderName, value: &HeaderValue) -> bool {
    name == header::CONNECTION
        || name == header::TRANSFER_ENCODING
        || name == header::UPGRADE
        || (name == header::TE && !value.as_bytes().eq_ignore_ascii_case(b"trailers"))
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// Writes a request's block.
pub(crate) fn put_request(
    encoder: &mut Encoder,
    request: &Request<()>,
    protocol: Option<&Protocol>,
    out: &mut Vec<u8>,
) {
    encoder.begin(out);
    let uri = request.uri();
    encoder.field(":method", request.method().as_str().as_bytes(), false, out);
    if request.method() != Method::CONNECT || protocol.is_some() {
        encoder.field(":scheme", uri.scheme_str().unwrap_or("http").as_bytes(), false, out);
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        encoder.field(":path", path.as_bytes(), false, out);
    }
    if let Some(protocol) = protocol {
        encoder.field(":protocol", protocol.as_str().as_bytes(), false, out);
    }
    if let Some(authority) = uri.authority() {
        // User information stays here (RFC 9113, 8.3.1).
        let authority = authority.as_str().rsplit('@').next().unwrap_or_default();
        encoder.field(":authority", authority.as_bytes(), false, out);
    }
    put_fields(encoder, request.headers(), out);
}

/// Writes a response's block.
pub(crate) fn put_response(encoder: &mut Encoder, response: &Response<()>, out: &mut Vec<u8>) {
    encoder.begin(out);
    encoder.field(":status", response.status().as_str().as_bytes(), false, out);
    put_fields(encoder, response.headers(), out);
}

/// Writes the block of trailers.
pub(crate) fn put_trailers(encoder: &mut Encoder, trailers: &HeaderMap, out: &mut Vec<u8>) {
    encoder.begin(out);
    put_fields(encoder, trailers, out);
}

fn put_fields(encoder: &mut Encoder, headers: &HeaderMap, out: &mut Vec<u8>) {
    for (name, value) in headers {
        if !is_of_connection(name, value) {
            encoder.field(name.as_str(), value.as_bytes(), value.is_sensitive(), out);
        }
    }
}

/// Whether this can be a request of HTTP/2.
pub(crate) fn check(request: &Request<()>) -> Result<(), Error> {
    if request.method() == Method::CONNECT && request.uri().authority().is_none() {
        return Err(Error::User("a CONNECT without an authority"));
    }
    Ok(())
}
