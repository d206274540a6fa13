//! Frames as they are on the wire (RFC 9113, 4 and 6).

use crate::error::{Code, Error};

/// What comes before the first frame of a client (RFC 9113, 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The length of a frame's header.
pub const HEADER: usize = 9;
/// The longest payload that a peer may send us: we do not raise it.
pub const MAX_SIZE: usize = 16 * 1024;
/// The largest window (RFC 9113, 6.9.1).
pub const MAX_WINDOW: u32 = (1 << 31) - 1;
/// The window of a stream or connection of which nothing was said.
pub const DEFAULT_WINDOW: u32 = 65_535;

/// Types of frames.
#[allow(missing_docs)]
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
#[allow(missing_docs)]
pub mod flag {
    pub const ACK: u8 = 0x1;
    pub const END_STREAM: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// Names of settings (RFC 9113, 6.5.2; RFC 8441, 3).
#[allow(missing_docs)]
pub mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 6;
    pub const ENABLE_CONNECT_PROTOCOL: u16 = 8;
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Of the payload.
    pub len: usize,
    /// One of [`kind`], or one that is not known.
    pub kind: u8,
    /// Of [`flag`].
    pub flags: u8,
    /// The stream; zero is the connection.
    pub id: u32,
}

impl Head {
    /// The header at the beginning of these bytes; `None` where they are too few.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, id @ ..] = bytes.first_chunk::<HEADER>()?;
        let len = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        Some(Self { len, kind: *kind, flags: *flags, id: u32::from_be_bytes(*id) & MAX_WINDOW })
    }

    /// Appends it.
    pub fn put(self, out: &mut Vec<u8>) {
        let [_, a, b, c] = (self.len as u32).to_be_bytes();
        let [d, e, f, g] = self.id.to_be_bytes();
        out.extend_from_slice(&[a, b, c, self.kind, self.flags, d, e, f, g]);
    }

    /// Whether a flag is set.
    pub fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether length and stream are such as the type may have.
    ///
    /// # Errors
    /// The error of the connection.
    pub fn check(self) -> Result<(), Error> {
        let size = |fine: bool, reason| {
            if fine { Ok(()) } else { Err(Error::connection(Code::FRAME_SIZE_ERROR, reason)) }
        };
        size(self.len <= MAX_SIZE, "a frame is too long")?;
        let of_stream = match self.kind {
            kind::DATA | kind::HEADERS | kind::PRIORITY | kind::RST_STREAM | kind::CONTINUATION => Some(true),
            kind::SETTINGS | kind::PING | kind::GOAWAY => Some(false),
            kind::PUSH_PROMISE => return Err(Error::protocol("PUSH_PROMISE is disabled")),
            _ => None,
        };
        if of_stream.is_some_and(|of_stream| of_stream != (self.id != 0)) {
            return Err(Error::protocol("a frame is on the wrong stream"));
        }
        match self.kind {
            kind::PRIORITY => size(self.len == 5, "bad length of PRIORITY"),
            kind::RST_STREAM => size(self.len == 4, "bad length of RST_STREAM"),
            kind::SETTINGS if self.has(flag::ACK) => size(self.len == 0, "bad length of SETTINGS"),
            kind::SETTINGS => size(self.len.is_multiple_of(6), "bad length of SETTINGS"),
            kind::PING => size(self.len == 8, "bad length of PING"),
            kind::GOAWAY => size(self.len >= 8, "bad length of GOAWAY"),
            kind::WINDOW_UPDATE => size(self.len == 4, "bad length of WINDOW_UPDATE"),
            _ => Ok(()),
        }
    }

    /// Where the payload's content is, without padding and, in `HEADERS`, without the priority.
    ///
    /// # Errors
    /// The error of the connection.
    pub fn content(self, payload: &[u8]) -> Result<std::ops::Range<usize>, Error> {
        let (mut start, mut end) = (0, payload.len());
        if self.has(flag::PADDED) {
            let padding = payload.first().ok_or(Error::connection(Code::FRAME_SIZE_ERROR, "no padding"))?;
            start = 1;
            end = end.saturating_sub(usize::from(*padding));
        }
        if self.kind == kind::HEADERS && self.has(flag::PRIORITY) {
            let on = payload.get(start..start + 5).map_or(self.id, word);
            if on & MAX_WINDOW == self.id {
                return Err(Error::protocol("a stream depends on itself"));
            }
            start += 5;
        }
        if start > end { Err(Error::protocol("more padding than payload")) } else { Ok(start..end) }
    }
}

/// The first four bytes; zero where they are fewer.
pub fn word(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// Appends a frame of one word.
pub(crate) fn put_word(kind: u8, id: u32, word: u32, out: &mut Vec<u8>) {
    Head { len: 4, kind, flags: 0, id }.put(out);
    out.extend_from_slice(&word.to_be_bytes());
}

/// Appends a ping or its answer.
pub(crate) fn put_ping(flags: u8, payload: [u8; 8], out: &mut Vec<u8>) {
    Head { len: 8, kind: kind::PING, flags, id: 0 }.put(out);
    out.extend_from_slice(&payload);
}

/// Appends a `GOAWAY`.
pub(crate) fn put_go_away(last: u32, code: Code, out: &mut Vec<u8>) {
    Head { len: 8, kind: kind::GOAWAY, flags: 0, id: 0 }.put(out);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
}

/// Appends settings.
pub(crate) fn put_settings(settings: &[(u16, u32)], out: &mut Vec<u8>) {
    Head { len: settings.len() * 6, kind: kind::SETTINGS, flags: 0, id: 0 }.put(out);
    for (name, value) in settings {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}
