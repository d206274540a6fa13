//! What a chunked body may be (RFC 9112, 7.1).

use super::Violation;
use super::head::is_token;

/// Digits of a chunk's size: more than any chunk needs, and no overflow.
const MAX_DIGITS: u8 = 15;
/// Bytes of chunk extensions in one body: nobody uses them.
const MAX_EXTENSIONS: usize = 4096;
/// Bytes of trailers, as the parser has it.
const MAX_TRAILERS: usize = 16 * 1024;
/// Fields that say where a message ends or whom it is for; in a trailer they come too late.
const FRAMING_FIELDS: [&[u8]; 4] = [b"content-length", b"transfer-encoding", b"host", b"trailer"];

/// Where in a chunked body the bytes are.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    state: State,
    size: u64,
    digits: u8,
    extensions: usize,
    trailers: usize,
    /// The name of the trailer field at hand.
    name: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the beginning of a trailer line.
    Trailer,
    Name,
    Value,
    ValueLf,
    EndLf,
}

impl Chunked {
    /// Follows bytes up to the end of the body: how many there are, and whether it has ended.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Result<(usize, bool), Violation> {
        let mut at = 0;
        while at < bytes.len() {
            if self.state == State::Data {
                let left = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.size -= left as u64;
                at += left;
                if self.size == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            let ended = self.state == State::EndLf;
            self.state = self.step(bytes[at])?;
            at += 1;
            if ended {
                return Ok((at, true));
            }
        }
        Ok((at, false))
    }

    fn step(&mut self, byte: u8) -> Result<State, Violation> {
        let line_end = Violation::bad("a line of the chunked body ends without a carriage return");
        Ok(match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.digits += 1;
                if self.digits > MAX_DIGITS {
                    return Err(Violation::bad("a chunk's size has too many digits"));
                }
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                self.size = self.size << 4 | u64::from(digit);
                State::Size
            }
            (State::Size, b'\r') if self.digits > 0 => State::SizeLf,
            (State::Size, b';') if self.digits > 0 => State::Extension,
            (State::Size, _) => return Err(Violation::bad("a chunk's size is not a hexadecimal number")),
            (State::Extension, b'\r') => State::SizeLf,
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => {
                self.extensions += 1;
                if self.extensions > MAX_EXTENSIONS {
                    return Err(Violation::bad("there are too many chunk extensions"));
                }
                State::Extension
            }
            (State::Extension, _) => return Err(Violation::bad("a chunk extension has a control character")),
            (State::SizeLf, b'\n') => {
                self.digits = 0;
                if self.size == 0 { State::Trailer } else { State::Data }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataCr, _) => return Err(Violation::bad("a chunk is longer than its size")),
            (State::DataLf, b'\n') => State::Size,
            (State::Trailer, b'\r') => State::EndLf,
            (State::EndLf, b'\n') => State::Size,
            (State::Trailer | State::Name | State::Value | State::ValueLf, _) => self.trailer(byte)?,
            (State::SizeLf | State::DataLf | State::EndLf, _) => return Err(line_end),
            (State::Data, _) => State::Data,
        })
    }

    fn trailer(&mut self, byte: u8) -> Result<State, Violation> {
        self.trailers += 1;
        if self.trailers > MAX_TRAILERS {
            return Err(Violation::bad("the trailers are larger than 16 KiB"));
        }
        Ok(match (self.state, byte) {
            (State::Trailer | State::Name, _) if is_token(byte) => {
                self.name.push(byte.to_ascii_lowercase());
                State::Name
            }
            (State::Name, b':') => {
                if FRAMING_FIELDS.contains(&self.name.as_slice()) {
                    return Err(Violation::bad("a field that frames the message stands in the trailers"));
                }
                self.name.clear();
                State::Value
            }
            (State::Trailer | State::Name, _) => {
                return Err(Violation::bad("a trailer field's name is not a token followed by a colon"));
            }
            (State::Value, b'\r') => State::ValueLf,
            (State::Value, b'\t' | b' '..=b'~' | 0x80..) => State::Value,
            (State::ValueLf, b'\n') => State::Trailer,
            _ => return Err(Violation::bad("a trailer field has a control character")),
        })
    }
}
