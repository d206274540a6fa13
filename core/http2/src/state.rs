//! What the driver of a connection and the handles of its streams share.

use crate::adapt::Measure;
use crate::error::{Code, Error};
use crate::flood::{Budgets, Kind};
use crate::frame::{self, DEFAULT_WINDOW, MAX_SIZE, kind, setting};
use crate::hpack::{Decoder, Encoder};
use crate::output::Output;
use crate::settings::Settings;
use crate::streams::{Closed, Key, Receiving, Streams, Turn};
use http::Request;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;
use std::time::Instant;

/// Answers that may wait for a peer that does not read (CVE-2019-9512 and its kin).
const MAX_ANSWERS: usize = 20_000;
/// Streams that a server is taken to allow before it says so.
const STREAMS_AT_FIRST: u32 = 100;

pub(crate) type Shared = Rc<RefCell<State>>;

/// Gives up a handle. While a panic unwinds, the state may be in use.
pub(crate) fn leave(state: &mut Option<Shared>, leave: impl FnOnce(&mut State)) {
    if let Some(state) = state.take()
        && let Ok(mut state) = state.try_borrow_mut()
    {
        leave(&mut state);
    }
}

/// The payloads of our pings.
pub(crate) const PING_ALIVE: [u8; 8] = *b"isthmusA";
pub(crate) const PING_DRAIN: [u8; 8] = *b"isthmusD";

/// What the peer has said of itself.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) window: u32,
    pub(crate) max_frame: usize,
    pub(crate) max_streams: u32,
    pub(crate) connect_protocol: bool,
    /// Whether its settings came.
    pub(crate) known: bool,
}

/// A header block that goes on in further frames.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) id: u32,
    pub(crate) ends_stream: bool,
    pub(crate) bytes: Vec<u8>,
    pub(crate) frames: usize,
}

/// How far a connection is with its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drain {
    No,
    /// The peer was told, and is given time to hear it.
    Announced,
    /// Streams after this one are not looked at.
    After(u32),
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) server: bool,
    pub(crate) settings: Settings,
    /// The window of new streams: until the peer has acknowledged our settings it may use that of before.
    pub(crate) window: u32,
    pub(crate) acknowledged: bool,
    pub(crate) peer: Peer,
    pub(crate) streams: Streams,
    pub(crate) out: Output,
    pub(crate) encoder: Encoder,
    pub(crate) decoder: Decoder,
    pub(crate) block: Option<Box<Block>>,
    /// Fields of the last header.
    pub(crate) fields: usize,
    pub(crate) budgets: Budgets,

    pub(crate) send_window: i64,
    /// Bytes that streams have waiting.
    pub(crate) queued: usize,
    /// Streams that wait for that window, or for room in the output.
    pub(crate) starving: VecDeque<Turn>,
    pub(crate) receive_window: i64,
    /// Read on any stream, and not told to the peer yet.
    pub(crate) consumed: u32,

    /// The last stream that the peer has opened.
    pub(crate) last: u32,
    /// The next stream that we open.
    pub(crate) next: u32,
    /// Requests that nobody has taken yet.
    pub(crate) accepted: VecDeque<(Key, Request<()>)>,
    /// How many of them were reset.
    pub(crate) accepted_dead: usize,
    /// The size of their heads.
    pub(crate) accepted_size: usize,
    /// Requests that have no stream yet.
    pub(crate) waiting: VecDeque<Key>,
    /// Streams that have data to write, in turn.
    pub(crate) turns: VecDeque<Turn>,

    pub(crate) drain: Drain,
    /// What the peer has said as it ends the connection.
    pub(crate) going: Option<(u32, Code)>,
    pub(crate) error: Option<Error>,
    /// How many can send requests.
    pub(crate) senders: usize,
    /// Whether the answer to a keep-alive ping is waited for.
    pub(crate) pinged: bool,

    pub(crate) measure: Measure,

    /// Whether there is something for the driver to do; it was woken then.
    dirty: bool,
    driver: Option<Waker>,
}

impl State {
    pub(crate) fn new(server: bool, settings: Settings) -> Self {
        let settings = settings.allowed();
        let peer = Peer {
            window: DEFAULT_WINDOW,
            max_frame: MAX_SIZE,
            max_streams: STREAMS_AT_FIRST,
            connect_protocol: false,
            known: false,
        };
        let mut state = Self {
            server,
            settings,
            window: settings.stream_window.max(DEFAULT_WINDOW),
            acknowledged: false,
            peer,
            streams: Streams::default(),
            out: Output::default(),
            encoder: Encoder::default(),
            decoder: Decoder::default(),
            block: None,
            fields: 0,
            budgets: Budgets::default(),
            send_window: i64::from(DEFAULT_WINDOW),
            queued: 0,
            starving: VecDeque::new(),
            receive_window: i64::from(settings.connection_window),
            consumed: 0,
            last: 0,
            next: 1,
            accepted: VecDeque::new(),
            accepted_dead: 0,
            accepted_size: 0,
            waiting: VecDeque::new(),
            turns: VecDeque::new(),
            drain: Drain::No,
            going: None,
            error: None,
            senders: 0,
            pinged: false,
            measure: Measure::default(),
            dirty: false,
            driver: None,
        };
        state.hello();
        state
    }

    /// What comes first (RFC 9113, 3.4).
    fn hello(&mut self) {
        let settings = self.settings;
        let out = self.out.buffer();
        if !self.server {
            out.extend_from_slice(frame::PREFACE);
        }
        let mut list = [(0, 0); 4];
        let role = if self.server {
            (setting::MAX_CONCURRENT_STREAMS, settings.max_streams)
        } else {
            (setting::ENABLE_PUSH, 0)
        };
        list[0] = role;
        list[1] = (setting::INITIAL_WINDOW_SIZE, settings.stream_window);
        list[2] = (setting::MAX_HEADER_LIST_SIZE, settings.max_header_list);
        list[3] = (setting::ENABLE_CONNECT_PROTOCOL, 1);
        let count = if self.server && settings.connect_protocol { 4 } else { 3 };
        frame::put_settings(&list[..count], out);
        let more = settings.connection_window - DEFAULT_WINDOW;
        if more > 0 {
            frame::put_word(kind::WINDOW_UPDATE, 0, more, out);
        }
    }

    /// There is something for the driver to do.
    pub(crate) fn touch(&mut self) {
        if !std::mem::replace(&mut self.dirty, true)
            && let Some(driver) = &self.driver
        {
            driver.wake_by_ref();
        }
    }

    /// The driver will look without being woken.
    pub(crate) fn will_look(&mut self) {
        self.dirty = true;
    }

    /// The driver looks now; while it does it need not be woken.
    pub(crate) fn looks(&mut self, waker: &Waker) {
        match &mut self.driver {
            Some(driver) => driver.clone_from(waker),
            None => self.driver = Some(waker.clone()),
        }
        self.dirty = true;
    }

    /// The driver has done all there was.
    pub(crate) fn looked(&mut self) {
        self.dirty = false;
    }

    /// Counts a frame that costs more than it says. Servers, which we have chosen, have a budget for
    /// settings alone, as those may concern every stream.
    pub(crate) fn spend(&mut self, kind: Kind) -> Result<(), Error> {
        if self.server || matches!(kind, Kind::Settings) {
            return self.budgets.spend(kind, Instant::now());
        }
        Ok(())
    }

    /// Whether the connection is to end with its streams.
    pub(crate) fn is_ending(&self) -> bool {
        if self.server {
            matches!(self.drain, Drain::After(_)) && self.accepted.is_empty()
        } else {
            self.senders == 0 || self.drain != Drain::No || self.going.is_some()
        }
    }

    /// Counts an answer that a frame of the peer has made us write.
    pub(crate) fn answered(&mut self) -> Result<(), Error> {
        self.out.answers += 1;
        if self.out.answers > MAX_ANSWERS { Err(Error::Flood("unread control")) } else { Ok(()) }
    }

    /// Gives back part of the connection's window: the peer is told of half of it at once, but of less where it has no
    /// more than that left, as streams that nobody reads may hold the rest.
    pub(crate) fn release_connection(&mut self, len: usize) {
        self.consumed += len as u32;
        let few = self.receive_window.min(i64::from(self.settings.connection_window / 2));
        if self.consumed > 0 && i64::from(self.consumed) >= few {
            let more = std::mem::take(&mut self.consumed);
            self.receive_window += i64::from(more);
            frame::put_word(kind::WINDOW_UPDATE, 0, more, self.out.buffer());
            self.touch();
        }
    }

    /// Gives back part of a stream's window, and the connection's.
    pub(crate) fn release(&mut self, key: Key, len: usize) {
        self.release_connection(len);
        let half = (self.window / 2).max(1);
        let stream = &mut self.streams[key];
        if !stream.open || stream.receiving != Receiving::Open {
            return;
        }
        stream.consumed += len as u32;
        if stream.consumed >= half {
            let more = std::mem::take(&mut stream.consumed);
            stream.receive_window += i64::from(more);
            let id = stream.id;
            frame::put_word(kind::WINDOW_UPDATE, id, more, self.out.buffer());
            self.touch();
        }
    }

    /// Closes a stream of which both sides have ended, and frees it where nobody has a handle.
    pub(crate) fn settle(&mut self, key: Key) {
        let stream = &self.streams[key];
        if self.server
            && stream.open
            && stream.send_ended
            && stream.receiving == Receiving::Open
            && !stream.reader
        {
            // The rest of the request is of no use, now that the response was written (RFC 9113, 8.1).
            self.reset(key, Code::NO_ERROR);
        }
        let stream = &self.streams[key];
        if stream.open && stream.send_ended && stream.receiving != Receiving::Open {
            self.streams.close(key, Closed::Ended);
            if !self.waiting.is_empty() || self.drain != Drain::No || self.going.is_some() {
                self.touch();
            }
        }
        let stream = &self.streams[key];
        if !stream.open && !stream.reader && !stream.writer {
            self.streams.free(key);
            if !self.server && self.streams.is_empty() && (self.is_ending() || self.streams.is_large()) {
                self.touch();
            }
        }
    }

    /// Resets a stream. A message that came whole can be read still.
    pub(crate) fn reset(&mut self, key: Key, code: Code) {
        let stream = &self.streams[key];
        if stream.open {
            let id = stream.id;
            frame::put_word(kind::RST_STREAM, id, code.0, self.out.buffer());
            self.touch();
        }
        self.streams.close(key, Closed::ResetHere);
        let stream = &mut self.streams[key];
        if stream.receiving == Receiving::Open {
            let dropped = stream.discard();
            self.release_connection(dropped);
        }
        self.broken(key, Error::Reset { code, remote: false });
    }

    /// A stream has broken off.
    pub(crate) fn broken(&mut self, key: Key, error: Error) {
        let stream = &mut self.streams[key];
        if stream.receiving == Receiving::Open {
            stream.receiving = Receiving::Failed;
        }
        stream.send_ended = true;
        stream.error.get_or_insert(error);
        stream.queue.clear();
        self.queued -= std::mem::take(&mut stream.queued);
        stream.trailers = None;
        stream.wake_all();
        if stream.asked.is_some() && !self.waiting.is_empty() {
            self.waiting.retain(|other| *other != key);
            self.touch();
        }
    }

    /// Everything has broken off.
    pub(crate) fn fail(&mut self, error: &Error) {
        if self.error.is_some() {
            return;
        }
        self.error = Some(error.clone());
        let code = match error {
            Error::GoAway { code, remote: false, .. } => Some(*code),
            Error::Flood(_) => Some(Code::ENHANCE_YOUR_CALM),
            _ => None,
        };
        if let Some(code) = code {
            // Streams that we have said not to look at stay so (RFC 9113, 6.8).
            let last = if let Drain::After(last) = self.drain { last } else { self.last };
            frame::put_go_away(last, code, self.out.buffer());
        }
        self.waiting.clear();
        for key in self.streams.keys() {
            let stream = &self.streams[key];
            if stream.open || stream.asked.is_some() {
                let unsent = stream.asked.is_some();
                let why = if unsent {
                    Error::Unprocessed(error.reason().unwrap_or(Code::NO_ERROR))
                } else {
                    error.clone()
                };
                self.streams.close(key, Closed::ResetThere);
                self.broken(key, why);
            }
        }
        self.accepted_size = 0;
        for (key, _) in std::mem::take(&mut self.accepted) {
            let stream = &mut self.streams[key];
            (stream.reader, stream.writer) = (false, false);
        }
        for key in self.streams.keys() {
            let stream = &self.streams[key];
            // Those that were only kept by the connection.
            if stream.id != 0 && !stream.reader && !stream.writer && !stream.open {
                self.streams.free(key);
            }
        }
    }

    /// Bytes of buffers.
    pub(crate) fn memory(&self) -> usize {
        let block = self.block.as_ref().map_or(0, |block| block.bytes.capacity());
        let queues = self.waiting.capacity() * size_of::<Key>()
            + (self.turns.capacity() + self.starving.capacity()) * size_of::<Turn>()
            + self.accepted.capacity() * size_of::<(Key, Request<()>)>()
            + self.accepted_size;
        self.out.memory() + self.streams.memory() + self.decoder.memory() + block + queues
    }

    /// Lets go of memory while nothing happens.
    pub(crate) fn rest(&mut self) {
        self.out.rest();
        self.streams.rest();
        if self.accepted.is_empty() {
            self.accepted.shrink_to(1);
        }
        self.turns.clear();
        self.turns.shrink_to(4);
        self.starving = VecDeque::new();
        self.waiting.shrink_to(4);
    }
}
