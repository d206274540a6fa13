//! What is done to write: heads at once, data in turn as far as windows go.

use crate::error::{Code, Error};
use crate::frame::{HEADER, Head, MAX_WINDOW, flag, kind};
use crate::head;
use crate::hpack::{Encoder, Protocol};
use crate::state::{Drain, State};
use crate::streams::{Key, Receiving, wake};
use bytes::Bytes;
use http::{HeaderMap, Method, Request};

/// What a stream may have waiting, and what all may together while some of it could be written.
const QUEUED: (usize, usize) = (64 * 1024, 1024 * 1024);
/// What may wait in the output before data stays with its streams.
pub(crate) const OUTPUT: usize = 64 * 1024;
/// Streams that are woken at once when the connection's window opens.
const FED: usize = 64;
/// The longest frame while several streams have data, and while one has.
const FRAME: (usize, usize) = (16 * 1024, 64 * 1024);

impl State {
    /// Writes a header block, in as many frames as it takes.
    pub(crate) fn put_block(&mut self, id: u32, ends: bool, put: impl FnOnce(&mut Encoder, &mut Vec<u8>)) {
        let out = self.out.buffer();
        let start = out.len();
        let flags = if ends { flag::END_STREAM } else { 0 };
        let mut head = Head { len: 0, kind: kind::HEADERS, flags: flags | flag::END_HEADERS, id };
        head.put(out);
        put(&mut self.encoder, out);
        head.len = out.len() - start - HEADER;
        if head.len <= self.peer.max_frame {
            let [_, a, b, c] = (head.len as u32).to_be_bytes();
            out[start..start + 3].copy_from_slice(&[a, b, c]);
        } else {
            let block = out.split_off(start + HEADER);
            out.truncate(start);
            let last = block.len().div_ceil(self.peer.max_frame) - 1;
            for (number, part) in block.chunks(self.peer.max_frame).enumerate() {
                let kind = if number == 0 { kind::HEADERS } else { kind::CONTINUATION };
                let flags = if number == 0 { flags } else { 0 };
                let flags = if number == last { flags | flag::END_HEADERS } else { flags };
                Head { len: part.len(), kind, flags, id }.put(out);
                out.extend_from_slice(part);
            }
        }
        self.touch();
    }

    /// What a stream may be given to send.
    pub(crate) fn capacity(&mut self, key: Key) -> usize {
        let stream = &self.streams[key];
        if !stream.open {
            return 0;
        }
        let left = |window: i64| usize::try_from(window).unwrap_or(0).saturating_sub(stream.queued);
        let full = self.out.len() > 4 * OUTPUT || self.is_crowded();
        let shared = if full { 0 } else { left(self.send_window) };
        let own = left(stream.send_window);
        let capacity = own.min(shared).min(QUEUED.0.saturating_sub(stream.queued));
        if shared == 0 && own > 0 && !stream.starving {
            self.streams[key].starving = true;
            self.streams.wait(key, &mut self.starving);
        }
        capacity
    }

    /// Whether streams have enough waiting for the output. What waits for the window of its own stream holds up no other.
    fn is_crowded(&self) -> bool {
        self.queued >= QUEUED.1 && !self.turns.is_empty()
    }

    /// Sends data, and the end if that is told.
    pub(crate) fn send_data(&mut self, key: Key, data: Bytes, end: bool) -> Result<(), Error> {
        let stream = &mut self.streams[key];
        if let Some(error) = &stream.error {
            return Err(error.clone());
        }
        if stream.end_told {
            return Err(Error::User("data after the end"));
        }
        stream.end_told = end;
        if !data.is_empty() {
            stream.queued += data.len();
            self.queued += data.len();
            stream.queue.push_back(data);
        } else if !end {
            return Ok(());
        }
        self.take_turn(key);
        Ok(())
    }

    /// Sends trailers, which are the end.
    pub(crate) fn send_trailers(&mut self, key: Key, trailers: HeaderMap) -> Result<(), Error> {
        if trailers.is_empty() {
            return self.send_data(key, Bytes::new(), true);
        }
        let stream = &mut self.streams[key];
        if let Some(error) = &stream.error {
            return Err(error.clone());
        }
        if stream.end_told {
            return Err(Error::User("trailers after the end"));
        }
        stream.end_told = true;
        stream.trailers = Some(Box::new(trailers));
        self.take_turn(key);
        Ok(())
    }

    /// A stream has something to write.
    fn take_turn(&mut self, key: Key) {
        let stream = &mut self.streams[key];
        if !stream.open {
            return;
        }
        if stream.queued == 0 {
            self.finish(key);
            self.settle(key);
        } else if !stream.in_turn && stream.send_window > 0 {
            stream.in_turn = true;
            self.streams.wait(key, &mut self.turns);
            self.fill();
        }
        self.touch();
    }

    /// Takes data of streams in turn until enough waits in the output.
    pub(crate) fn fill(&mut self) {
        while self.send_window > 0
            && self.out.len() < OUTPUT
            && let Some((key, id)) = self.turns.pop_front()
        {
            if self.streams[key].id != id {
                continue;
            }
            let alone = self.turns.is_empty();
            if self.put_data(key, alone) {
                self.turns.push_back((key, id));
            } else {
                self.streams[key].in_turn = false;
                self.settle(key);
            }
        }
    }

    /// Writes one frame of a stream; whether there is more that it may write.
    fn put_data(&mut self, key: Key, alone: bool) -> bool {
        let stream = &mut self.streams[key];
        let longest = if alone { FRAME.1 } else { FRAME.0 }.min(self.peer.max_frame);
        let window = usize::try_from(stream.send_window.min(self.send_window)).unwrap_or(0);
        let len = stream.queued.min(window).min(longest);
        if len == 0 {
            return false;
        }
        stream.queued -= len;
        self.queued -= len;
        stream.send_window -= len as i64;
        self.send_window -= len as i64;
        let ends = stream.queued == 0 && stream.end_told && stream.trailers.is_none();
        let flags = if ends { flag::END_STREAM } else { 0 };
        Head { len, kind: kind::DATA, flags, id: stream.id }.put(self.out.buffer());
        let mut left = len;
        while left > 0
            && let Some(mut data) = stream.queue.pop_front()
        {
            if data.len() > left {
                stream.queue.push_front(data.split_off(left));
            }
            left -= data.len();
            self.out.data(data);
        }
        if ends {
            stream.send_ended = true;
        }
        let more = stream.queued > 0 && stream.send_window > 0;
        if stream.queued < QUEUED.0 && stream.send_window > stream.queued as i64 {
            wake(&mut stream.capacity_waker);
        }
        if stream.queued == 0 {
            self.finish(key);
        }
        more
    }

    /// All data of a stream was written: what is left is its end.
    fn finish(&mut self, key: Key) {
        let stream = &mut self.streams[key];
        if !stream.end_told || stream.send_ended {
            return;
        }
        stream.send_ended = true;
        let id = stream.id;
        match stream.trailers.take() {
            Some(trailers) => {
                self.put_block(id, true, |encoder, out| head::put_trailers(encoder, &trailers, out));
            }
            None => Head { len: 0, kind: kind::DATA, flags: flag::END_STREAM, id }.put(self.out.buffer()),
        }
    }

    /// The window of a stream has changed.
    pub(crate) fn window_opened(&mut self, key: Key) {
        let stream = &mut self.streams[key];
        if stream.send_window <= 0 {
            return;
        }
        wake(&mut stream.capacity_waker);
        if stream.queued > 0 && !stream.in_turn {
            stream.in_turn = true;
            self.streams.wait(key, &mut self.turns);
        }
    }

    /// Wakes some of the streams that wait for the connection's window or for room in the output, where there is some:
    /// not all, as the first may use it up. Whether others wait still.
    pub(crate) fn feed(&mut self) -> bool {
        if self.send_window <= 0 || self.out.len() >= OUTPUT || self.is_crowded() {
            return false;
        }
        for _ in 0..FED {
            let Some((key, id)) = self.starving.pop_front() else { break };
            let stream = &mut self.streams[key];
            if stream.id == id {
                stream.starving = false;
                wake(&mut stream.capacity_waker);
            }
        }
        !self.starving.is_empty()
    }

    /// Ends our side of a stream whose handle is gone: what was not told to end is reset, unless it has broken off.
    pub(crate) fn writer_gone(&mut self, key: Key) {
        let stream = &mut self.streams[key];
        stream.writer = false;
        if !stream.end_told && stream.error.is_none() {
            let code = if self.server { Code::INTERNAL_ERROR } else { Code::CANCEL };
            self.reset(key, code);
        }
        self.settle(key);
    }

    /// Ends the peer's side of a stream whose handle is gone.
    pub(crate) fn reader_gone(&mut self, key: Key) {
        let stream = &mut self.streams[key];
        stream.reader = false;
        let dropped = stream.discard();
        stream.head = None;
        self.release_connection(dropped);
        if !self.server && self.streams[key].receiving == Receiving::Open {
            self.reset(key, Code::CANCEL);
        }
        self.settle(key);
    }

    /// Whether another request can have a stream.
    fn has_room(&self) -> bool {
        self.streams.count() < self.peer.max_streams as usize && self.out.len() < 4 * OUTPUT
    }

    /// Whether no request can have a stream any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.error.is_some() || self.going.is_some() || self.drain != Drain::No || self.next > MAX_WINDOW
    }

    /// Gives a request a stream, or lets it wait for one.
    pub(crate) fn ask(&mut self, request: Request<()>, end: bool) -> Key {
        let key = self.streams.add();
        let stream = &mut self.streams[key];
        (stream.reader, stream.writer, stream.end_told) = (true, !end, end);
        stream.bodiless = request.method() == Method::HEAD;
        stream.connect = request.method() == Method::CONNECT;
        stream.asked = Some(request);
        self.waiting.push_back(key);
        self.open_waiting();
        key
    }

    /// Gives streams to requests that wait, or gives those back when there will be none.
    pub(crate) fn open_waiting(&mut self) {
        while !self.waiting.is_empty() && self.next <= MAX_WINDOW && self.has_room() {
            let Some(key) = self.waiting.pop_front() else { return };
            let stream = &mut self.streams[key];
            let Some(request) = stream.asked.take() else { continue };
            stream.send_window = i64::from(self.peer.window);
            stream.receive_window = i64::from(self.window);
            let ends = stream.end_told && stream.queued == 0 && stream.trailers.is_none();
            stream.send_ended = ends;
            wake(&mut stream.capacity_waker);
            let id = self.next;
            self.next += 2;
            self.streams.open(key, id);
            let protocol = request.extensions().get::<Protocol>();
            self.put_block(id, ends, |encoder, out| head::put_request(encoder, &request, protocol, out));
            if !ends {
                let stream = &self.streams[key];
                if stream.queued > 0 || stream.end_told {
                    self.take_turn(key);
                }
            }
        }
        if self.next > MAX_WINDOW && !self.waiting.is_empty() {
            self.give_back(Code::NO_ERROR);
        }
    }

    /// Gives back the requests that wait for a stream.
    pub(crate) fn give_back(&mut self, code: Code) {
        for key in std::mem::take(&mut self.waiting) {
            self.broken(key, Error::Unprocessed(code));
            self.settle(key);
        }
    }
}
