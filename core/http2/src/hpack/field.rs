//! One line of a header, parsed.

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, StatusCode};
use std::str;

/// What a `CONNECT` asks the server to speak instead of bytes (RFC 8441); an extension of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol(Bytes);

impl Protocol {
    /// This one; `None` where that is no token.
    pub fn new(name: impl Into<Bytes>) -> Option<Self> {
        let name = name.into();
        let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(byte);
        (!name.is_empty() && name.iter().all(token)).then_some(Self(name))
    }

    /// A known one.
    pub const fn from_static(name: &'static str) -> Self {
        Self(Bytes::from_static(name.as_bytes()))
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// A field name or a pseudo-header's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// `:method`
    Method,
    /// `:scheme`
    Scheme,
    /// `:authority`
    Authority,
    /// `:path`
    Path,
    /// `:protocol`
    Protocol,
    /// `:status`
    Status,
    /// A field.
    Header(HeaderName),
    /// None that HTTP/2 allows (RFC 9113, 8.2.1).
    Malformed,
}

/// A field or a pseudo-header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// `:method`
    Method(Method),
    /// `:scheme`
    Scheme(Scheme),
    /// `:authority`
    Authority(Authority),
    /// `:path`
    Path(PathAndQuery),
    /// `:protocol`
    Protocol(Protocol),
    /// `:status`
    Status(StatusCode),
    /// A field.
    Header(HeaderName, HeaderValue),
    /// One whose name or value HTTP/2 does not allow; its name, which later fields may refer to.
    Malformed(Name),
}

impl Name {
    /// The name these bytes are.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        if bytes.first() != Some(&b':') {
            return HeaderName::from_lowercase(bytes).map_or(Self::Malformed, Self::Header);
        }
        match bytes {
            b":method" => Self::Method,
            b":scheme" => Self::Scheme,
            b":authority" => Self::Authority,
            b":path" => Self::Path,
            b":protocol" => Self::Protocol,
            b":status" => Self::Status,
            _ => Self::Malformed,
        }
    }

    /// Its length in bytes; that of a malformed one is not known here.
    fn len(&self) -> usize {
        match self {
            Self::Method | Self::Scheme | Self::Status => 7,
            Self::Authority => 10,
            Self::Path => 5,
            Self::Protocol => 9,
            Self::Header(name) => name.as_str().len(),
            Self::Malformed => 0,
        }
    }

    /// Its size in a table, with a value of this length (RFC 7541, 4.1).
    pub(super) fn size(&self, value: usize) -> usize {
        self.len() + value + super::OVERHEAD
    }
}

impl Field {
    /// The field of this name and value.
    pub(super) fn parse(name: Name, value: Bytes, sensitive: bool) -> Self {
        let parsed = match &name {
            Name::Method => Method::from_bytes(&value).ok().map(Self::Method),
            Name::Scheme => scheme(&value).map(Self::Scheme),
            Name::Authority => authority(value).map(Self::Authority),
            Name::Path => path(value).map(Self::Path),
            Name::Protocol => Protocol::new(value).map(Self::Protocol),
            Name::Status => status(&value).map(Self::Status),
            Name::Header(header) => header_value(value).map(|mut value| {
                value.set_sensitive(sensitive);
                Self::Header(header.clone(), value)
            }),
            Name::Malformed => None,
        };
        parsed.unwrap_or(Self::Malformed(name))
    }

    /// Its name.
    pub fn name(&self) -> Name {
        match self {
            Self::Method(_) => Name::Method,
            Self::Scheme(_) => Name::Scheme,
            Self::Authority(_) => Name::Authority,
            Self::Path(_) => Name::Path,
            Self::Protocol(_) => Name::Protocol,
            Self::Status(_) => Name::Status,
            Self::Header(name, _) => Name::Header(name.clone()),
            Self::Malformed(name) => name.clone(),
        }
    }
}

fn scheme(value: &[u8]) -> Option<Scheme> {
    match value {
        b"http" => Some(Scheme::HTTP),
        b"https" => Some(Scheme::HTTPS),
        _ => Scheme::try_from(value).ok(),
    }
}

fn authority(value: Bytes) -> Option<Authority> {
    // User information is not allowed (RFC 9113, 8.3.1).
    let fine = !value.is_empty() && !value.contains(&b'@');
    fine.then(|| Authority::from_maybe_shared(value).ok()).flatten()
}

fn path(value: Bytes) -> Option<PathAndQuery> {
    // A fragment would be cut off in silence.
    let fine = (value.starts_with(b"/") && !value.contains(&b'#')) || value == "*";
    fine.then(|| PathAndQuery::from_maybe_shared(value).ok()).flatten()
}

fn status(value: &[u8]) -> Option<StatusCode> {
    StatusCode::from_bytes(value).ok().filter(|status| status.as_u16() < 600)
}

fn header_value(value: Bytes) -> Option<HeaderValue> {
    let space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let fine = !space(value.first()) && !space(value.last());
    fine.then(|| HeaderValue::from_maybe_shared(value).ok()).flatten()
}
