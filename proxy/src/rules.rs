//! Matches and filters as the control plane sends them, turned into [`mesh_rules`]; both sides of the proxy use it.

use http::uri::Scheme;
use http::{Method, StatusCode};
use mesh_api::{grpc_route, http_route, http_types, tls_route};
use mesh_rules::{
    Error as RuleError, Filter, HeaderModifier, HostMatch, PathMatch, PathRewrite, Pattern, Redirect,
    RequestMatch, ValueMatch,
};

/// Why a match or filter cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// A field is there but says nothing we know.
    #[error("{0} is missing or of an unknown kind")]
    Unknown(&'static str),
    /// A value is not valid.
    #[error(transparent)]
    Rule(#[from] RuleError),
}

/// A host.
///
/// # Errors
/// [`ConvertError`].
pub fn host_match(host: http_route::HostMatch) -> Result<HostMatch, ConvertError> {
    use http_route::host_match::{Match, Suffix};
    match host.r#match.ok_or(ConvertError::Unknown("host"))? {
        Match::Exact(name) => Ok(HostMatch::Exact(name.to_ascii_lowercase())),
        Match::Suffix(Suffix { reverse_labels }) => {
            Ok(HostMatch::Suffix(joined(reverse_labels).to_ascii_lowercase()))
        }
    }
}

/// A match of a server name.
///
/// # Errors
/// [`ConvertError`].
pub fn sni_match(sni: tls_route::SniMatch) -> Result<HostMatch, ConvertError> {
    use tls_route::sni_match::{Match, Suffix};
    let name = |name: &str| {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        // A suffix of no labels would be for all names.
        if name.is_empty() { Err(ConvertError::Unknown("server name")) } else { Ok(name) }
    };
    match sni.r#match.ok_or(ConvertError::Unknown("server name"))? {
        Match::Exact(exact) => name(&exact).map(HostMatch::Exact),
        Match::Suffix(Suffix { reverse_labels }) => name(&joined(reverse_labels)).map(HostMatch::Suffix),
    }
}

/// A name of these labels, which the API has in reverse.
fn joined(mut reverse_labels: Vec<String>) -> String {
    reverse_labels.reverse();
    reverse_labels.join(".")
}

/// A match of an HTTP route.
///
/// # Errors
/// [`ConvertError`].
pub fn http_match(m: http_route::HttpRouteMatch) -> Result<RequestMatch, ConvertError> {
    use http_route::path_match::Kind;
    let path = match m.path {
        None => None,
        Some(path) => Some(match path.kind.ok_or(ConvertError::Unknown("path"))? {
            Kind::Exact(path) => PathMatch::Exact(path),
            Kind::Prefix(path) => PathMatch::Prefix(path),
            Kind::Regex(pattern) => PathMatch::Regex(Pattern::new(&pattern)?),
        }),
    };
    Ok(RequestMatch {
        path,
        method: m.method.map(method).transpose()?,
        headers: m.headers.into_iter().map(header_match).collect::<Result<_, _>>()?,
        query: m.query_params.into_iter().map(query_match).collect::<Result<_, _>>()?,
    })
}

/// A match of a gRPC route; every gRPC request is a `POST`.
///
/// # Errors
/// [`ConvertError`].
pub fn grpc_match(m: grpc_route::GrpcRouteMatch) -> Result<RequestMatch, ConvertError> {
    let rpc = m.rpc.unwrap_or_default();
    let path = match (rpc.service.as_str(), rpc.method.as_str()) {
        ("", "") => None,
        ("", method) => Some(PathMatch::Regex(Pattern::new(&format!("/[^/]+/{}", escape(method)))?)),
        (service, "") => Some(PathMatch::Prefix(format!("/{service}"))),
        (service, method) => Some(PathMatch::Exact(format!("/{service}/{method}"))),
    };
    let headers = m.headers.into_iter().map(header_match).collect::<Result<_, _>>()?;
    Ok(RequestMatch { path, method: None, headers, query: Vec::new() })
}

fn method(method: http_types::HttpMethod) -> Result<Method, ConvertError> {
    Method::try_from(method).map_err(|_| ConvertError::Unknown("method"))
}

/// A gRPC method's name holds no character that means something in an expression, except by mistake.
fn escape(name: &str) -> String {
    name.chars()
        .flat_map(|c| (!c.is_alphanumeric() && c != '_').then_some('\\').into_iter().chain([c]))
        .collect()
}

fn header_match(m: http_route::HeaderMatch) -> Result<(http::HeaderName, ValueMatch), ConvertError> {
    use http_route::header_match::Value;
    let name = m.name.parse().map_err(|_| RuleError::Header(m.name.clone()))?;
    let value = match m.value.ok_or(ConvertError::Unknown("header value"))? {
        Value::Exact(value) => {
            ValueMatch::Exact(String::from_utf8(value).map_err(|_| RuleError::Header(m.name))?)
        }
        Value::Regex(pattern) => ValueMatch::Regex(Pattern::new(&pattern)?),
    };
    Ok((name, value))
}

fn query_match(m: http_route::QueryParamMatch) -> Result<(String, ValueMatch), ConvertError> {
    use http_route::query_param_match::Value;
    let value = match m.value.ok_or(ConvertError::Unknown("query value"))? {
        Value::Exact(value) => ValueMatch::Exact(value),
        Value::Regex(pattern) => ValueMatch::Regex(Pattern::new(&pattern)?),
    };
    Ok((m.name, value))
}

/// A request header modifier.
///
/// # Errors
/// [`ConvertError`].
pub fn request_headers(edit: http_route::RequestHeaderModifier) -> Result<Filter, ConvertError> {
    Ok(Filter::RequestHeaders(modifier(edit.add, edit.set, &edit.remove)?))
}

/// A response header modifier.
///
/// # Errors
/// [`ConvertError`].
pub fn response_headers(edit: http_route::ResponseHeaderModifier) -> Result<Filter, ConvertError> {
    Ok(Filter::ResponseHeaders(modifier(edit.add, edit.set, &edit.remove)?))
}

fn modifier(
    add: Option<http_types::Headers>,
    set: Option<http_types::Headers>,
    remove: &[String],
) -> Result<HeaderModifier, ConvertError> {
    let pairs = |headers: Option<http_types::Headers>| {
        let headers = headers.map(|h| h.headers).unwrap_or_default();
        headers.into_iter().map(|h| HeaderModifier::field(&h.name, &h.value)).collect::<Result<_, _>>()
    };
    let names = remove.iter().map(|name| name.parse().map_err(|_| RuleError::Header(name.clone())));
    Ok(HeaderModifier { add: pairs(add)?, set: pairs(set)?, remove: names.collect::<Result<_, _>>()? })
}

/// A redirect.
///
/// # Errors
/// [`ConvertError`].
pub fn redirect(redirect: http_route::RequestRedirect) -> Result<Filter, ConvertError> {
    use http_route::path_modifier::Replace;
    use http_types::scheme::{Registered, Type};
    let scheme = match redirect.scheme.and_then(|scheme| scheme.r#type) {
        None => None,
        Some(Type::Unregistered(scheme)) => {
            Some(Scheme::try_from(scheme.as_str()).map_err(|_| ConvertError::Unknown("scheme"))?)
        }
        Some(Type::Registered(scheme)) => match Registered::try_from(scheme) {
            Ok(Registered::Http) => Some(Scheme::HTTP),
            Ok(Registered::Https) => Some(Scheme::HTTPS),
            Err(_) => return Err(ConvertError::Unknown("scheme")),
        },
    };
    let path = redirect.path.and_then(|path| path.replace).map(|replace| match replace {
        Replace::Full(path) => PathRewrite::Full(path),
        Replace::Prefix(prefix) => PathRewrite::Prefix(prefix),
    });
    let status = match redirect.status {
        0 => None,
        status => Some(status_code(status)?),
    };
    Ok(Filter::Redirect(Redirect {
        scheme,
        host: Some(redirect.host).filter(|host| !host.is_empty()),
        port: u16::try_from(redirect.port).ok().filter(|port| *port > 0),
        path,
        status,
    }))
}

/// A failure injector of an HTTP route.
///
/// # Errors
/// [`ConvertError`].
pub fn http_failure(failure: http_route::HttpFailureInjector) -> Result<Filter, ConvertError> {
    let status = status_code(failure.status)?;
    Ok(Filter::Fail { status, grpc: None, message: failure.message, ratio: ratio(failure.ratio) })
}

/// A failure injector of a gRPC route.
///
/// # Errors
/// [`ConvertError`].
pub fn grpc_failure(failure: grpc_route::GrpcFailureInjector) -> Result<Filter, ConvertError> {
    let code = u8::try_from(failure.code).map_err(|_| RuleError::Status(failure.code))?;
    let ratio = ratio(failure.ratio);
    Ok(Filter::Fail { status: StatusCode::OK, grpc: Some(code), message: failure.message, ratio })
}

fn ratio(ratio: Option<http_route::Ratio>) -> f64 {
    match ratio {
        Some(http_route::Ratio { numerator, denominator }) if denominator > 0 => {
            f64::from(numerator) / f64::from(denominator)
        }
        _ => 1.0,
    }
}

fn status_code(status: u32) -> Result<StatusCode, ConvertError> {
    let code = u16::try_from(status).ok().and_then(|code| StatusCode::from_u16(code).ok());
    Ok(code.ok_or(RuleError::Status(status))?)
}
