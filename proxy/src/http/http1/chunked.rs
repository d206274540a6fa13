//! The chunked transfer coding (RFC 9112, 7.1), taken apart.

use super::Error;
use super::decoder::Piece;
use bytes::{Buf as _, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Bytes of a line with a chunk's size and its extensions.
const MAX_LINE: usize = 4096;
/// Digits of a chunk's size: more than any chunk needs, and no overflow.
const MAX_DIGITS: usize = 15;
/// Bytes of trailers.
const MAX_TRAILERS: usize = 64 * 1024;
/// Trailer fields.
const MAX_FIELDS: usize = 100;

/// Where in a chunked body the bytes are.
#[derive(Debug, Default)]
pub(super) enum Chunked {
    /// Before a chunk's size.
    #[default]
    Size,
    /// In a chunk of which this much is left.
    Data(u64),
    /// Before the line end that follows a chunk.
    DataEnd,
    /// After the last chunk.
    Trailers,
    /// After the body.
    Done,
}

impl Chunked {
    /// Bytes that are still to come for sure.
    pub(super) fn wants(&self) -> u64 {
        if let Self::Data(left) = self { *left } else { 0 }
    }

    /// Takes the next piece out of what was read; `None` when it is not complete.
    pub(super) fn next(&mut self, read: &mut BytesMut) -> Result<Option<Piece>, Error> {
        loop {
            match self {
                Self::Size => {
                    let Some(line) = line(read)? else { return Ok(None) };
                    let size = size(line)?;
                    let len = line.len() + 2;
                    read.advance(len);
                    *self = if size == 0 { Self::Trailers } else { Self::Data(size) };
                }
                Self::Data(left) => {
                    if read.is_empty() {
                        return Ok(None);
                    }
                    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                    *left -= len as u64;
                    let data = read.split_to(len).freeze();
                    if *left == 0 {
                        *self = Self::DataEnd;
                    }
                    return Ok(Some(Piece::Data(data)));
                }
                Self::DataEnd => {
                    match read.get(..2) {
                        None => return Ok(None),
                        Some(b"\r\n") => read.advance(2),
                        Some(_) => return Err(Error::Malformed("a chunk is longer than its size")),
                    }
                    *self = Self::Size;
                }
                Self::Trailers => {
                    let Some(trailers) = trailers(read)? else { return Ok(None) };
                    *self = Self::Done;
                    return Ok(Some(if trailers.is_empty() {
                        Piece::End
                    } else {
                        Piece::Trailers(trailers)
                    }));
                }
                Self::Done => return Ok(Some(Piece::End)),
            }
        }
    }
}

/// The line that `read` begins with, without its end.
fn line(read: &BytesMut) -> Result<Option<&[u8]>, Error> {
    match read.iter().take(MAX_LINE).position(|byte| *byte == b'\n') {
        Some(end) if end > 0 && read[end - 1] == b'\r' => Ok(Some(&read[..end - 1])),
        Some(_) => Err(Error::Malformed("a line with a chunk's size does not end with CR LF")),
        None if read.len() >= MAX_LINE => Err(Error::Malformed("a line with a chunk's size is too long")),
        None => Ok(None),
    }
}

/// The size in a line; extensions are left aside.
fn size(line: &[u8]) -> Result<u64, Error> {
    let end = line.iter().position(|byte| matches!(byte, b';' | b' ' | b'\t')).unwrap_or(line.len());
    let digits = &line[..end];
    let rest = line[end..].iter().find(|byte| !matches!(byte, b' ' | b'\t'));
    if digits.is_empty() || digits.len() > MAX_DIGITS || rest.is_some_and(|byte| *byte != b';') {
        return Err(Error::Malformed("a chunk has no valid size"));
    }
    digits.iter().try_fold(0, |size, digit| {
        let digit = char::from(*digit).to_digit(16).ok_or(Error::Malformed("a chunk has no valid size"))?;
        Ok(size << 4 | u64::from(digit))
    })
}

/// Takes the trailers with the empty line that ends them.
fn trailers(read: &mut BytesMut) -> Result<Option<HeaderMap>, Error> {
    if read.starts_with(b"\r\n") {
        read.advance(2);
        return Ok(Some(HeaderMap::new()));
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let (len, map) = match httparse::parse_headers(read, &mut fields) {
        Ok(httparse::Status::Complete((len, fields))) => {
            let mut map = HeaderMap::with_capacity(fields.len());
            for field in fields {
                let valid = || {
                    Some((
                        HeaderName::from_bytes(field.name.as_bytes()).ok()?,
                        HeaderValue::from_bytes(field.value).ok()?,
                    ))
                };
                let (name, value) = valid().ok_or(Error::Malformed("a trailer is not a field"))?;
                map.append(name, value);
            }
            (len, map)
        }
        Ok(httparse::Status::Partial) if read.len() < MAX_TRAILERS => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(Error::Malformed("the trailers are too large")),
        Err(_) => return Err(Error::Malformed("the trailers are not fields")),
    };
    read.advance(len);
    Ok(Some(map))
}
