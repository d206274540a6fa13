//! The head of a request, as it comes and as it is written.

use super::encoder::{self, CHUNKED, Encoder, put_fields};
use super::fields::{self, MAX_FIELDS, Places};
use super::{Decoder, Error, Outgoing};
use crate::body::Body;
use crate::http::interim;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Uri, Version, header};
use http_body::Body as _;
use std::mem::MaybeUninit;

/// Room for an ordinary head.
const HEAD: usize = 512;

/// A request without its body.
#[derive(Debug)]
pub struct Asked {
    /// Method, target, version and fields.
    pub request: Request<()>,
    /// Where its body ends.
    pub body: Decoder,
    /// Whether the client waits to be told to send its body.
    pub expects_continue: bool,
    /// What it says of the answer.
    pub answer: Answer,
}

/// What a request says of its answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Whether it has no body, whatever its head says.
    pub head_only: bool,
    /// Whether a success ends HTTP on the connection.
    pub connect: bool,
    /// Whether it may be chunked.
    pub http11: bool,
    /// Whether its trailers are of use.
    pub trailers: bool,
    /// Whether another request may follow.
    pub keeps: bool,
}

impl Answer {
    /// To what could not be read, and after which nothing can be.
    pub const LAST: Self =
        Self { head_only: false, connect: false, http11: true, trailers: false, keeps: false };
}

/// Takes the head of a request out of what was read; `None` when it is not complete.
///
/// # Errors
/// [`Error::Malformed`].
pub fn parse(read: &mut BytesMut) -> Result<Option<Asked>, Error> {
    let (places, len, method, target, http11) = {
        let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut parsed = httparse::Request::new(&mut []);
        let len = fields::judge(parsed.parse_with_uninit_headers(read, &mut room), read.len())?;
        let Some(len) = len else { return Ok(None) };
        let method = parsed.method.unwrap_or_default();
        let method =
            Method::from_bytes(method.as_bytes()).map_err(|_| Error::Malformed("no valid method"))?;
        let path = parsed.path.unwrap_or_default();
        let target = path.as_ptr() as usize - read.as_ptr() as usize;
        let target = target..target + path.len();
        (Places::of(read, parsed.headers), len, method, target, parsed.version == Some(1))
    };
    let head: Bytes = read.split_to(len).freeze();
    let uri = Uri::from_maybe_shared(head.slice(target));
    let uri = uri.map_err(|_| Error::Malformed("the request target is not one"))?;
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = if http11 { Version::HTTP_11 } else { Version::HTTP_10 };
    places.take(&head, request.headers_mut())?;
    let headers = request.headers();
    let body = match fields::is_chunked(headers) {
        Some(true) if http11 => Decoder::chunked(),
        Some(_) => return Err(Error::Malformed("the end of the request is not told")),
        None if headers.contains_key(header::CONTENT_LENGTH) => {
            let len = fields::content_length(headers);
            Decoder::exact(len.ok_or(Error::Malformed("the content-length is not one number"))?)
        }
        None => Decoder::exact(0),
    };
    let answer = Answer {
        head_only: *request.method() == Method::HEAD,
        connect: *request.method() == Method::CONNECT,
        http11,
        trailers: fields::has(headers, header::TE, b"trailers"),
        keeps: fields::keeps(headers, http11),
    };
    let expects_continue = http11 && interim::expects_continue(headers);
    Ok(Some(Asked { request, body, expects_continue, answer }))
}

/// Writes a request. Where its fields do not say how long the body is, that is said here (RFC 9112, 6).
pub fn outgoing(request: Request<Body>) -> Outgoing {
    let (mut parts, body) = request.into_parts();
    let encoder = frame(&parts.method, parts.version, &mut parts.headers, &body);
    let mut head = BytesMut::with_capacity(HEAD);
    head.put_slice(parts.method.as_str().as_bytes());
    head.put_u8(b' ');
    match (parts.uri.authority(), parts.uri.path_and_query()) {
        (None, Some(path)) => head.put_slice(path.as_str().as_bytes()),
        _ => head.put_slice(parts.uri.to_string().as_bytes()),
    }
    head.put_slice(if parts.version == Version::HTTP_10 { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" });
    put_fields(&mut head, &parts.headers);
    let announced = if encoder == Encoder::Chunked { fields::announced(&parts.headers) } else { Vec::new() };
    let body = (!body.is_end_stream() || encoder != Encoder::Exact(0)).then_some(body);
    Outgoing::new(head, encoder, body, announced)
}

/// How the end of the body is told, with the fields that say so.
fn frame(method: &Method, version: Version, headers: &mut HeaderMap, body: &Body) -> Encoder {
    if body.is_end_stream() {
        headers.remove(header::TRANSFER_ENCODING);
        return Encoder::Exact(fields::content_length(headers).unwrap_or(0));
    }
    let says_zero = !matches!(*method, Method::GET | Method::HEAD | Method::CONNECT);
    encoder::frame(headers, body, version != Version::HTTP_10, says_zero).unwrap_or_else(|| {
        headers.insert(header::TRANSFER_ENCODING, CHUNKED);
        Encoder::Chunked
    })
}
