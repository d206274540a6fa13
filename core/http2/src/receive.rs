//! What is done with frames as they come.

use crate::adapt::PING_MEASURE;
use crate::error::{Code, Error};
use crate::flood::Kind;
use crate::frame::{self, Head, MAX_WINDOW, flag, kind, word};
use crate::head::{self, Fields};
use crate::state::{Block, Drain, PING_ALIVE, PING_DRAIN, State};
use crate::streams::{Closed, Key, Receiving, wake};
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use std::time::Instant;

/// `CONTINUATION` frames of one header block (CVE-2024-27316 and its kin).
const MAX_CONTINUATIONS: usize = 64;
/// Fields that room is made for, as the last header had so many.
const MAX_ROOM: usize = 48;
/// Informational heads of one response that nobody has read.
const MAX_INFORMATIONAL: usize = 16;
/// What the heads of requests may take together: while nobody has taken them, and while they are open. As many as we allow
/// may be open with 4 KiB each.
const MAX_HEADS: (usize, usize) = (8 << 20, 64 << 20);

/// The payload of a frame: as it lies in the buffer, or as its own.
pub(crate) enum Payload<'a> {
    Borrowed(&'a [u8]),
    Owned(Bytes),
}

impl Payload<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl State {
    /// Takes a frame.
    ///
    /// # Errors
    /// What ends the connection.
    pub(crate) fn frame(&mut self, head: Head, payload: Payload<'_>) -> Result<(), Error> {
        if !self.peer.known && (head.kind != kind::SETTINGS || head.has(flag::ACK)) {
            return Err(Error::protocol("the first frame is not SETTINGS"));
        }
        if self.block.is_some() != (head.kind == kind::CONTINUATION) {
            return Err(Error::protocol("a header block is interrupted, or none goes on"));
        }
        let bytes = payload.bytes();
        match head.kind {
            kind::DATA => self.data(head, payload),
            kind::HEADERS => self.headers(head, bytes),
            kind::CONTINUATION => self.continuation(head, bytes),
            kind::PRIORITY if word(bytes) & MAX_WINDOW == head.id => {
                Err(Error::protocol("a stream depends on itself"))
            }
            kind::PRIORITY => self.spend(Kind::Priority),
            kind::RST_STREAM => self.reset_came(head.id, Code(word(bytes))),
            kind::SETTINGS => self.settings_came(head, bytes),
            kind::PING => self.ping(head, bytes),
            kind::GOAWAY => self.go_away(word(bytes) & MAX_WINDOW, Code(word(&bytes[4..]))),
            kind::WINDOW_UPDATE => self.window_update(head.id, word(bytes) & MAX_WINDOW),
            _ => self.spend(Kind::Unknown),
        }
    }

    /// Whether no stream of this number was ever opened.
    fn is_idle(&self, id: u32) -> bool {
        let ours = (id % 2 == 1) != self.server;
        if ours { id >= self.next || id.is_multiple_of(2) } else { id > self.last }
    }

    /// Resets a stream that has no slot.
    fn refuse(&mut self, id: u32, code: Code) -> Result<(), Error> {
        frame::put_word(kind::RST_STREAM, id, code.0, self.out.buffer());
        self.streams.remember(id, Closed::ResetHere);
        self.spend(Kind::Closed)?;
        self.answered()
    }

    /// A frame came on a stream that is closed (RFC 9113, 5.1).
    fn on_closed(&mut self, id: u32, is_head: bool) -> Result<(), Error> {
        match self.streams.closed(id) {
            // It was on its way.
            Closed::ResetHere => Ok(()),
            Closed::Unknown if !is_head && self.streams.forgotten => Ok(()),
            Closed::Ended => {
                Err(Error::connection(Code::STREAM_CLOSED, "a frame after the end of its stream"))
            }
            Closed::Unknown if self.server && is_head && !self.streams.forgotten => {
                Err(Error::protocol("streams are out of order"))
            }
            Closed::ResetThere | Closed::Unknown => self.refuse(id, Code::STREAM_CLOSED),
        }
    }

    /// Resets a stream as what came on it is wrong.
    fn bad(&mut self, key: Key, code: Code) -> Result<(), Error> {
        self.reset(key, code);
        self.was_reset(key)?;
        self.spend(Kind::Closed)?;
        self.answered()
    }

    fn data(&mut self, head: Head, payload: Payload<'_>) -> Result<(), Error> {
        let len = head.len;
        self.receive_window -= len as i64;
        if self.receive_window < 0 {
            return Err(Error::connection(
                Code::FLOW_CONTROL_ERROR,
                "more data than the connection's window",
            ));
        }
        self.release_connection(0);
        let content = head.content(payload.bytes())?;
        if self.settings.adaptive {
            self.measure(len);
        }
        let ends = head.has(flag::END_STREAM);
        let empty = content.is_empty();
        if empty && !ends {
            self.spend(Kind::EmptyData)?;
        }
        let Some(key) = self.streams.find(head.id) else {
            if self.is_idle(head.id) {
                return Err(Error::protocol("data on a stream that is not open"));
            }
            self.release_connection(len);
            return self.on_closed(head.id, false);
        };
        let stream = &mut self.streams[key];
        stream.receive_window -= len as i64;
        let wrong = if stream.receiving != Receiving::Open {
            Some(Code::STREAM_CLOSED)
        } else if stream.receive_window < 0 {
            Some(Code::FLOW_CONTROL_ERROR)
        } else if !stream.head_came || !stream.count(content.len(), ends) {
            Some(Code::PROTOCOL_ERROR)
        } else {
            None
        };
        if let Some(code) = wrong {
            self.release_connection(len);
            return self.bad(key, code);
        }
        let (padding, read) = (len - content.len(), stream.reader);
        if read && !empty {
            match payload {
                Payload::Borrowed(bytes) => stream.push_copy(&bytes[content]),
                Payload::Owned(bytes) => stream.push(bytes.slice(content)),
            }
        }
        if ends {
            stream.receiving = Receiving::Ended;
            stream.ends_apart = empty && stream.expected.is_none();
        }
        wake(&mut stream.data_waker);
        // What nobody reads takes none of the connection's window; that of the stream stays closed.
        if !read {
            self.release_connection(len);
        } else if padding > 0 {
            self.release(key, padding);
        }
        if ends {
            self.settle(key);
        }
        Ok(())
    }

    fn headers(&mut self, head: Head, payload: &[u8]) -> Result<(), Error> {
        let block = &payload[head.content(payload)?];
        let ends_stream = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.block(head.id, ends_stream, block);
        }
        self.block = Some(Box::new(Block { id: head.id, ends_stream, bytes: block.to_vec(), frames: 0 }));
        Ok(())
    }

    fn continuation(&mut self, head: Head, payload: &[u8]) -> Result<(), Error> {
        let Some(mut block) = self.block.take() else { return Ok(()) };
        if block.id != head.id {
            return Err(Error::protocol("a header block is interrupted"));
        }
        block.frames += 1;
        block.bytes.extend_from_slice(payload);
        if block.frames > MAX_CONTINUATIONS || block.bytes.len() > 4 * self.settings.max_header_list as usize
        {
            return Err(Error::Flood("CONTINUATION"));
        }
        if head.has(flag::END_HEADERS) {
            return self.block(block.id, block.ends_stream, &block.bytes);
        }
        self.block = Some(block);
        Ok(())
    }

    /// A header block is complete. It is decoded whatever becomes of it, as the table depends on it.
    fn block(&mut self, id: u32, ends: bool, block: &[u8]) -> Result<(), Error> {
        let mut fields = Fields::new(self.settings.max_header_list as usize, self.fields);
        let decoded = self.decoder.decode(block, |size, field| fields.take(size, field));
        decoded.map_err(|error| Error::connection(Code::COMPRESSION_ERROR, error.reason()))?;
        self.fields = fields.len().min(MAX_ROOM);
        let Some(key) = self.streams.find(id) else {
            return match self.is_idle(id) {
                true if self.server && id % 2 == 1 => self.request(id, ends, fields),
                true => Err(Error::protocol("a header on a stream that is not open")),
                false => self.on_closed(id, true),
            };
        };
        let stream = &self.streams[key];
        if stream.receiving != Receiving::Open {
            return self.bad(key, Code::STREAM_CLOSED);
        }
        if fields.too_large {
            return self.bad(key, Code::ENHANCE_YOUR_CALM);
        }
        let fine = if stream.head_came {
            self.trailers(key, ends, fields)
        } else {
            self.response(key, ends, fields)
        };
        if !fine {
            return self.bad(key, Code::PROTOCOL_ERROR);
        }
        self.settle(key);
        Ok(())
    }

    fn request(&mut self, id: u32, ends: bool, fields: Fields) -> Result<(), Error> {
        let after = matches!(self.drain, Drain::After(last) if id > last);
        self.last = id;
        if after {
            // We have said that we would not look at it.
            self.streams.remember(id, Closed::ResetHere);
            return Ok(());
        }
        let many = self.streams.count() + self.accepted_dead >= self.settings.max_streams as usize;
        if many || self.accepted_size >= MAX_HEADS.0 || self.streams.head_sizes >= MAX_HEADS.1 {
            return self.refuse(id, Code::REFUSED_STREAM);
        }
        if fields.too_large {
            return self.too_large(id, ends);
        }
        let (length, size) = (fields.content_length, fields.size);
        let Ok(request) = fields.request(self.settings.connect_protocol) else {
            return self.refuse(id, Code::PROTOCOL_ERROR);
        };
        let expected = length.filter(|_| request.method() != Method::CONNECT);
        if ends && expected.is_some_and(|length| length > 0) {
            return self.refuse(id, Code::PROTOCOL_ERROR);
        }
        let key = self.streams.add();
        let stream = &mut self.streams[key];
        (stream.head_came, stream.reader, stream.writer, stream.untaken) = (true, true, true, true);
        (stream.expected, stream.head_size) = (expected, size);
        stream.receive_window = i64::from(self.window);
        stream.send_window = i64::from(self.peer.window);
        if ends {
            stream.receiving = Receiving::Ended;
        }
        self.streams.open(key, id);
        self.accepted.push_back((key, request));
        self.accepted_size += size;
        Ok(())
    }

    /// Answers a request whose header is larger than we allow.
    fn too_large(&mut self, id: u32, ends: bool) -> Result<(), Error> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        self.put_block(id, true, |encoder, out| head::put_response(encoder, &response, out));
        if ends {
            self.streams.remember(id, Closed::Ended);
            return self.answered();
        }
        self.refuse(id, Code::NO_ERROR)
    }

    /// The head of a response; whether it is one.
    fn response(&mut self, key: Key, ends: bool, fields: Fields) -> bool {
        let length = fields.content_length;
        let Ok((status, headers)) = fields.response() else { return false };
        let stream = &mut self.streams[key];
        if status.is_informational() {
            stream.informational.push((status, headers));
            wake(&mut stream.head_waker);
            return !ends && stream.informational.len() <= MAX_INFORMATIONAL;
        }
        let bodiless = stream.bodiless || matches!(status.as_u16(), 204 | 304);
        let raw = stream.connect && status.is_success();
        stream.expected = if bodiless { Some(0) } else { length.filter(|_| !raw) };
        stream.head_came = true;
        stream.head = Some((status, headers));
        wake(&mut stream.head_waker);
        if ends {
            stream.receiving = Receiving::Ended;
        }
        !ends || stream.expected.unwrap_or(0) == 0
    }

    /// The trailers of a message; whether they are some.
    fn trailers(&mut self, key: Key, ends: bool, fields: Fields) -> bool {
        let Ok(trailers) = fields.trailers() else { return false };
        let stream = &mut self.streams[key];
        if !ends || stream.expected.unwrap_or(0) > 0 {
            return false;
        }
        if stream.reader {
            stream.trailers_came = Some(Box::new(trailers));
        }
        stream.receiving = Receiving::Ended;
        wake(&mut stream.data_waker);
        true
    }

    fn reset_came(&mut self, id: u32, code: Code) -> Result<(), Error> {
        self.spend(Kind::Reset)?;
        let Some(key) = self.streams.find(id) else {
            let idle = self.is_idle(id);
            return if idle { Err(Error::protocol("a reset of a stream that is not open")) } else { Ok(()) };
        };
        self.streams.close(key, Closed::ResetThere);
        self.broken(key, Error::Reset { code, remote: true });
        self.was_reset(key)?;
        self.touch();
        Ok(())
    }

    /// The peer has reset a stream or made us do so.
    fn was_reset(&mut self, key: Key) -> Result<(), Error> {
        if self.streams[key].untaken {
            self.spend(Kind::RapidReset)?;
            self.accepted_dead += 1;
            self.drop_dead();
        } else {
            self.settle(key);
        }
        Ok(())
    }

    /// Forgets requests that were reset before they were taken, once there are as many as others.
    fn drop_dead(&mut self) {
        if self.accepted_dead < 16 || self.accepted_dead < self.accepted.len() / 2 {
            return;
        }
        self.accepted_dead = 0;
        let all = std::mem::take(&mut self.accepted);
        for (key, request) in all {
            if self.streams[key].error.is_none() {
                self.accepted.push_back((key, request));
            } else {
                self.taken(key);
                self.forget(key);
            }
        }
    }

    /// A request is taken from those that wait.
    pub(crate) fn taken(&mut self, key: Key) {
        let stream = &mut self.streams[key];
        stream.untaken = false;
        self.accepted_size -= stream.head_size;
    }

    /// A request that is taken is forgotten: nobody will have a handle of its stream.
    pub(crate) fn forget(&mut self, key: Key) {
        let stream = &mut self.streams[key];
        (stream.reader, stream.writer) = (false, false);
        let dropped = stream.discard();
        self.release_connection(dropped);
        self.settle(key);
    }

    fn ping(&mut self, head: Head, payload: &[u8]) -> Result<(), Error> {
        let payload = payload.first_chunk().copied().unwrap_or_default();
        if !head.has(flag::ACK) {
            self.spend(Kind::Ping)?;
            frame::put_ping(flag::ACK, payload, self.out.buffer());
            return self.answered();
        }
        if payload == PING_ALIVE {
            self.pinged = false;
        } else if payload == PING_MEASURE {
            self.measured(Instant::now());
        } else if payload == PING_DRAIN && self.drain == Drain::Announced {
            self.drain = Drain::After(self.last);
            frame::put_go_away(self.last, Code::NO_ERROR, self.out.buffer());
        }
        Ok(())
    }

    fn go_away(&mut self, last: u32, code: Code) -> Result<(), Error> {
        if self.going.is_some_and(|(before, _)| last > before) {
            return Err(Error::protocol("GOAWAY takes streams back"));
        }
        self.going = Some((last, code));
        if self.server {
            return Ok(());
        }
        self.give_back(code);
        for key in self.streams.keys() {
            let stream = &self.streams[key];
            if stream.open && stream.id > last {
                self.streams.close(key, Closed::ResetHere);
                self.broken(key, Error::Unprocessed(code));
                self.settle(key);
            }
        }
        self.touch();
        Ok(())
    }

    fn window_update(&mut self, id: u32, more: u32) -> Result<(), Error> {
        if id == 0 {
            self.send_window += i64::from(more);
            if more == 0 {
                return Err(Error::protocol("an update of a window by nothing"));
            }
            if self.send_window > i64::from(MAX_WINDOW) {
                let reason = "the connection's window is too large";
                return Err(Error::connection(Code::FLOW_CONTROL_ERROR, reason));
            }
            return Ok(());
        }
        let Some(key) = self.streams.find(id) else {
            let idle = self.is_idle(id);
            return if idle { Err(Error::protocol("a window of a stream that is not open")) } else { Ok(()) };
        };
        if more == 0 {
            return self.bad(key, Code::PROTOCOL_ERROR);
        }
        let stream = &mut self.streams[key];
        stream.send_window += i64::from(more);
        if stream.send_window > i64::from(MAX_WINDOW) {
            return self.bad(key, Code::FLOW_CONTROL_ERROR);
        }
        self.window_opened(key);
        Ok(())
    }
}
