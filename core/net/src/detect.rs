//! What the first bytes of a connection speak. The parsers are pure and see all bytes read so far.

use bytes::BytesMut;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};

/// No more than this is read for detection: a TLS record, or a generous request line.
const MAX_PREFIX: usize = 17 * 1024;
/// The first read; most request lines and ClientHellos fit.
const FIRST_READ: usize = 2048;
/// The client preface of HTTP/2 (RFC 9113, 3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longer method names than any registered one are taken for another protocol.
const MAX_METHOD: usize = 32;

/// What a parser makes of the bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parse<T> {
    /// Decided.
    Done(T),
    /// Cannot be told yet.
    More,
}

/// How sniffing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniffed<T> {
    /// The parser decided.
    Found(T),
    /// The client sent too little in time: perhaps the server speaks first.
    Timeout,
    /// The client closed its side before the parser could decide.
    Eof,
}

/// What a TLS client says first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The server name it asks for.
    pub sni: Option<String>,
    /// The application protocols it offers.
    pub alpn: Vec<Vec<u8>>,
}

/// Which HTTP it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Http {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// Reads into `buf` until `parse` decides, `timeout` passes, or the client closes. Give `buf` back to the protocol
/// with [`PrefixedIo`](crate::PrefixedIo). What `buf` holds already is parsed first.
///
/// # Errors
/// When reading fails.
pub async fn sniff<I, T>(
    io: &mut I,
    buf: &mut BytesMut,
    timeout: Duration,
    mut parse: impl FnMut(&[u8]) -> Parse<T>,
) -> io::Result<Sniffed<T>>
where
    I: AsyncRead + Unpin,
{
    let read = async {
        loop {
            if !buf.is_empty()
                && let Parse::Done(found) = parse(buf)
            {
                return Ok(Sniffed::Found(found));
            }
            buf.reserve(FIRST_READ);
            if io.read_buf(buf).await? == 0 {
                return Ok(Sniffed::Eof);
            }
        }
    };
    tokio::time::timeout(timeout, read).await.unwrap_or(Ok(Sniffed::Timeout))
}

/// Whether it is HTTP: `None` means it is not.
pub fn http(bytes: &[u8]) -> Parse<Option<Http>> {
    if bytes.len() >= H2_PREFACE.len() {
        if bytes.starts_with(H2_PREFACE) {
            return Parse::Done(Some(Http::Http2));
        }
    } else if H2_PREFACE.starts_with(bytes) {
        return Parse::More;
    }
    http1(bytes)
}

fn http1(bytes: &[u8]) -> Parse<Option<Http>> {
    const NOT_HTTP: Parse<Option<Http>> = Parse::Done(None);
    // Some clients send an empty line after the previous request's body (RFC 9112, 2.2).
    let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    let method_len = bytes.iter().position(|b| !is_token(*b)).unwrap_or(bytes.len());
    match bytes.get(method_len) {
        _ if method_len > MAX_METHOD => return NOT_HTTP,
        None => return Parse::More,
        Some(b' ') if method_len > 0 => {}
        Some(b'\r') if method_len == 0 && bytes.len() == 1 => return Parse::More,
        Some(_) => return NOT_HTTP,
    }
    let rest = &bytes[method_len + 1..];
    let line_len = rest.iter().position(|b| *b == b'\n');
    let line = &rest[..line_len.unwrap_or(rest.len())];
    // Asked of a whole line too, so that the answer does not hang on how the bytes arrive.
    if !line.iter().all(|b| *b >= b' ' || *b == b'\r' || *b == b'\t') {
        return NOT_HTTP;
    }
    if line_len.is_none() {
        return if bytes.len() < MAX_PREFIX { Parse::More } else { NOT_HTTP };
    }
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let http1 = line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0");
    Parse::Done(http1.then_some(Http::Http1))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether it is TLS, and what the ClientHello says: `None` means it is not TLS.
pub fn client_hello(bytes: &[u8]) -> Parse<Option<ClientHello>> {
    const NOT_TLS: Parse<Option<ClientHello>> = Parse::Done(None);
    const HANDSHAKE: u8 = 0x16;
    const CLIENT_HELLO: u8 = 1;
    match bytes {
        [] | [HANDSHAKE] | [HANDSHAKE, 3] => return Parse::More,
        [HANDSHAKE, 3, ..] => {}
        _ => return NOT_TLS,
    }
    // A ClientHello may be spread over several records.
    let (mut message, mut rest, mut complete) = (Vec::new(), bytes, true);
    // What follows a whole message, such as early data, is none of our business.
    while complete && !rest.is_empty() && !is_whole(&message) {
        let Some(([kind, _, _, hi, lo], body)) = rest.split_first_chunk::<5>() else { break };
        if *kind != HANDSHAKE {
            return NOT_TLS;
        }
        let len = usize::from(u16::from_be_bytes([*hi, *lo]));
        complete = body.len() >= len;
        let taken = len.min(body.len());
        message.extend_from_slice(&body[..taken]);
        rest = &body[taken..];
    }
    let Some(([kind, a, b, c], hello)) = message.split_first_chunk::<4>() else { return Parse::More };
    let len = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
    if *kind != CLIENT_HELLO || len > MAX_PREFIX {
        return NOT_TLS;
    }
    if hello.len() < len {
        return if bytes.len() > MAX_PREFIX { NOT_TLS } else { Parse::More };
    }
    Parse::Done(hello_body(&hello[..len]))
}

/// Whether a handshake message is there to its end.
fn is_whole(message: &[u8]) -> bool {
    message.split_first_chunk::<4>().is_some_and(|([_, a, b, c], body)| {
        body.len() >= (usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c))
    })
}

/// The body of a ClientHello (RFC 8446, 4.1.2).
fn hello_body(body: &[u8]) -> Option<ClientHello> {
    const SERVER_NAME: u16 = 0;
    const ALPN: u16 = 16;
    let mut input = body.get(2 + 32..)?;
    take_vec8(&mut input)?; // session id
    take_vec16(&mut input)?; // cipher suites
    take_vec8(&mut input)?; // compression methods
    let mut hello = ClientHello::default();
    let Some(mut extensions) = take_vec16(&mut input) else { return Some(hello) };
    while !extensions.is_empty() {
        let kind = take_u16(&mut extensions)?;
        let mut value = take_vec16(&mut extensions)?;
        match kind {
            SERVER_NAME => {
                let mut names = take_vec16(&mut value)?;
                while let Some((name_type, rest)) = names.split_first() {
                    names = rest;
                    let name = take_vec16(&mut names)?;
                    if *name_type == 0 {
                        hello.sni = String::from_utf8(name.to_vec()).ok().map(|n| n.to_ascii_lowercase());
                    }
                }
            }
            ALPN => {
                let mut list = take_vec16(&mut value)?;
                while !list.is_empty() {
                    hello.alpn.push(take_vec8(&mut list)?.to_vec());
                }
            }
            _ => {}
        }
    }
    Some(hello)
}

fn take_u16(input: &mut &[u8]) -> Option<u16> {
    let (bytes, rest) = input.split_first_chunk::<2>()?;
    *input = rest;
    Some(u16::from_be_bytes(*bytes))
}

fn take_vec16<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = take_u16(input)?;
    take(input, usize::from(len))
}

fn take_vec8<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = input.split_first()?;
    *input = rest;
    take(input, usize::from(*len))
}

fn take<'a>(input: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = input.split_at_checked(len)?;
    *input = rest;
    Some(taken)
}

#[cfg(test)]
mod tests;
