//! A request on its way out.

use super::Error;
use super::encoder::{Encoder, Out, put_field};
use crate::body::Body;
use bytes::BufMut as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version, header};
use http_body::Body as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// Room for an ordinary head.
const HEAD: usize = 512;

/// A request, written as far as the connection takes it. Until the first byte is taken it can go to another connection.
#[derive(Debug)]
pub struct Outgoing {
    method: Method,
    out: Out,
    encoder: Encoder,
    /// What is left of the body; `None` once its end waits too.
    body: Option<Body>,
    /// Trailer fields that the head announces.
    announced: Vec<HeaderName>,
    unsent: bool,
}

impl Outgoing {
    /// Writes the head. Where headers do not say how long the body is, it is said here (RFC 9112, 6).
    pub fn new(request: Request<Body>) -> Self {
        let (mut parts, body) = request.into_parts();
        let encoder = frame(&parts.method, parts.version, &mut parts.headers, &body);
        let mut out = Out::default();
        let head = out.head();
        head.reserve(HEAD);
        head.put_slice(parts.method.as_str().as_bytes());
        head.put_u8(b' ');
        match (parts.uri.authority(), parts.uri.path_and_query()) {
            (None, Some(path)) => head.put_slice(path.as_str().as_bytes()),
            _ => head.put_slice(parts.uri.to_string().as_bytes()),
        }
        head.put_slice(if parts.version == Version::HTTP_10 { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" });
        for (name, value) in &parts.headers {
            put_field(head, name.as_str(), value.as_bytes());
        }
        head.put_slice(b"\r\n");
        let announced = if encoder == Encoder::Chunked { announced(&parts.headers) } else { Vec::new() };
        let body = (!body.is_end_stream() || encoder != Encoder::Exact(0)).then_some(body);
        Self { method: parts.method, out, encoder, body, announced, unsent: true }
    }

    /// What is asked for.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Whether no connection has taken anything of it.
    pub fn is_unsent(&self) -> bool {
        self.unsent
    }

    /// What was not written yet, to be written by someone else.
    pub fn rest(&mut self) -> Self {
        Self {
            method: self.method.clone(),
            out: std::mem::take(&mut self.out),
            encoder: self.encoder,
            body: self.body.take(),
            announced: std::mem::take(&mut self.announced),
            unsent: self.unsent,
        }
    }

    /// Whether all of it was written.
    pub fn is_sent(&self) -> bool {
        self.body.is_none() && self.out.is_empty()
    }

    /// Writes until all is written and flushed.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Body`], or [`Error::Malformed`] where the body is not as long as was said.
    pub fn poll_send<I: AsyncWrite + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        loop {
            // What is at hand goes out with the head.
            let waits = self.poll_body(cx)?.is_pending();
            let mut written = false;
            while !self.out.is_empty() {
                ready!(self.out.poll_write(io, cx))?;
                (self.unsent, written) = (false, true);
            }
            if self.body.is_none() {
                return Pin::new(io).poll_flush(cx).map_err(Error::Io);
            }
            if waits {
                if written {
                    // The peer sees what there is while the rest is on its way.
                    let _ = Pin::new(io).poll_flush(cx)?;
                }
                return Poll::Pending;
            }
        }
    }

    /// Takes frames of the body until enough waits, or there are no more.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while let Some(body) = &mut self.body
            && self.out.takes_more()
        {
            let frame = if body.is_end_stream() { None } else { ready!(Pin::new(&mut *body).poll_frame(cx)) };
            match frame.transpose().map_err(|error| Error::Body(Box::new(error)))? {
                Some(frame) => match frame.into_data() {
                    Ok(data) => self.encoder.data(data, &mut self.out)?,
                    Err(frame) => {
                        let trailers = frame.into_trailers().ok().map(|fields| self.allowed(fields));
                        self.end(trailers.as_ref())?;
                    }
                },
                None => self.end(None)?,
            }
            if self.encoder.is_full() {
                self.body = None;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), Error> {
        self.body = None;
        self.encoder.end(trailers, &mut self.out)
    }

    /// The trailers that the head has announced.
    fn allowed(&self, fields: HeaderMap) -> HeaderMap {
        let mut allowed = HeaderMap::new();
        for name in &self.announced {
            for value in fields.get_all(name) {
                allowed.append(name.clone(), value.clone());
            }
        }
        allowed
    }
}

/// How the end of the body is told, with the headers that say so.
fn frame(method: &Method, version: Version, headers: &mut HeaderMap, body: &Body) -> Encoder {
    if body.is_end_stream() {
        headers.remove(header::TRANSFER_ENCODING);
        return Encoder::Exact(content_length(headers).unwrap_or(0));
    }
    let chunked = headers.get_all(header::TRANSFER_ENCODING).iter().next_back().map(is_chunked);
    if version == Version::HTTP_10 {
        // It has no chunks.
        headers.remove(header::TRANSFER_ENCODING);
    } else if let Some(chunked) = chunked {
        headers.remove(header::CONTENT_LENGTH);
        if !chunked {
            headers.append(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        return Encoder::Chunked;
    }
    if let Some(len) = content_length(headers) {
        return Encoder::Exact(len);
    }
    headers.remove(header::CONTENT_LENGTH);
    if let Some(len) = body.size_hint().exact() {
        if len > 0 || !matches!(*method, Method::GET | Method::HEAD | Method::CONNECT) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
        }
        return Encoder::Exact(len);
    }
    headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    Encoder::Chunked
}

/// Whether chunked is the last of the codings in a field.
pub(super) fn is_chunked(value: &HeaderValue) -> bool {
    let last = value.as_bytes().rsplit(|byte| *byte == b',').next().unwrap_or_default();
    last.trim_ascii().eq_ignore_ascii_case(b"chunked")
}

/// The length that all fields agree on.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter().map(|value| {
        let digits = value.as_bytes();
        let all = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        all.then(|| value.to_str().ok()?.parse::<u64>().ok()).flatten()
    });
    let first = lengths.next()??;
    lengths.all(|length| length == Some(first)).then_some(first)
}

/// Names in `Trailer`.
fn announced(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::TRAILER).iter();
    let names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect()
}
