//! The head of a response, as it comes and as it is written.

use super::encoder::{self, CHUNKED, Encoder, put_fields};
use super::fields::{self, MAX_FIELDS, Places};
use super::request::Answer;
use super::{Decoder, Error, Outgoing};
use crate::body::Body;
use bytes::{BufMut as _, BytesMut};
use http::{Extensions, HeaderMap, HeaderValue, Method, Response, StatusCode, Version, header};
use http_body::Body as _;
use std::mem::MaybeUninit;

/// Room for an ordinary head.
const HEAD: usize = 512;

/// The words behind a status, where they are not the usual ones.
#[derive(Clone)]
struct Reason(Box<str>);

/// A response without its body.
#[derive(Debug)]
pub struct Head {
    /// Status, version and fields.
    pub response: Response<()>,
    /// Where its body ends.
    pub body: Decoder,
    /// Whether the connection may be used again.
    pub keeps: bool,
    /// Whether what follows is no HTTP.
    pub leaves_http: bool,
}

/// Takes the head that answers a request of this method out of what was read; `None` when it is not complete. Those of
/// interim responses before it go to `interim`.
///
/// # Errors
/// [`Error::Malformed`].
pub fn parse(
    read: &mut BytesMut,
    method: &Method,
    mut interim: impl FnMut(Response<()>),
) -> Result<Option<Head>, Error> {
    while !read.is_empty() {
        let Some(response) = take(read)? else { return Ok(None) };
        let status = response.status();
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            interim(response);
            continue;
        }
        return judge(response, method).map(Some);
    }
    Ok(None)
}

fn take(read: &mut BytesMut) -> Result<Option<Response<()>>, Error> {
    let (places, len, status, version, reason) = {
        let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let done = config.parse_response_with_uninit_headers(&mut parsed, read, &mut room);
        let Some(len) = fields::judge(done, read.len())? else { return Ok(None) };
        let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or(Error::Malformed("the status is not one"))?;
        let version = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
        let reason = parsed.reason.filter(|reason| Some(*reason) != status.canonical_reason());
        let reason = reason.map(|reason| Reason(reason.into()));
        (Places::of(read, parsed.headers), len, status, version, reason)
    };
    let head = read.split_to(len).freeze();
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.version_mut() = version;
    if let Some(reason) = reason {
        response.extensions_mut().insert(reason);
    }
    places.take(&head, response.headers_mut())?;
    Ok(Some(response))
}

/// Where the body ends (RFC 9112, 6.3), and what becomes of the connection.
fn judge(mut response: Response<()>, method: &Method) -> Result<Head, Error> {
    let status = response.status();
    let connected = *method == Method::CONNECT && status.is_success();
    let leaves_http = connected || status == StatusCode::SWITCHING_PROTOCOLS;
    let http11 = response.version() == Version::HTTP_11;
    let mut keeps = fields::keeps(response.headers(), http11);
    let bodiless =
        *method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let headers = response.headers_mut();
    let body = if leaves_http || bodiless {
        Decoder::exact(0)
    } else if let Some(chunked) = fields::is_chunked(headers) {
        if !http11 {
            return Err(Error::Malformed("a response of HTTP/1.0 has a transfer-encoding"));
        }
        // Two lengths: another reader may believe the other one.
        keeps &= headers.remove(header::CONTENT_LENGTH).is_none();
        if chunked { Decoder::chunked() } else { Decoder::until_close() }
    } else if headers.contains_key(header::CONTENT_LENGTH) {
        let len = fields::content_length(headers);
        let len = len.ok_or(Error::Malformed("the content-length is not one number"))?;
        if headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
        }
        Decoder::exact(len)
    } else {
        Decoder::until_close()
    };
    keeps &= !leaves_http && !body.ends_with_connection();
    Ok(Head { response, body, keeps, leaves_http })
}

/// Writes the head of an interim response.
pub fn put_interim(response: &Response<()>, out: &mut BytesMut) {
    out.extend_from_slice(b"HTTP/1.1 ");
    put_status(response.status(), response.extensions(), out);
    put_fields(out, response.headers());
}

fn put_status(status: StatusCode, extensions: &Extensions, out: &mut BytesMut) {
    out.extend_from_slice(status.as_str().as_bytes());
    out.extend_from_slice(b" ");
    match extensions.get::<Reason>() {
        Some(Reason(reason)) => out.extend_from_slice(reason.as_bytes()),
        None => out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes()),
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes a response; says also whether another request may follow it on the connection. Where its fields do not say how
/// long the body is, that is said here (RFC 9112, 6).
pub fn outgoing(response: Response<Body>, to: Answer) -> (Outgoing, bool) {
    let (mut parts, body) = response.into_parts();
    let status = parts.status;
    let headers = &mut parts.headers;
    let leaves_http = status == StatusCode::SWITCHING_PROTOCOLS || (to.connect && status.is_success());
    let mut keeps = to.keeps && !fields::has(headers, header::CONNECTION, b"close");
    let bodiless = leaves_http
        || to.head_only
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let encoder = if bodiless {
        if !to.head_only && status != StatusCode::NOT_MODIFIED {
            headers.remove(header::CONTENT_LENGTH);
            headers.remove(header::TRANSFER_ENCODING);
        }
        Encoder::Exact(0)
    } else {
        frame(headers, &body, to.http11)
    };
    keeps &= encoder != Encoder::Close && !leaves_http;
    if !leaves_http {
        match (keeps, to.http11) {
            (true, true) => {}
            (true, false) => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
            }
            (false, _) => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
        }
    }
    let mut head = BytesMut::with_capacity(HEAD);
    head.put_slice(if to.http11 { b"HTTP/1.1 " } else { b"HTTP/1.0 " });
    put_status(status, &parts.extensions, &mut head);
    put_fields(&mut head, &parts.headers);
    let chunked = encoder == Encoder::Chunked && to.trailers;
    let announced = if chunked { fields::announced(&parts.headers) } else { Vec::new() };
    let body = (!bodiless && (!body.is_end_stream() || encoder != Encoder::Exact(0))).then_some(body);
    (Outgoing::new(head, encoder, body, announced), keeps)
}

/// How the end of a body is told, with the fields that say so.
fn frame(headers: &mut HeaderMap, body: &Body, http11: bool) -> Encoder {
    encoder::frame(headers, body, http11, true).unwrap_or_else(|| {
        if !http11 {
            return Encoder::Close;
        }
        headers.insert(header::TRANSFER_ENCODING, CHUNKED);
        Encoder::Chunked
    })
}
