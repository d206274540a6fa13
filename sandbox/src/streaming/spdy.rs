//! The part of SPDY/3.1 that kubectl speaks, on an upgraded connection (all of it before 1.31) or inside a WebSocket
//! (port-forward since): frames, and headers compressed in both directions. No flow control, as in the library that
//! kubectl uses: window updates are read and passed over.

mod connection;
mod inflate;

use inflate::Inflater;

pub(super) use connection::{Frames, Gone, Outlet, start};

/// What SPDY/3 headers are compressed against.
const DICTIONARY: &[u8; 1423] = include_bytes!("spdy/dictionary.bin");
/// Last frame of a stream in its direction.
const FIN: u8 = 0x01;
/// Largest frame taken in.
const LARGEST: usize = 1 << 20;
/// Bytes before a frame's content.
const HEADER: usize = 8;

/// A frame from the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// A new stream with its headers.
    Open { stream: u32, headers: Vec<(String, String)>, is_last: bool },
    /// Bytes of a stream.
    Data { stream: u32, data: Vec<u8>, is_last: bool },
    /// A stream ended abruptly.
    Reset { stream: u32 },
    /// To be sent back.
    Ping { id: u32 },
    /// The client is done.
    GoAway,
    /// Nothing to act upon: settings, window updates, further headers.
    Other,
}

/// Why a stream is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its headers make no sense.
    Protocol = 1,
    /// There are too many.
    Stream = 3,
}

/// Takes frames out of a byte stream.
pub(super) struct Parser {
    buffer: Vec<u8>,
    inflater: Inflater,
}

/// The version of the framing, with the bit that tells a control frame.
const VERSION: [u8; 2] = [0x80, 0x03];

/// The peer does not speak SPDY/3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl Parser {
    /// A parser at the beginning of a connection.
    pub(super) fn new() -> Self {
        Self { buffer: Vec::new(), inflater: Inflater::new(DICTIONARY) }
    }

    /// Takes in bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, Malformed> {
        let Some(header) = self.buffer.first_chunk::<HEADER>() else { return Ok(None) };
        let [a, b, c, d, flags, length @ ..] = *header;
        let length = u32::from_be_bytes([0, length[0], length[1], length[2]]) as usize;
        if length > LARGEST {
            return Err(Malformed);
        }
        if self.buffer.len() < HEADER + length {
            return Ok(None);
        }
        let content: Vec<u8> = self.buffer.drain(..HEADER + length).skip(HEADER).collect();
        let is_last = flags & FIN != 0;
        if a & 0x80 != 0 && [a, b] != VERSION {
            return Err(Malformed);
        }
        if a & 0x80 == 0 {
            return Ok(Some(Frame::Data {
                stream: u32::from_be_bytes([a, b, c, d]),
                data: content,
                is_last,
            }));
        }
        let number = |at: usize| {
            let bytes: [u8; 4] =
                content.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).ok_or(Malformed)?;
            Ok(u32::from_be_bytes(bytes) & 0x7fff_ffff)
        };
        Ok(Some(match u16::from_be_bytes([c, d]) {
            1 => {
                let block = content.get(10..).ok_or(Malformed)?;
                let headers = self.inflater.piece(block).ok_or(Malformed)?;
                Frame::Open { stream: number(0)?, headers: pairs(&headers).ok_or(Malformed)?, is_last }
            }
            // The headers of other frames must pass through the same decompressor.
            8 => {
                self.inflater.piece(content.get(4..).ok_or(Malformed)?).ok_or(Malformed)?;
                Frame::Other
            }
            3 => Frame::Reset { stream: number(0)? },
            6 => Frame::Ping { id: number(0)? },
            7 => Frame::GoAway,
            _ => Frame::Other,
        }))
    }
}

fn pairs(mut block: &[u8]) -> Option<Vec<(String, String)>> {
    let number = |block: &mut &[u8]| {
        let (head, rest) = block.split_first_chunk::<4>()?;
        *block = rest;
        Some(u32::from_be_bytes(*head) as usize)
    };
    let count = number(&mut block)?;
    let text = |block: &mut &[u8]| {
        let length = number(block)?;
        let (head, rest) = block.split_at_checked(length)?;
        *block = rest;
        Some(String::from_utf8_lossy(head).into_owned())
    };
    let mut pairs = Vec::new();
    for _ in 0..count.min(256) {
        pairs.push((text(&mut block)?, text(&mut block)?));
    }
    Some(pairs)
}

/// Makes the frames that go to the client.
pub(super) struct Writer {
    has_begun: bool,
}

impl Writer {
    /// A writer at the beginning of a connection.
    pub(super) fn new() -> Self {
        Self { has_begun: false }
    }

    /// Accepts a stream, with no headers.
    pub(super) fn accept(&mut self, stream: u32) -> Vec<u8> {
        let mut content = stream.to_be_bytes().to_vec();
        if !self.has_begun {
            // zlib header; what follows is stored, so no dictionary is needed.
            content.extend([0x78, 0x01]);
            self.has_begun = true;
        }
        // A stored block with the number of headers, then an empty one, which makes the reader flush.
        content.extend([0x00, 4, 0, !4, !0, 0, 0, 0, 0]);
        content.extend([0x00, 0, 0, !0, !0]);
        control(2, 0, &content)
    }

    /// Bytes of a stream.
    pub(super) fn data(stream: u32, data: &[u8], is_last: bool) -> Vec<u8> {
        let mut out = stream.to_be_bytes().to_vec();
        out.push(if is_last { FIN } else { 0 });
        out.extend(&(data.len() as u32).to_be_bytes()[1..]);
        out.extend_from_slice(data);
        out
    }

    /// Answers a ping.
    pub(super) fn pong(id: u32) -> Vec<u8> {
        control(6, 0, &id.to_be_bytes())
    }

    /// Ends a stream in both directions.
    pub(super) fn reset(stream: u32, why: Refused) -> Vec<u8> {
        control(3, 0, &[stream.to_be_bytes(), (why as u32).to_be_bytes()].concat())
    }

    /// Tells that no stream after `last` is taken on; not because of a mistake, or because of one.
    pub(super) fn go_away(last: u32, is_mistake: bool) -> Vec<u8> {
        control(7, 0, &[last.to_be_bytes(), u32::from(is_mistake).to_be_bytes()].concat())
    }
}

fn control(kind: u8, flags: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![VERSION[0], VERSION[1], 0x00, kind, flags];
    out.extend(&(content.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
