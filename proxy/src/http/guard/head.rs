//! What the head of an HTTP/1 request may be (RFC 9112, 2 to 6), judged line by line as it comes.

use super::Violation;
use http::StatusCode;
use std::ops::Range;

/// The largest head; below what the parser has room for.
const MAX_HEAD: usize = 60 * 1024;
/// The longest request target, as the parser has it.
const MAX_TARGET: usize = 60 * 1024;
/// Header fields, as the parser has it.
const MAX_FIELDS: usize = 100;

const TOO_LARGE: Violation = Violation {
    status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    reason: "the request head is larger than 60 KiB",
};
const TOO_MANY: Violation = Violation {
    status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    reason: "the request has more than 100 header fields",
};
const VERSION: Violation = Violation {
    status: StatusCode::HTTP_VERSION_NOT_SUPPORTED,
    reason: "the HTTP version is not 1.0 or 1.1",
};
const CODING: Violation = Violation {
    status: StatusCode::NOT_IMPLEMENTED,
    reason: "the transfer coding is not chunked and nothing else",
};

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// This many bytes.
    Exact(u64),
    /// Chunks tell.
    Chunked,
}

/// What is known of a head so far. Positions count from the first byte of the head.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Where the line begins that is not complete.
    line: usize,
    /// Up to where there is no end of that line.
    scanned: usize,
    request: Option<Request>,
    fields: usize,
    length: Option<u64>,
    chunked: bool,
    host: Option<Range<usize>>,
}

#[derive(Debug)]
struct Request {
    http11: bool,
    connect: bool,
    /// The authority of a target in absolute form, and the port its scheme stands for.
    authority: Option<(Range<usize>, &'static [u8])>,
}

impl Head {
    /// Whether nothing was seen.
    pub(super) fn is_empty(&self) -> bool {
        self.scanned == 0
    }

    /// Judges all bytes of the head so far, those seen before included. The head's length and its body's once it is
    /// complete.
    pub(super) fn parse(&mut self, bytes: &[u8]) -> Result<Option<(usize, Length)>, Violation> {
        while let Some(found) = find_control(&bytes[self.scanned..]) {
            let end = self.scanned + found;
            match (bytes[end], bytes.get(end + 1)) {
                (b'\r', Some(b'\n')) => {}
                (b'\r', None) => {
                    self.scanned = end;
                    return if end < MAX_HEAD { Ok(None) } else { Err(TOO_LARGE) };
                }
                (b'\r', Some(_)) => return Err(Violation::bad("a carriage return stands alone in the head")),
                (b'\n', _) => {
                    return Err(Violation::bad("a line of the head ends without a carriage return"));
                }
                _ => return Err(Violation::bad("a control character stands in the head")),
            }
            let line = self.line..end;
            (self.line, self.scanned) = (end + 2, end + 2);
            if end > MAX_HEAD {
                return Err(TOO_LARGE);
            }
            if self.request.is_none() {
                // Some clients send an empty line after the previous request (RFC 9112, 2.2).
                if !line.is_empty() {
                    self.request = Some(request_line(bytes, line)?);
                }
            } else if line.is_empty() {
                return Ok(Some((self.line, self.finish(bytes)?)));
            } else {
                self.field(bytes, line)?;
            }
        }
        self.scanned = bytes.len();
        if bytes.len() > MAX_HEAD { Err(TOO_LARGE) } else { Ok(None) }
    }

    fn field(&mut self, bytes: &[u8], line: Range<usize>) -> Result<(), Violation> {
        self.fields += 1;
        if self.fields > MAX_FIELDS {
            return Err(TOO_MANY);
        }
        let text = &bytes[line.clone()];
        if matches!(text[0], b' ' | b'\t') {
            return Err(Violation::bad("a header field is folded over several lines"));
        }
        let colon = text.iter().position(|byte| !is_token(*byte)).unwrap_or(text.len());
        if colon == 0 || text.get(colon) != Some(&b':') {
            return Err(Violation::bad("a header field's name is not a token followed by a colon"));
        }
        let name = &text[..colon];
        // Most names have other lengths than the three that matter.
        match colon {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let value = text[colon + 1..].trim_ascii();
                if self.length.is_some() {
                    return Err(Violation::bad("content-length is given twice"));
                }
                self.length = Some(number(value)?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                let value = text[colon + 1..].trim_ascii();
                if self.chunked {
                    return Err(Violation::bad("transfer-encoding is given twice"));
                }
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(CODING);
                }
                self.chunked = true;
            }
            4 if name.eq_ignore_ascii_case(b"host") => {
                if self.host.is_some() {
                    return Err(Violation::bad("host is given twice"));
                }
                let value = text[colon + 1..].trim_ascii_start();
                let start = line.end - value.len();
                self.host = Some(start..start + value.trim_ascii_end().len());
            }
            _ => {}
        }
        Ok(())
    }

    /// Judges the whole, once all lines are there.
    fn finish(&self, bytes: &[u8]) -> Result<Length, Violation> {
        let Some(request) = &self.request else { return Err(Violation::bad("there is no request line")) };
        if self.chunked && self.length.is_some() {
            return Err(Violation::bad("both content-length and transfer-encoding are given"));
        }
        if self.chunked && !request.http11 {
            return Err(Violation::bad("an HTTP/1.0 request has a transfer-encoding"));
        }
        if request.connect && (self.chunked || self.length.is_some_and(|length| length > 0)) {
            return Err(Violation::bad("a CONNECT request has a body"));
        }
        let host = self.host.clone().map(|range| &bytes[range]);
        match host {
            None if request.http11 => return Err(Violation::bad("an HTTP/1.1 request has no host")),
            Some(host) if host.iter().any(|byte| b" \t,/?#@\\\"<>".contains(byte)) => {
                return Err(Violation::bad("the host is not a name or address with a port"));
            }
            _ => {}
        }
        if let (Some(host), Some((range, port))) = (host, &request.authority) {
            let authority = &bytes[range.clone()];
            let strip = |text| strip_port(text, port);
            if !strip(host).eq_ignore_ascii_case(strip(authority)) {
                return Err(Violation::bad("the host is not the one the request target names"));
            }
        }
        Ok(if self.chunked { Length::Chunked } else { Length::Exact(self.length.unwrap_or(0)) })
    }
}

fn request_line(bytes: &[u8], line: Range<usize>) -> Result<Request, Violation> {
    let malformed = || Violation::bad("the request line is not a method, a target and a version");
    let text = &bytes[line.clone()];
    let mut parts = text.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed());
    };
    if method.is_empty() || target.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
        return Err(malformed());
    }
    if target.contains(&b'\t') {
        return Err(malformed());
    }
    if target.len() > MAX_TARGET {
        return Err(Violation { status: StatusCode::URI_TOO_LONG, reason: "the request target is too long" });
    }
    let http11 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ if version.starts_with(b"HTTP/") => return Err(VERSION),
        _ => return Err(malformed()),
    };
    let connect = method == b"CONNECT";
    let at = line.start + method.len() + 1;
    let authority = match target {
        _ if connect => None,
        [b'/', ..] => None,
        b"*" if method == b"OPTIONS" => None,
        _ => Some(absolute(target, at)?),
    };
    Ok(Request { http11, connect, authority })
}

/// The authority of a target in absolute form that begins `at`.
fn absolute(target: &[u8], at: usize) -> Result<(Range<usize>, &'static [u8]), Violation> {
    let form = Violation::bad("the request target is neither a path nor an http or https URL");
    let lower = |n: usize| target.get(..n).map(<[u8]>::to_ascii_lowercase);
    let (skip, port): (usize, &[u8]) = match () {
        () if lower(7).as_deref() == Some(&b"http://"[..]) => (7, b"80"),
        () if lower(8).as_deref() == Some(&b"https://"[..]) => (8, b"443"),
        () => return Err(form),
    };
    let rest = &target[skip..];
    let len = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
    if len == 0 {
        return Err(form);
    }
    Ok((at + skip..at + skip + len, port))
}

fn strip_port<'a>(authority: &'a [u8], port: &[u8]) -> &'a [u8] {
    authority.strip_suffix(port).and_then(|rest| rest.strip_suffix(b":")).unwrap_or(authority)
}

fn number(digits: &[u8]) -> Result<u64, Violation> {
    let invalid = Violation::bad("content-length is not a number");
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(invalid);
    }
    let text = std::str::from_utf8(digits).map_err(|_| invalid)?;
    // The parser takes no more than this either.
    text.parse().ok().filter(|n| *n < u64::MAX - 2).ok_or(invalid)
}

/// The first control character but for the tab: an end of line, or what must not be there.
fn find_control(bytes: &[u8]) -> Option<usize> {
    /// What one step looks at; the compiler turns it into one comparison of vectors.
    const STEP: usize = 16;
    let control = |byte: u8| byte < b' ' || byte == 0x7f;
    let clean =
        bytes.chunks_exact(STEP).take_while(|step| !step.iter().fold(false, |any, b| any | control(*b)));
    let start = clean.count() * STEP;
    let found = bytes[start..].iter().position(|byte| control(*byte) && *byte != b'\t');
    found.map(|found| start + found)
}

/// Whether a byte may stand in a token (RFC 9110, 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    const TOKEN: [bool; 256] = {
        let (mut table, others) = ([false; 256], b"!#$%&'*+-.^_`|~");
        let mut at = 0;
        while at < 256 {
            #[allow(clippy::cast_possible_truncation)]
            let byte = at as u8;
            table[at] = byte.is_ascii_alphanumeric();
            at += 1;
        }
        at = 0;
        while at < others.len() {
            table[others[at] as usize] = true;
            at += 1;
        }
        table
    };
    TOKEN[usize::from(byte)]
}
