//! The fields of a head.

use super::Error;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Fields of a head.
pub(super) const MAX_FIELDS: usize = 128;
/// Bytes of a head.
pub(super) const MAX_HEAD: usize = 64 * 1024;

/// Where something is in a head: its beginning and its length.
type Place = (usize, usize);

/// Where the fields of a head are in it.
pub(super) struct Places {
    places: [(Place, Place); MAX_FIELDS],
    count: usize,
}

impl Places {
    /// Where the fields are that were parsed from `head`.
    pub(super) fn of(head: &[u8], fields: &[httparse::Header<'_>]) -> Self {
        let start = head.as_ptr() as usize;
        let place = |bytes: &[u8]| (bytes.as_ptr() as usize - start, bytes.len());
        let mut places = [((0, 0), (0, 0)); MAX_FIELDS];
        for (field, at) in fields.iter().zip(&mut places) {
            // An empty value may lie anywhere.
            let value = if field.value.is_empty() { (0, 0) } else { place(field.value) };
            *at = (place(field.name.as_bytes()), value);
        }
        Self { places, count: fields.len() }
    }

    /// The fields, which share the memory of the head.
    pub(super) fn take(&self, head: &Bytes, map: &mut HeaderMap) -> Result<(), Error> {
        let part = |(at, len): Place| head.slice(at..at + len);
        map.reserve(self.count);
        for (name, value) in &self.places[..self.count] {
            let name = HeaderName::from_bytes(&part(*name));
            let name = name.map_err(|_| Error::Malformed("a field has no valid name"))?;
            let value = HeaderValue::from_maybe_shared(part(*value));
            map.append(name, value.map_err(|_| Error::Malformed("a field has no valid value"))?);
        }
        Ok(())
    }
}

/// What is wrong with a head that could not be parsed; `None` where it is not complete.
pub(super) fn judge(parsed: httparse::Result<usize>, read: usize) -> Result<Option<usize>, Error> {
    match parsed {
        Ok(httparse::Status::Complete(len)) => Ok(Some(len)),
        Ok(httparse::Status::Partial) if read < MAX_HEAD => Ok(None),
        Ok(httparse::Status::Partial) => Err(Error::Malformed("the head is too large")),
        Err(httparse::Error::TooManyHeaders) => Err(Error::Malformed("the head has too many fields")),
        Err(_) => Err(Error::Malformed("the head is not one of HTTP/1")),
    }
}

/// Whether a field that is a list has this member.
pub(super) fn has(headers: &HeaderMap, name: header::HeaderName, member: &[u8]) -> bool {
    let values = headers.get_all(name).iter();
    let mut members = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    members.any(|said| said.trim_ascii().eq_ignore_ascii_case(member))
}

/// Whether the sender of a head keeps the connection open (RFC 9112, 9.3).
pub(super) fn keeps(headers: &HeaderMap, http11: bool) -> bool {
    if !headers.contains_key(header::CONNECTION) {
        return http11;
    }
    !has(headers, header::CONNECTION, b"close") && (http11 || has(headers, header::CONNECTION, b"keep-alive"))
}

/// Whether chunked is the last coding; `None` where there is no coding.
pub(super) fn is_chunked(headers: &HeaderMap) -> Option<bool> {
    let value = headers.get_all(header::TRANSFER_ENCODING).iter().next_back()?;
    let last = value.as_bytes().rsplit(|byte| *byte == b',').next().unwrap_or_default();
    Some(last.trim_ascii().eq_ignore_ascii_case(b"chunked"))
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
pub(super) fn announced(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::TRAILER).iter();
    let names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect()
}
