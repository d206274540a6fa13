//! The head of a response as it comes.

use super::outgoing::content_length;
use super::{Decoder, Error};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header};
use hyper::ext::ReasonPhrase;
use std::mem::MaybeUninit;

/// Fields of a head.
const MAX_FIELDS: usize = 128;
/// Bytes of a head.
const MAX_HEAD: usize = 64 * 1024;

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

/// Takes the head that answers a request of this method out of what was read; `None` when it is not complete. Interim
/// responses before it are left aside.
///
/// # Errors
/// [`Error::Malformed`].
pub fn parse(read: &mut BytesMut, method: &Method) -> Result<Option<Head>, Error> {
    while !read.is_empty() {
        let Some(response) = fields(read)? else { return Ok(None) };
        let status = response.status();
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            continue;
        }
        return judge(response, method).map(Some);
    }
    Ok(None)
}

fn fields(read: &mut BytesMut) -> Result<Option<Response<()>>, Error> {
    /// Where something is in the head: beginning and length.
    type Place = (usize, usize);
    let mut places: [(Place, Place); MAX_FIELDS] = [((0, 0), (0, 0)); MAX_FIELDS];
    let (len, count, status, version, reason) = {
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut []);
        let done = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut parsed,
            read,
            &mut fields,
        );
        let len = match done {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) if read.len() < MAX_HEAD => return Ok(None),
            Ok(httparse::Status::Partial) => return Err(Error::Malformed("the head is too large")),
            Err(httparse::Error::TooManyHeaders) => {
                return Err(Error::Malformed("the head has too many fields"));
            }
            Err(_) => return Err(Error::Malformed("the head is not one of HTTP/1")),
        };
        let start = read.as_ptr() as usize;
        let place = |bytes: &[u8]| (bytes.as_ptr() as usize - start, bytes.len());
        for (field, at) in parsed.headers.iter().zip(&mut places) {
            // An empty value may lie anywhere.
            let value = if field.value.is_empty() { (0, 0) } else { place(field.value) };
            *at = (place(field.name.as_bytes()), value);
        }
        let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or(Error::Malformed("the status is not one"))?;
        let version = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
        let reason = parsed.reason.filter(|reason| Some(*reason) != status.canonical_reason());
        let reason = reason.and_then(|reason| ReasonPhrase::try_from(reason.as_bytes()).ok());
        (len, parsed.headers.len(), status, version, reason)
    };
    let head: Bytes = read.split_to(len).freeze();
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.version_mut() = version;
    if let Some(reason) = reason {
        response.extensions_mut().insert(reason);
    }
    let map = response.headers_mut();
    map.reserve(count);
    for (name, value) in &places[..count] {
        let part = |(at, len): Place| head.slice(at..at + len);
        let name = HeaderName::from_bytes(&part(*name));
        let name = name.map_err(|_| Error::Malformed("a field has no valid name"))?;
        let value = HeaderValue::from_maybe_shared(part(*value));
        map.append(name, value.map_err(|_| Error::Malformed("a field has no valid value"))?);
    }
    Ok(Some(response))
}

/// Where the body ends (RFC 9112, 6.3), and what becomes of the connection.
fn judge(mut response: Response<()>, method: &Method) -> Result<Head, Error> {
    let status = response.status();
    let connected = *method == Method::CONNECT && status.is_success();
    let leaves_http = connected || status == StatusCode::SWITCHING_PROTOCOLS;
    let http11 = response.version() == Version::HTTP_11;
    let mut keeps = keeps(response.headers(), http11);
    let bodiless =
        *method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let headers = response.headers_mut();
    let body = if leaves_http || bodiless {
        Decoder::exact(0)
    } else if headers.contains_key(header::TRANSFER_ENCODING) {
        if !http11 {
            return Err(Error::Malformed("a response of HTTP/1.0 has a transfer-encoding"));
        }
        // Two lengths: another reader may believe the other one.
        keeps &= headers.remove(header::CONTENT_LENGTH).is_none();
        if is_chunked(headers) { Decoder::chunked() } else { Decoder::until_close() }
    } else if headers.contains_key(header::CONTENT_LENGTH) {
        let len = content_length(headers);
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

/// Whether the sender keeps the connection open (RFC 9112, 9.3).
fn keeps(headers: &HeaderMap, http11: bool) -> bool {
    let values = || headers.get_all(header::CONNECTION).iter().map(HeaderValue::as_bytes);
    let says = |token: &[u8]| {
        let mut tokens = values().flat_map(|value| value.split(|byte| *byte == b','));
        tokens.any(|said| said.trim_ascii().eq_ignore_ascii_case(token))
    };
    !says(b"close") && (http11 || says(b"keep-alive"))
}

/// Whether chunked is the last coding.
fn is_chunked(headers: &HeaderMap) -> bool {
    let last = headers.get_all(header::TRANSFER_ENCODING).iter().next_back();
    last.is_some_and(super::outgoing::is_chunked)
}
